"""The covariates of the clinical comparator."""

from pathlib import Path

import pandas as pd
import pytest

from sparra.errors import UserError
from sparra.study.comparators import NULL, clinical_covariates, read_subjects_table
from sparra.study.layout import StudyLayout
from sparra.study.settings import StudySettings


def settings_of(**evaluation):
    cohort = {"subjects": "subjects.csv", "images": "images.csv", "time_unit": "days"}
    return StudySettings.model_validate({"cohort": cohort, "output": "output", "evaluation": evaluation})


@pytest.fixture
def subjects():
    columns = {"age": ["60", "", "71"], "stage": ["Stage I", "Stage IV", "[Not Available]"], "size": ["3.5", "", "4"]}
    return pd.DataFrame({**columns, "scanner": ["A", "B", ""]}, index=["P1", "P2", "P3"])


def test_covariates_are_found_by_name_or_named_with_their_kind(subjects):
    assert [c.column for c in clinical_covariates(settings_of(), subjects)] == ["age", "stage"]
    chosen = clinical_covariates(settings_of(clinical=["size", "scanner", "stage"]), subjects)
    assert [(c.column, c.kind) for c in chosen[:2]] == [("size", "number"), ("scanner", "category")]
    assert chosen[2] in clinical_covariates(settings_of(), subjects)


def test_an_absent_column_is_an_error_with_the_nearest_name(subjects):
    with pytest.raises(UserError, match="names the column 'scaner', which is absent") as error:
        clinical_covariates(settings_of(clinical=["scaner"]), subjects)
    assert "scanner" in str(error.value)


def test_a_value_of_no_kind_is_told_with_its_table_and_column(subjects):
    subjects["grade"] = ["G2", "poor", ""]
    with pytest.raises(UserError) as error:
        clinical_covariates(settings_of(), subjects)
    assert str(error.value) == (
        "subjects.csv: in column 'grade' 'poor' is not a grade. Write 1 to 4 or I to IV throughout, or other words "
        "throughout, and leave an unknown grade empty; or name in evaluation.clinical the columns to use."
    )
    assert [c.column for c in clinical_covariates(settings_of(clinical=["age"]), subjects)] == ["age"]


def test_tables_keep_identifiers_and_the_null_model_as_text(tmp_path: Path):
    layout = StudyLayout(tmp_path)
    layout.subjects.parent.mkdir(parents=True)
    layout.subjects.write_text("subject_id,time,event,age\n007,12.5,1,NA\nNA,3,0,50\n")
    table = read_subjects_table(layout)
    assert table.index.tolist() == ["007", "NA"]
    assert table["event"].tolist() == [True, False]
    assert table["age"].tolist() == ["NA", "50"]
    path = tmp_path / "names.csv"
    pd.DataFrame([NULL]).to_csv(path, index=False)
    assert pd.read_csv(path).notna().all(axis=None)  # as any reader of tables takes it
