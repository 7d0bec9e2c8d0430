"""Which methods are compared, what the sentence says, and who counts once."""

import numpy as np
import pandas as pd
import pytest

from sparra.study.comparators import CLINICAL, NULL
from sparra.study.conclude import COMPARISON_COLUMNS, comparisons, judge_probabilities, pairs, sentence_of
from sparra.study.records import COLUMNS, KEYS, Name, joined
from sparra.survival.comparison import PairedComparison
from sparra.survival.decision import decision_curve
from sparra.survival.outcomes import FollowUp, SurvivalCurves

FOUND = PairedComparison(0.7, 0.6, 0.1, 0.02, 0.18, 0.01, 3.0, 0.01, 100, 5)


def test_pairs_are_those_of_the_questions():
    names = [Name(m, a, k) for m in ("ct", "slide", "joint") for a in ("mean", "sparra") for k in ("CoxPH", "network")]
    late, added = Name("late fusion", "sparra", "Cox"), Name("clinical + ct", "sparra", "Cox")
    found = list(pairs([*names, NULL, CLINICAL, late, added]))
    assert ("aggregation", Name("ct", "sparra", "CoxPH"), Name("ct", "mean", "CoxPH")) in found
    assert ("images", Name("joint", "mean", "network"), Name("slide", "mean", "network")) in found
    assert [pair for pair in found if pair[0] == "fusion"] == [("fusion", Name("joint", "sparra", "network"), late)]
    assert [pair for pair in found if pair[0] == "added value"] == [("added value", added, CLINICAL)]
    assert len(found) == 6 + 8 + 1 + 1
    assert all(
        first.model == second.model for question, first, second in found if question in ("aggregation", "images")
    )


def test_a_difference_needs_the_interval_and_the_adjusted_p():
    assert sentence_of("a", "b", FOUND, 0.04).endswith("after Holm = 0.04): a difference.")
    assert sentence_of("a", "b", FOUND, 0.06).endswith("no difference was shown.")
    across = PairedComparison(0.7, 0.6, 0.1, -0.01, 0.21, 0.06, 3.0, 0.01, 100, 5)
    assert sentence_of("a", "b", across, 0.04).endswith("no difference was shown.")
    lower = PairedComparison(0.6, 0.7, -0.1, -0.18, -0.02, 0.01, -3.0, 0.01, 100, 5)
    assert "A had a C-index 0.100 lower than b" in sentence_of("a", "b", lower, 0.04)
    nan = float("nan")
    none = PairedComparison(nan, nan, nan, nan, nan, nan, nan, nan, 0, 0, "no patient in common")
    assert sentence_of("a", "b", none, nan) == "A and b could not be compared: no patient in common."


def predictions(skill):
    rng = np.random.default_rng(3)
    hazard = rng.normal(size=200)
    time = rng.exponential(np.exp(-2 * hazard))
    tables = []
    for aggregator, share in skill.items():
        rows = pd.DataFrame({"subject_id": [f"P{i}" for i in range(200)], "time": time, "event": 1})
        risk = share * hazard + (1 - share) * rng.normal(size=200)
        names = {"modality": "ct", "aggregator": aggregator, "model": "CoxPH", "repeat": 0}
        tables.append(rows.assign(**names, fold=np.arange(200) % 5, risk=risk, group="low"))
    return pd.concat(tables, ignore_index=True)


def test_a_planted_difference_is_told_and_none_is_not():
    table = comparisons(predictions({"mean": 0.0, "sparra": 1.0}), 0.25, 0)
    assert list(table.columns) == COMPARISON_COLUMNS
    (row,) = table.to_dict("records")
    assert row["difference"] > 0.2
    assert row["p_holm"] == row["p"]
    assert row["sentence"].endswith("a difference.")
    assert "no difference" not in row["sentence"]
    alike = comparisons(predictions({"mean": 0.5, "sparra": 0.5}), 0.25, 0)
    assert alike["sentence"].str.endswith("no difference was shown.").all()


def test_probabilities_count_each_patient_once_by_the_first_fold():
    rng = np.random.default_rng(7)
    n = 120
    rows = pd.DataFrame({"subject_id": [f"P{i}" for i in range(n)], "time": rng.exponential(10, n), "event": 1})
    rows = rows.assign(modality="ct", aggregator="mean", model="CoxPH", repeat=0, fold=0, horizon=5.0)
    rows["survival"] = rng.uniform(0.3, 0.9, n)
    later = rows.assign(fold=3, repeat=1, survival=0.01)
    calibration, decision = judge_probabilities(pd.concat([later, rows], ignore_index=True))
    assert calibration["n_subjects"].tolist() == [n]
    kept = FollowUp(rows["time"].to_numpy(), rows["event"].to_numpy(bool))
    curves = SurvivalCurves(np.array([5.0]), rows["survival"].to_numpy()[:, None])
    truth = decision_curve(kept, curves, 5.0, decision["threshold"].to_numpy())
    np.testing.assert_allclose(decision["net_benefit"], truth.model)


def test_without_predictions_the_tables_are_empty_with_their_columns():
    empty = joined("survival", [])
    assert list(empty.columns) == COLUMNS["survival"]
    calibration, decision = judge_probabilities(empty)
    assert calibration.empty
    assert decision.empty
    assert set(KEYS) <= set(calibration.columns)


def test_one_prediction_a_fold_has_no_slope():
    rng = np.random.default_rng(9)
    rows = pd.DataFrame({"subject_id": [f"P{i}" for i in range(60)], "time": rng.exponential(10, 60), "event": 1})
    rows = rows.assign(modality="none", aggregator="none", model="Kaplan–Meier", repeat=0, fold=np.arange(60) % 3)
    rows = rows.assign(horizon=5.0, survival=0.5 + 0.01 * rows["fold"])
    (row,) = judge_probabilities(rows)[0].to_dict("records")
    assert row["reason"] == "all predicted risks are equal"
    assert np.isnan(row["slope"])
    assert row["predicted"] == pytest.approx(0.49)
