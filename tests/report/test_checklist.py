import pandas as pd

from sparra.report.checklist import NOT_REPORTED, checklist
from sparra.report.results import read_results
from sparra.study.layout import StudyLayout


def test_what_the_run_knows_is_filled_and_the_rest_is_not_reported(joint_study: StudyLayout) -> None:
    results = read_results(joint_study)
    table = checklist(results).set_index("item")["report"]
    events = int(results.flow["events"])
    assert table["Number of participants and of events"] == f"40 subjects, {events} events"
    assert table["Flow of participants with exclusions"] == "42 in, 2 excluded, 40 used"
    assert table["Random seeds recorded"] == "0"
    assert table["Scanner and acquisition"] == NOT_REPORTED
    assert table["Calibration"] == NOT_REPORTED


def test_an_empty_study_reports_nothing(tmp_path) -> None:
    table = checklist(read_results(StudyLayout(tmp_path / "nothing")))
    assert set(table["guideline"]) == {"TRIPOD+AI", "CLEAR (selection)", "METRICS"}
    assert (table["report"] == NOT_REPORTED).all()
    assert isinstance(table, pd.DataFrame)


def test_numbers_are_those_of_the_guidelines(joint_study: StudyLayout) -> None:
    table = checklist(read_results(joint_study))
    assert table["item"].is_unique
    numbers = table["section"].str.extract(r"^(\d+) ")[0].dropna().astype(int)
    for guideline, n in (("TRIPOD+AI", 27), ("METRICS", 30)):
        assert set(numbers[table["guideline"] == guideline]) == set(range(1, n + 1))
    assert table.set_index("item")["report"]["Models and their tuning"].startswith("RSF, CoxPH")
