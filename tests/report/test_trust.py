from pathlib import Path

import pytest
from tests.report.conftest import build_study

from sparra.report.page import write_report
from sparra.report.trust import UNTESTED, check_rows, map_verdicts, planted_rows
from sparra.study.layout import StudyLayout

HEAD = "trained_modality,aggregator,modality,check,value,lower,upper,chance,subjects,passed,reason\n"
TRUST = HEAD + (
    "joint,sparra,ct,deletion,0.81,0.7,0.9,0.5,40,True,\n"
    "joint,sparra,ct,stability_folds,,,,0.0,0,,each subject is in one test part\n"
    "joint,sparra,ct,planted_auroc,0.72,0.65,0.8,0.5,40,True,\n"
    "joint,sparra,ct,planted_overlap,0.31,0.22,0.4,0.08,40,,\n"
    "joint,sparra,slide,deletion,0.51,0.4,0.6,0.5,38,False,\n"
    "joint,mean,ct,planted_auroc,0.5,0.5,0.5,0.5,40,False,\n"
    "joint,mean,ct,planted_overlap,0.08,0.05,0.1,0.08,40,,\n"
)
FAILED = "Do not rely on this map, it failed its checks."
VERDICTS = (
    "trained_modality,aggregator,modality,verdict,sentence\n"
    f'joint,sparra,ct,trusted,Removing them moves the risk.\njoint,sparra,slide,failed,"{FAILED}"\n'
)


@pytest.fixture
def checked(tmp_path: Path) -> StudyLayout:
    layout = build_study(tmp_path, modalities=("joint",), n_subjects=12)
    layout.map_trust.parent.mkdir()
    layout.map_trust.write_text(TRUST)
    layout.map_verdicts.write_text(VERDICTS)
    return layout


def test_a_failed_map_says_so_on_its_face(checked: StudyLayout) -> None:
    verdicts = map_verdicts(checked, "joint", "sparra")
    assert [(found.modality, found.verdict) for found in verdicts] == [("ct", "trusted"), ("slide", "failed")]
    html = write_report(checked).read_text()
    assert '<p class="verdict failed">' in html
    assert html.count(FAILED) == 1
    # In the caption of each of the two slides' maps, whose pictures hold the whole sentence.
    assert html.count("This map failed its checks, see above.") == 2
    assert UNTESTED not in html


def test_what_was_not_checked_is_called_untested(joint_study: StudyLayout) -> None:
    assert map_verdicts(joint_study, "ct", "abmil")[0].sentence == UNTESTED
    assert len(map_verdicts(joint_study, "ct", "abmil")) == 1
    assert check_rows(joint_study, "joint", "sparra") == []
    assert planted_rows(joint_study) == []


def test_checks_and_their_reasons_are_told(checked: StudyLayout) -> None:
    rows = check_rows(checked, "joint", "sparra")
    assert [row["outcome"] for row in rows] == ["held", "–", "held", "–", "FAILED"]
    assert rows[0]["figure"] == "0.81 (0.70 to 0.90)"
    assert rows[1]["reason"] == "each subject is in one test part"


def test_overlap_with_planted_regions_is_on_the_page_of_a_simulated_cohort(checked: StudyLayout) -> None:
    rows = planted_rows(checked)
    assert [row["name"] for row in rows] == ["SPARRA on CT + slides", "Mean on CT + slides"]
    assert rows[0] | {"aggregator": ""} == {
        "aggregator": "", "name": "SPARRA on CT + slides", "images": "CT", "subjects": 40,
        "auroc": "0.72 (0.65 to 0.80)", "overlap": "31% (22% to 40%)", "chance": "8%",
    }  # fmt: skip
    html = write_report(checked).read_text()
    assert "Overlap with the planted regions" in html
    assert "31% (22% to 40%)" in html
