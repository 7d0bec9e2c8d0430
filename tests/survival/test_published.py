import numpy as np
import pandas as pd
import pytest
from sklearn.feature_selection import VarianceThreshold
from sklearn.model_selection import KFold
from sksurv.datasets import load_whas500
from sksurv.metrics import concordance_index_ipcw, cumulative_dynamic_auc, integrated_brier_score

from sparra.errors import UserError
from sparra.survival.models import survival_models
from sparra.survival.outcomes import FollowUp, RiskScores, SurvivalCurves
from sparra.survival.published import (
    evaluate_paper_fold,
    fit_paper_model,
    paper_columns,
    paper_times,
    pooled_mean_groups,
    tune_by_auc,
)


@pytest.fixture(scope="module")
def whas():
    x, y = load_whas500()
    features = x.astype(float).to_numpy()
    return features, FollowUp(y["lenfol"].astype(float), y["fstat"])


def test_variance_is_taken_among_events_only_and_screening_follows(whas):
    features, follow_up = whas
    rng = np.random.default_rng(0)
    # One column varies only among the censored, one is noise, one is all but constant.
    extra = np.column_stack(
        [np.where(follow_up.event, 3.0, rng.normal(size=500)), rng.normal(size=500), rng.normal(scale=1e-3, size=500)]
    )
    table = np.hstack([features, extra])
    expected = VarianceThreshold(1e-4).fit(table[follow_up.event]).get_support()
    kept = paper_columns(table, follow_up, None)
    np.testing.assert_array_equal(kept, np.flatnonzero(expected))
    p = features.shape[1]
    assert p not in kept
    assert p + 2 not in kept
    assert set(paper_columns(table, follow_up, 0.2)) < set(kept)


def test_nothing_that_varies_is_an_error(whas):
    _, follow_up = whas
    with pytest.raises(UserError, match="none of 2 features varies by more than"):
        paper_columns(np.zeros((500, 2)), follow_up, None)


def test_tuning_takes_the_highest_mean_auc(whas):
    features, follow_up = whas
    model = survival_models["CoxPH"]
    grid = np.array([1e4, 1.0])
    tuning = tune_by_auc(model, grid, features, follow_up, 1.0)
    # By hand: scores are scikit-survival's own, and the fold that it refuses (its weights are unknown) is left out.
    low, high = np.percentile(follow_up.time, [20, 80])
    times = np.arange(low, high, 1.0)
    by_hand = []
    for inside, out in KFold(5, shuffle=True, random_state=0).split(features):
        mean, sd = features[inside].mean(axis=0), features[inside].std(axis=0)
        fitted = model.fit((features[inside] - mean) / sd, follow_up[inside], 1.0, 1)
        risk = fitted.risk((features[out] - mean) / sd)
        known, asked = follow_up[inside].structured(), follow_up[out].structured()
        if follow_up[out].time.max() <= follow_up[inside].time.max():  # else refused
            by_hand.append(cumulative_dynamic_auc(known, asked, risk, times)[1])
    assert len(by_hand) == 4
    assert tuning.inner_folds == len(by_hand)
    assert tuning.scores[1.0] == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert tuning.best == max(tuning.scores, key=tuning.scores.get)


def test_metrics_are_those_of_scikit_survival_without_a_horizon(whas):
    features, follow_up = whas
    order = np.random.default_rng(3).permutation(500)
    train, test = order[:400], order[400:]
    fitted = fit_paper_model(
        "CoxPH", features[train], follow_up.time[train], follow_up.event[train], time_unit="days", screening_p=0.2
    )
    times = paper_times(follow_up[test], "days")
    risk = fitted.predict_risk(features[test])
    survival = fitted.predict_survival(features[test], times)
    values = evaluate_paper_fold(follow_up[train], follow_up[test], risk, survival, times)
    known, asked = follow_up[train].structured(), follow_up[test].structured()
    assert np.diff(times) == pytest.approx(7.0)
    assert values["c_ipcw"].value == pytest.approx(concordance_index_ipcw(known, asked, risk.values)[0], abs=1e-12)
    auc = cumulative_dynamic_auc(known, asked, risk.values, times)[1]
    assert values["c_auc"].value == pytest.approx(auc, abs=1e-12)
    assert values["ibs"].value == pytest.approx(integrated_brier_score(known, asked, survival.values, times), abs=1e-9)


def test_undefined_is_nan_with_a_reason():
    train = FollowUp(np.arange(1.0, 21), np.arange(20) % 2 == 0)
    test = FollowUp(np.array([5.0, 9, 30, 12]), np.array([True, False, True, False]))
    values = evaluate_paper_fold(train, test, RiskScores(np.arange(4.0)), None, paper_times(test, "days"))
    assert np.isfinite(values["c_index"].value)
    for name in ("c_ipcw", "c_auc", "ibs"):
        assert np.isnan(values[name].value)
        assert values[name].reason


@pytest.mark.parametrize(("unit", "week"), [("days", 7.0), ("months", 0.22998), ("years", 0.019165)])
def test_a_week_is_a_week_in_every_unit(unit, week):
    test = FollowUp(np.linspace(1, 60, 30), np.ones(30, bool))
    assert np.diff(paper_times(test, unit))[0] == pytest.approx(week, rel=1e-4)


def test_groups_are_cut_at_the_pooled_mean_of_a_method():
    table = pd.DataFrame(
        {"modality": "ct", "aggregator": "mean", "model": ["a"] * 4 + ["b"] * 2, "risk": [0.0, 1, 10, 11, 5, 7]}
    )
    assert list(pooled_mean_groups(table)) == ["low", "low", "high", "high", "low", "high"]


@pytest.mark.filterwarnings("error")
def test_an_inner_fold_without_an_early_event_takes_no_part_in_tuning():
    """Its AUC is 0/0 before the first event: scikit-survival's mean is NaN, by which no candidate can be chosen."""
    rng = np.random.default_rng(4)
    features = rng.normal(size=(60, 3))
    time, event = rng.exponential(300 * np.exp(-1.5 * features[:, 0])).clip(5, 2000), rng.random(60) < 0.8
    out = next(iter(KFold(5, shuffle=True, random_state=0).split(features)))[1]
    # The first fold's early patients are censored; its others have the event late.
    early = out[time[out] < np.percentile(time, 60)]
    event[early] = False
    follow_up = FollowUp(time, event)
    grid = np.array([1e4, 1e2, 1.0, 1e-2])
    tuning = tune_by_auc(survival_models["CoxPH"], grid, features, follow_up, 1.0)
    assert tuning.inner_folds < 5
    assert np.isfinite(list(tuning.scores.values())).all()
    assert tuning.best == max(tuning.scores, key=tuning.scores.get)
    none = FollowUp(np.r_[np.full(30, 10.0), np.full(30, 500.0)], np.arange(60) >= 30)
    with pytest.raises(UserError, match="no event of the test part by the first evaluation time 10"):
        tune_by_auc(survival_models["CoxPH"], grid, features, none, 1.0)


@pytest.mark.filterwarnings("error")
def test_what_scikit_survival_divides_by_zero_has_its_reason():
    test = FollowUp(np.array([5.0, 6, 50, 60, 70]), np.array([False, False, True, True, False]))
    # The last of the training part are censored before the test part's events.
    train = FollowUp(np.array([2.0, 10, 20, 45, 55, 80]), np.array([True, True, False, False, False, True]))
    times = np.array([5.4, 40.0, 56.0])
    curves = SurvivalCurves(times, np.tile([0.9, 0.8, 0.7], (5, 1)))
    values = evaluate_paper_fold(train, test, RiskScores(np.arange(5.0)), curves, times)
    assert values["c_auc"].reason == "no event of the test part by the first evaluation time 5.4"
    shorter = FollowUp(np.array([2.0, 10, 20, 55.0, 60]), np.array([True, True, False, False, False]))
    values = evaluate_paper_fold(shorter, test, RiskScores(np.arange(5.0)), curves, times)
    assert values["ibs"].reason == "all subjects of the training part are censored by 60"
