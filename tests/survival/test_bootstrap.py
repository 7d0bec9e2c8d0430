import numpy as np
import pandas as pd
import pytest
from sksurv.metrics import concordance_index_censored

from sparra.survival.bootstrap import c_index_intervals
from sparra.survival.concordance import weighted_c
from sparra.survival.outcomes import FollowUp


def predictions_of(follow_up, risk, n_folds=4):
    n = len(follow_up)
    return pd.DataFrame(
        {
            "modality": "ct",
            "aggregator": "mean",
            "model": "CoxPH",
            "fold": np.arange(n) % n_folds,
            "subject_id": [f"S{i:03d}" for i in range(n)][::-1],
            "time": follow_up.time,
            "event": follow_up.event,
            "risk": risk,
        }
    )


def test_weights_equal_repeated_rows(simulate):
    features, follow_up = simulate(30, 1)
    fold = predictions_of(follow_up, features[:, 0].round(1), n_folds=1)
    counts = np.random.default_rng(1).integers(0, 4, 30)
    repeated = fold.loc[fold.index.repeat(counts)]
    expected = concordance_index_censored(repeated["event"], repeated["time"], repeated["risk"])[0]
    kept = FollowUp(fold["time"].to_numpy(), fold["event"].to_numpy())
    assert weighted_c(kept, fold["risk"].to_numpy(), counts[None, :].astype(float))[0] == pytest.approx(
        expected, abs=1e-12
    )


def test_the_estimate_is_the_mean_of_the_folds(simulate):
    features, follow_up = simulate(80, 1)
    predictions = predictions_of(follow_up, features[:, 0])
    by_fold = [
        concordance_index_censored(fold["event"], fold["time"], fold["risk"])[0]
        for _, fold in predictions.groupby("fold")
    ]
    row = c_index_intervals(predictions, seed=3, n_resamples=400).iloc[0]
    assert row["c_index"] == pytest.approx(np.mean(by_fold), abs=1e-12)
    assert 0.5 < row["lower"] < row["c_index"] < row["upper"] < 1


def test_risks_of_different_folds_are_never_compared(simulate):
    features, follow_up = simulate(60, 1)
    predictions = predictions_of(follow_up, features[:, 0])
    rescaled = predictions.assign(risk=predictions["risk"] + 1000 * predictions["fold"])
    pd.testing.assert_frame_equal(c_index_intervals(predictions, 0, 50), c_index_intervals(rescaled, 0, 50))


def test_methods_share_the_draws(simulate):
    features, follow_up = simulate(60, 1)
    one = predictions_of(follow_up, features[:, 0])
    both = pd.concat([one, one.sample(frac=1, random_state=0).assign(model="FSVM")])
    table = c_index_intervals(both, 0, 100)
    assert table.loc[0, "lower":"upper"].tolist() == pytest.approx(table.loc[1, "lower":"upper"].tolist())


def test_the_interval_covers_the_truth_about_as_often_as_it_says(simulate):
    """A risk without any signal has C = ½; nominal 95 %, 60 cohorts."""
    covered = 0
    for seed in range(60):
        _, follow_up = simulate(60, 1, seed=seed)
        risk = np.random.default_rng(1000 + seed).normal(size=60)
        row = c_index_intervals(predictions_of(follow_up, risk, n_folds=3), seed, 200).iloc[0]
        covered += row["lower"] <= 0.5 <= row["upper"]
    assert covered >= 50


def test_no_comparable_pair_is_undefined(simulate):
    features, follow_up = simulate(10, 1)
    row = c_index_intervals(predictions_of(follow_up, features[:, 0], n_folds=10), 0, 10).iloc[0]
    assert np.isnan(row["c_index"])
    assert "no two subjects" in row["reason"]
