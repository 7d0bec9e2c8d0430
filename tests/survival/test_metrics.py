import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import (
    brier_score,
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)

from sparra.errors import UserError
from sparra.survival.brier import brier_scores
from sparra.survival.metrics import auc_curve, c_index, c_ipcw, evaluate_fold
from sparra.survival.outcomes import FollowUp, RiskScores, SurvivalCurves


@pytest.fixture
def fold(whas500):
    """A Cox model on 350 subjects, judged on 150."""
    features, follow_up = whas500
    train, test = follow_up[np.arange(350)], follow_up[np.arange(350, 500)]
    model = CoxPHSurvivalAnalysis(alpha=1.0).fit(features[:350], train.structured())
    times = np.linspace(50, 1500, 30)
    curves = np.array([step(times) for step in model.predict_survival_function(features[350:])])
    return train, test, RiskScores(model.predict(features[350:])), SurvivalCurves(times, curves), times


def test_every_metric_equals_scikit_survival(fold):
    train, test, risk, survival, times = fold
    found = evaluate_fold(train, test, risk, survival, times, tau=1600)
    until = test.censored_at(1600).structured()
    y_train = train.structured()
    expected = {
        "c_index": concordance_index_censored(test.event, test.time, risk.values)[0],
        "c_ipcw": concordance_index_ipcw(y_train, test.structured(), risk.values, tau=1600)[0],
        "c_auc": cumulative_dynamic_auc(y_train, until, risk.values, times)[1],
        "ibs": integrated_brier_score(y_train, until, survival.values, times),
    }
    assert {name: value.reason for name, value in found.items()} == dict.fromkeys(expected, "")
    assert {name: value.value for name, value in found.items()} == pytest.approx(expected, abs=1e-10)
    theirs = brier_score(y_train, until, survival.values, times)[1]
    np.testing.assert_allclose(brier_scores(train, test.censored_at(1600), survival), theirs, atol=1e-12)


def test_what_happens_after_tau_changes_nothing_but_the_c_index(fold):
    train, test, risk, survival, times = fold
    late = test.time > 1600
    assert test.event[late].any()
    altered = FollowUp(np.where(late, test.time + 1000, test.time), test.event & ~late)
    before = evaluate_fold(train, test, risk, survival, times, tau=1600)
    after = evaluate_fold(train, altered, risk, survival, times, tau=1600)
    for name in ("c_ipcw", "c_auc", "ibs"):
        assert after[name].value == pytest.approx(before[name].value, abs=1e-12)
    assert after["c_index"].value != before["c_index"].value


def test_test_events_after_the_training_range_do_not_break_the_metrics(fold):
    train, test, risk, survival, times = fold
    longer = FollowUp(test.time.copy(), test.event.copy())
    longer.time[0], longer.event[0] = 10 * train.time.max(), True
    found = evaluate_fold(train, longer, risk, survival, times, tau=1600)
    assert all(np.isfinite(value.value) for value in found.values())


def test_times_before_the_first_test_event_carry_no_weight(fold):
    train, test, risk, survival, times = fold
    early = np.concatenate([[1e-3, 2e-3], times])
    curves = SurvivalCurves(early, np.column_stack([np.ones((150, 2)), survival.values]))
    found = evaluate_fold(train, test, risk, curves, early, tau=1600)
    same = evaluate_fold(train, test, risk, survival, times, tau=1600)
    assert found["c_auc"].value == pytest.approx(same["c_auc"].value, abs=1e-12)
    assert found["ibs"].reason == ""


def test_without_censoring_the_brier_score_is_a_mean_square():
    rng = np.random.default_rng(0)
    follow_up = FollowUp(rng.uniform(0, 10, 40), np.ones(40))
    times = np.array([2.0, 5.0, 8.0])
    predicted = np.sort(rng.uniform(size=(40, 3)), axis=1)[:, ::-1]
    expected = ((predicted - (follow_up.time[:, None] > times)) ** 2).mean(axis=0)
    scores = brier_scores(follow_up, follow_up, SurvivalCurves(times, predicted))
    np.testing.assert_allclose(scores, expected, atol=1e-12)


def test_perfect_and_reversed_risks():
    follow_up = FollowUp(np.arange(1.0, 21.0), np.ones(20))
    times = np.linspace(2, 14, 10)
    for risk, value in ((-follow_up.time, 1.0), (follow_up.time, 0.0), (np.zeros(20), 0.5)):
        found = evaluate_fold(follow_up, follow_up, RiskScores(risk), None, times, tau=15)
        assert [found[name].value for name in ("c_index", "c_ipcw", "c_auc")] == pytest.approx([value] * 3)


SIX = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
TRAIN = FollowUp(SIX, np.array([1, 0, 1, 0, 1, 1]))
RISK = RiskScores(-SIX)


def reasons(train, test, times=(1.5, 2.5), tau=4.0, survival=None):
    found = evaluate_fold(train, test, RISK, survival, times, tau)
    assert all(np.isnan(value.value) == bool(value.reason) for value in found.values())
    return {name: value.reason for name, value in found.items()}


def test_undefined_metrics_say_why():
    assert "no survival function" in reasons(TRAIN, TRAIN)["ibs"]
    all_censored = reasons(TRAIN, FollowUp(SIX, np.zeros(6)))
    assert "no two subjects" in all_censored["c_index"]
    assert "no event" in all_censored["c_ipcw"]
    assert "no event" in all_censored["c_auc"]
    short = reasons(TRAIN, FollowUp(SIX / 10, np.ones(6)))
    assert short["c_index"] == ""
    assert "test part ends at 0.6" in short["c_auc"]
    short = reasons(FollowUp(SIX / 10, np.ones(6)), TRAIN)
    assert "training part ends at 0.6" in short["c_ipcw"]
    assert "no event" in reasons(FollowUp(SIX, np.zeros(6)), TRAIN)["c_ipcw"]
    none_left = FollowUp(np.array([1.0, 2, 2, 2, 2, 2]), np.array([1, 0, 0, 0, 0, 0]))
    early = FollowUp(SIX, np.array([1, 1, 0, 0, 0, 0]))
    assert "all subjects of the training part" in reasons(none_left, early, times=(1.5, 2.0))["c_ipcw"]


def test_a_brier_score_without_test_events_is_defined():
    censored = FollowUp(SIX, np.zeros(6))
    curves = SurvivalCurves(np.array([1.5, 2.5]), np.full((6, 2), 0.5))
    assert evaluate_fold(TRAIN, censored, RISK, curves, curves.times, 4.0)["ibs"].reason == ""


def test_a_risk_and_a_survival_curve_are_not_confused(fold):
    """scikit-survival takes either for the other and answers 1 - AUC, or an IBS of nonsense."""
    train, test, risk, survival, times = fold
    with pytest.raises(UserError, match=r"needs risk scores .* got SurvivalCurves"):
        evaluate_fold(train, test, survival, survival, times, 1600)
    with pytest.raises(UserError, match=r"needs survival curves .* got RiskScores"):
        evaluate_fold(train, test, risk, risk, times, 1600)
    for metric in (c_index, lambda *given: c_ipcw(train, *given, 1600), lambda *given: auc_curve(train, *given, times)):
        with pytest.raises(UserError, match="needs risk scores"):
            metric(test, survival)
        with pytest.raises(UserError, match="got ndarray"):
            metric(test, risk.values)


def test_the_auc_curve_is_undefined_before_the_first_event(fold):
    train, test, risk, _, times = fold
    first = test.time[test.event].min()
    grid = np.concatenate([[first / 3, first / 2], times])
    curve = auc_curve(train, test.censored_at(1600), risk, grid)
    assert np.isnan(curve.values).tolist() == [True, True] + [False] * 30
    assert curve.mean == auc_curve(train, test.censored_at(1600), risk, times).mean
    none = auc_curve(train, test.censored_at(1600), risk, [first / 3, first / 2])
    assert (np.isnan(none.values).all(), none.mean.reason) == (True, "no event before the last evaluation time")


def test_predictions_must_fit_subjects_and_times(fold):
    train, test, risk, survival, times = fold
    with pytest.raises(UserError, match="149 risk scores, 150 subjects"):
        evaluate_fold(train, test, RiskScores(risk.values[:-1]), survival, times, 1600)
    with pytest.raises(UserError, match="other times"):
        evaluate_fold(train, test, risk, survival, times + 1, 1600)
    with pytest.raises(UserError, match="sorted and unique"):
        evaluate_fold(train, test, risk, survival, times[::-1], 1600)
    with pytest.raises(UserError, match="before the horizon"):
        evaluate_fold(train, test, risk, survival, times, times[-1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_only_the_order_of_risks_counts_and_reversal_gives_one_minus(seed):
    rng = np.random.default_rng(seed)
    follow_up = FollowUp(np.ceil(rng.exponential(20, 40)), np.r_[True, True, rng.random(38) < 0.6])
    levels = rng.integers(-5, 6, 40).astype(float)
    tau = float(np.percentile(follow_up.time, 80))
    times = np.linspace(0.3 * tau, 0.9 * tau, 5)
    plain, warped, reversed_ = (
        evaluate_fold(follow_up, follow_up, RiskScores(risk), None, times, tau)
        for risk in (levels, np.exp(levels), -levels)
    )
    for name in ("c_index", "c_ipcw", "c_auc"):
        assert plain[name].reason == warped[name].reason == reversed_[name].reason
        if not plain[name].reason:
            assert warped[name].value == pytest.approx(plain[name].value, abs=1e-12)
            assert reversed_[name].value == pytest.approx(1 - plain[name].value, abs=1e-9)
