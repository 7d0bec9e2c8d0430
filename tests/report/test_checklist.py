import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from sparra.files import write_json
from sparra.report.checklist import NOT_REPORTED, checklist
from sparra.report.results import read_results
from sparra.study.layout import StudyLayout

N_ITEMS = {"TRIPOD+AI": 52, "CLEAR": 58, "METRICS": 30}
# Sub-items of TRIPOD+AI, as counted in the statement: 27 main items, 52 with the letters.
LETTERS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab", 27: "abc"}


@pytest.fixture
def filled(joint_study: StudyLayout) -> pd.Series:
    table = checklist(read_results(joint_study))
    number = table["section"].str.partition(" ")[0]
    return table.set_index(table["guideline"] + " " + number)["report"]


def test_what_the_run_knows_is_filled_and_the_rest_is_not_reported(joint_study: StudyLayout, filled: pd.Series) -> None:
    events = int(read_results(joint_study).flow["events"])
    assert filled["TRIPOD+AI 21"] == f"40 subjects, {events} events"
    assert filled["TRIPOD+AI 20a"].startswith(f"42 in, 2 excluded, 40 used, {events} events")
    assert filled["TRIPOD+AI 12c"].startswith("RSF, CoxPH")
    assert filled["CLEAR 45"] == filled["TRIPOD+AI 20a"]
    # Platform and note are no software.
    assert filled["CLEAR 34"].endswith("; python 3.11.2, torch 2.13.0")
    for unknown in ("TRIPOD+AI 10", "TRIPOD+AI 17", "TRIPOD+AI 18e", "CLEAR 16", "CLEAR 56", "METRICS 22"):
        assert filled[unknown] == NOT_REPORTED


def test_an_empty_study_reports_nothing(tmp_path) -> None:
    table = checklist(read_results(StudyLayout(tmp_path / "nothing")))
    assert dict(table["guideline"].value_counts()) == N_ITEMS
    assert (table["report"] == NOT_REPORTED).all()
    assert isinstance(table, pd.DataFrame)


def test_numbers_are_those_of_the_guidelines(filled: pd.Series) -> None:
    assert filled.index.is_unique
    for guideline, n in (("CLEAR", 58), ("METRICS", 30)):
        assert {f"{guideline} {number}" for number in range(1, n + 1)} <= set(filled.index)
    wanted = {f"TRIPOD+AI {n}{letter}" for n in range(1, 28) for letter in LETTERS.get(n, " ")}
    assert {name.strip() for name in wanted} == {name for name in filled.index if name.startswith("TRIPOD")}


def test_settings_are_a_report_only_of_features_that_the_study_extracted(
    joint_study: StudyLayout, tmp_path: Path
) -> None:
    shutil.copytree(joint_study.root, tmp_path / "copy")
    layout = StudyLayout(tmp_path / "copy")
    write_json(layout.settings, {"ct": {"encoder_options": {"families": ["glcm"]}}})
    sidecar = next((layout.root / "features" / "ct").glob("*.h5")).with_suffix(".h5.done.json")
    for settings, expected in (({"encoder": None}, NOT_REPORTED), ({"encoder_options": {}}, "settings.json")):
        write_json(sidecar, {"stage": "extract", "parameters": {"settings": settings}})
        table = checklist(read_results(layout))
        report = table.set_index(table["guideline"] + " " + table["section"].str.partition(" ")[0])["report"]
        assert report["METRICS 11"] == expected
        assert report["CLEAR 23"].startswith(expected)
    slides = layout.root / "features" / "slide"
    sidecar.rename(slides / sidecar.name)
    table = checklist(read_results(layout))
    assert (table.loc[table["section"] == "23 Preprocessing", "report"] == NOT_REPORTED).all()


def screening_told(layout: StudyLayout, protocol: str, evaluation: dict[str, object]) -> str:
    settings = {"protocol": protocol, "evaluation": evaluation}
    table = checklist(replace(read_results(layout), settings=settings))
    report = table.set_index(table["guideline"] + " " + table["section"].str.partition(" ")[0])["report"]
    return str(report["TRIPOD+AI 9a"])


@pytest.mark.parametrize(
    ("protocol", "screening_p", "says"),
    [
        ("paper", None, "Univariate Cox p < 0.2 in the training part; none for SPARRA"),
        ("paper", "none", "All; none screened"),
        ("paper", 0.1, "Univariate Cox p < 0.1 in the training part"),
        ("sound", None, "All; none screened"),
        ("sound", "none", "All; none screened"),
        ("sound", 0.1, "Univariate Cox p < 0.1 in the training part"),
    ],
)
def test_screening_is_told_as_it_was_done(
    joint_study: StudyLayout, protocol: str, screening_p: float | str | None, says: str
) -> None:
    assert screening_told(joint_study, protocol, {"screening_p": screening_p}) == says


def test_a_false_discovery_rate_is_told(joint_study: StudyLayout) -> None:
    evaluation = {"screening_p": 0.1, "screening_adjustment": "benjamini-hochberg"}
    says = "Univariate Cox false discovery rate (Benjamini–Hochberg) < 0.1 in the training part"
    assert screening_told(joint_study, "sound", evaluation) == says
