from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparra.errors import UserError
from sparra.survival.clinical import (
    Covariate,
    find_covariates,
    fit_clinical_cox,
    fit_clinical_design,
    parse_grade,
    parse_stage,
)
from sparra.survival.outcomes import FollowUp

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def subjects():
    return pd.DataFrame(
        {
            "subject_id": [f"P{i}" for i in range(6)],
            "Age": [50, 61, np.nan, 70, 64, 55],
            "ajcc_pathologic_tumor_stage": [
                "Stage I",
                "Stage IIIA",
                "[Discrepancy]",
                "Stage IV",
                "Stage II",
                "Stage I",
            ],
            "neoplasm_histologic_grade": ["G1", "G2", "GX", "G4", "G3", "G2"],
            "gender": ["MALE", "FEMALE", "MALE", "male", "[Not Available]", "MALE"],
            "vital_status": ["Alive"] * 6,
        }
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("Stage I", 1), ("iva", 4), ("IIIC2", 3), ("Stage IB1", 1), (3, 3), (2.0, 2), ("4", 4), ("stage iib", 2)],
)
def test_stages_become_numbers(text, number):
    assert parse_stage(text) == number


@pytest.mark.parametrize("text", ["", None, np.nan, "[Not Available]", "Stage X", "IS", "not reported"])
def test_an_unknown_stage_is_missing(text):
    assert np.isnan(parse_stage(text))


def test_grades_become_numbers():
    assert [parse_grade(text) for text in ("G1", "Grade 2", 3, "iv")] == [1, 2, 3, 4]
    assert np.isnan([parse_grade(text) for text in ("GX", "High Grade", "")]).all()


def test_a_value_that_is_no_stage_is_an_error():
    for text in ("stage five", "T3", "7", "II or III"):
        with pytest.raises(UserError, match="is not a stage"):
            parse_stage(text)
    mixed = pd.DataFrame({"Grade": ["G1", "high", "", "3"]})
    with pytest.raises(UserError, match=r"in column 'Grade' 'high' is not a grade\. Write 1 to 4"):
        find_covariates(mixed)
    with pytest.raises(UserError, match="'old' in column 'age' is not a number"):
        find_covariates(pd.DataFrame({"age": [50, "old"]}))


def test_a_grade_in_words_throughout_is_a_category():
    # Soft-tissue sarcoma: of three grades, which no number of ours can stand for.
    table = pd.DataFrame({"grade": ["High", "high ", "Intermediate", "Low", "GX", "", "High"]})
    assert find_covariates(table) == [Covariate("grade", "grade", "category")]
    design = fit_clinical_design(table)
    assert design.columns == ("grade=intermediate", "grade=low")
    np.testing.assert_array_equal(design.apply(table), [[0, 0], [0, 0], [1, 0], [0, 1], [0, 0], [0, 0], [0, 0]])
    assert find_covariates(pd.DataFrame({"grade": ["GX", "[Unknown]", "GX"]})) == []


def test_covariates_are_found_by_their_usual_names(subjects):
    found = find_covariates(subjects)
    assert [(covariate.name, covariate.kind) for covariate in found] == [
        ("age", "number"),
        ("stage", "stage"),
        ("grade", "grade"),
        ("sex", "category"),
    ]
    constant = subjects.assign(Age=60)
    assert "age" not in [covariate.name for covariate in find_covariates(constant)]
    assert find_covariates(subjects[["subject_id"]]) == []


def test_imputation_and_categories_are_those_of_the_training_part(subjects):
    design = fit_clinical_design(subjects)
    assert design.columns == ("age", "stage", "grade", "sex=female")
    matrix = design.apply(subjects)
    assert np.isfinite(matrix).all()
    assert matrix[2].tolist() == [61.0, 2.0, 2.0, 0.0]
    others = pd.DataFrame(
        {
            "Age": [np.nan, 90],
            "ajcc_pathologic_tumor_stage": [None, "Stage IV"],
            "neoplasm_histologic_grade": [None, "G4"],
            "gender": ["unseen", "FEMALE"],
        }
    )
    # What the others are does not move what is filled in.
    assert design.apply(others).tolist() == [[61.0, 2.0, 2.0, 0.0], [90.0, 4.0, 4.0, 1.0]]


def test_a_covariate_that_is_constant_in_training_is_left_out(subjects):
    stage = Covariate("stage", "ajcc_pathologic_tumor_stage", "stage")
    age = Covariate("age", "Age", "number")
    assert fit_clinical_design(subjects.iloc[[0, 5]], [stage, age]).columns == ("age",)


def simulated(n, seed=0, imaging_effect=0.0):
    rng = np.random.default_rng(seed)
    stage, age, imaging = rng.integers(1, 5, n), rng.normal(60, 10, n), rng.normal(size=n)
    death = rng.exponential(np.exp(-0.7 * (stage - 2) - imaging_effect * imaging))
    censoring = rng.exponential(2.0, n)
    table = pd.DataFrame({"stage": stage, "age": age})
    return table, FollowUp(np.minimum(death, censoring), death <= censoring), imaging


def test_the_coefficients_are_those_of_the_hazard():
    table, follow_up, imaging = simulated(1500, imaging_effect=0.5)
    model = fit_clinical_cox(table, follow_up, imaging=imaging)
    summary = model.summary().set_index("covariate")
    assert list(summary.index) == ["age", "stage", "imaging"]
    assert np.log(summary.loc["stage", "hazard_ratio"]) == pytest.approx(0.7, abs=0.1)
    assert np.log(summary.loc["imaging", "hazard_ratio"]) == pytest.approx(0.5, abs=0.1)
    assert summary.loc["age", "p"] > 0.01
    assert (summary["lower"] < summary["hazard_ratio"]).all()
    curves = model.predict_survival(table, [0.5, 1.0], imaging=imaging).values
    worst = np.argsort(-model.predict_risk(table, imaging=imaging).values)
    assert curves[worst[:100], 1].mean() < curves[worst[-100:], 1].mean()


def test_mistakes_are_told():
    table, follow_up, imaging = simulated(60)
    model = fit_clinical_cox(table, follow_up, imaging=imaging)
    with pytest.raises(UserError, match=r"needs the risks \['imaging'\] but got \[\]"):
        model.predict_risk(table)
    with pytest.raises(UserError, match="no column 'stage'"):
        model.predict_risk(table[["age"]], imaging=imaging)
    with pytest.raises(UserError, match="59 rows of covariates but follow-up of 60"):
        fit_clinical_cox(table.iloc[:-1], follow_up)
    with pytest.raises(UserError, match="none of stage, grade, age and sex"):
        fit_clinical_cox(pd.DataFrame(index=range(60)), follow_up)
    with pytest.raises(UserError, match="could not be fitted: the covariates are collinear"):
        fit_clinical_cox(table, follow_up, again=table["age"])


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="the real data lie beside the project")
def test_every_stage_and_grade_of_tcga_is_understood():
    """lifelines 0.30.3 on the same design of 534 KIRC patients: log-likelihood -934.50865, ratio 132.34998."""
    table = pd.read_excel(DATA / "tcga-clinical" / "TCGA-CDR-SupplementalTableS1.xlsx", sheet_name=0)
    stages = table["ajcc_pathologic_tumor_stage"].map(parse_stage)
    assert stages.notna().sum() == 6878
    assert table["histological_grade"].map(parse_grade).notna().sum() == 4110
    kirc = table[(table["type"] == "KIRC") & table["OS.time"].notna()]
    model = fit_clinical_cox(kirc, FollowUp(kirc["OS.time"].to_numpy(), kirc["OS"].to_numpy()))
    assert model.cox.log_likelihood == pytest.approx(-934.5086467516621, abs=1e-8)
    assert 2 * (model.cox.log_likelihood - model.cox.null_log_likelihood) == pytest.approx(132.34997959, abs=1e-6)
