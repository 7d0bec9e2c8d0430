from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparra.report.patients import extreme_patients, half_share, mapped_model, one_row_a_patient
from sparra.report.results import read_results
from sparra.report.settings import ReportSettings
from sparra.study.layout import StudyLayout


def predictions_of(risks: list[float], folds: list[int]) -> pd.DataFrame:
    n = len(risks)
    return pd.DataFrame(
        {
            "modality": "ct", "aggregator": "sparra", "model": "network", "fold": folds,
            "subject_id": [f"P{i}" for i in range(n)], "time": 1.0, "event": True, "risk": risks,
        }
    )  # fmt: skip


def test_extremes_do_not_depend_on_the_scale_of_a_folds_network() -> None:
    risks = [0.0, 0.1, 0.9, 0.2, 100.0, 101.0, 102.0, 103.0]
    highest, lowest = extreme_patients(predictions_of(risks, [0] * 4 + [1] * 4), "ct", "sparra", 1)
    z = np.concatenate([(np.array(r) - np.mean(r)) / np.std(r, ddof=1) for r in (risks[:4], risks[4:])])
    assert (highest.subject_id, highest.extreme) == (f"P{z.argmax()}", "highest") == ("P2", "highest")
    assert (lowest.subject_id, lowest.extreme) == (f"P{z.argmin()}", "lowest") == ("P4", "lowest")
    assert (highest.percentile, lowest.percentile) == (100.0, 12.5)
    assert lowest.fold == 1


def test_no_patient_is_at_both_ends() -> None:
    patients = extreme_patients(predictions_of([1.0, 2.0, 3.0], [0, 0, 0]), "ct", "sparra", 5)
    assert [p.subject_id for p in patients] == ["P2", "P0"]


def test_a_patient_tested_twice_counts_once() -> None:
    twice = pd.concat([predictions_of([1.0, 2.0], [3, 3]), predictions_of([5.0, 6.0], [1, 1])])
    assert one_row_a_patient(twice)["risk"].tolist() == [5.0, 6.0]


def test_model_falls_back_to_one_that_wrote_importance(joint_study: StudyLayout, tmp_path: Path) -> None:
    predictions = read_results(joint_study).predictions
    assert mapped_model(joint_study, predictions, ReportSettings()) == ("joint", "sparra")
    wish = ReportSettings(map_modality="slide", map_aggregator="abmil")
    assert mapped_model(joint_study, predictions, wish) == ("slide", "sparra")
    assert mapped_model(StudyLayout(tmp_path), predictions, ReportSettings()) is None


@pytest.mark.parametrize(
    ("values", "nodes", "share"),
    [([1.0, 1, 1, 1], range(4), "50%"), ([5.0, 1, 1, 1], range(4), "25%"), ([3.0, 1, 1, 1], [0, 1, 1, 1], "25%")],
)
def test_half_share_is_the_smallest_set_holding_half(values: list[float], nodes: list[int], share: str) -> None:
    assert half_share(np.array(values), np.array(nodes)) == f"half of the importance lies in {share} of the 4 patches"
