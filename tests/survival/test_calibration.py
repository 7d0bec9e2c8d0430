import numpy as np
import pytest
from sksurv.datasets import load_gbsg2

from sparra.errors import UserError
from sparra.survival.calibration import calibrate, calibration_in_groups, metrics_of, spline_basis
from sparra.survival.cox import fit_cox
from sparra.survival.outcomes import FollowUp, RiskScores, SurvivalCurves

HORIZON = 1.0


def exponential_cohort(n, seed=0, sharpness=1.0, shift=0.0):
    """True risks by the horizon are known; the predicted log hazard is `sharpness` times the true one, shifted."""
    rng = np.random.default_rng(seed)
    log_hazard = -0.4 + 0.8 * rng.normal(size=n)
    death, censoring = rng.exponential(np.exp(-log_hazard)), rng.exponential(2.0, n)
    follow_up = FollowUp(np.minimum(death, censoring), death <= censoring)
    true_risk = 1 - np.exp(-HORIZON * np.exp(log_hazard))
    predicted = np.exp(-HORIZON * np.exp(sharpness * log_hazard + shift))
    return follow_up, SurvivalCurves(np.array([HORIZON]), predicted[:, None]), true_risk


def test_the_truth_is_calibrated():
    follow_up, survival, _ = exponential_cohort(4000)
    found = calibrate(follow_up, survival, HORIZON)
    assert found.slope_lower < 1 < found.slope_upper
    assert found.slope == pytest.approx(1.0, abs=0.1)
    assert found.observed == pytest.approx(found.predicted, abs=0.03)
    assert found.e50 <= found.e90
    assert found.ici < 0.02
    assert (np.diff(found.curve_predicted) >= 0).all()


@pytest.mark.parametrize("sharpness", [0.5, 2.0])
def test_the_slope_undoes_too_flat_and_too_sharp_predictions(sharpness):
    follow_up, survival, true_risk = exponential_cohort(4000, sharpness=sharpness)
    found = calibrate(follow_up, survival, HORIZON)
    assert found.slope == pytest.approx(1 / sharpness, rel=0.1)
    # The true ICI is known; the smoothed curve must find it.
    truth = np.abs(true_risk - (1 - survival.values[:, 0]))
    assert found.ici == pytest.approx(truth.mean(), abs=0.02)
    assert found.e50 == pytest.approx(np.median(truth), abs=0.02)
    assert found.e90 == pytest.approx(np.quantile(truth, 0.9), abs=0.03)


def test_a_shift_shows_in_the_large_but_not_in_the_slope():
    follow_up, survival, _ = exponential_cohort(4000, shift=0.7)
    found = calibrate(follow_up, survival, HORIZON)
    assert found.slope == pytest.approx(1.0, abs=0.1)
    assert found.predicted > found.observed + 0.1
    assert found.ici == pytest.approx(found.predicted - found.observed, abs=0.03)
    values = metrics_of(found)
    assert values["observed_to_predicted"].value == pytest.approx(found.observed / found.predicted)
    assert all(value.reason == "" for value in values.values())


def test_the_slope_equals_a_cox_fit_of_lifelines():
    """lifelines 0.30.3: CoxPHFitter on log(-log S), odd rows of GBSG2, follow-up cut at 1095 days."""
    x, y = load_gbsg2()
    whole = FollowUp(y["time"], y["cens"])
    columns = [x["horTh"] == "yes", x["age"], x["tsize"], x["tgrade"].astype(str).map(len), x["pnodes"], x["progrec"]]
    table = np.column_stack(columns).astype(float)
    train = np.arange(686) % 2 == 0
    survival = fit_cox(table[train], whole[train]).predict_survival(table[~train], [1095.0])
    found = calibrate(whole[~train], survival, 1095.0)
    assert found.slope == pytest.approx(0.542934, abs=2e-5)
    assert (found.slope_upper - found.slope) / 1.959964 == pytest.approx(0.100642, abs=2e-5)


def test_later_follow_up_is_not_looked_at():
    follow_up, survival, _ = exponential_cohort(300)
    late = follow_up.time > HORIZON
    other = FollowUp(np.where(late, follow_up.time + 3, follow_up.time), follow_up.event & ~late)
    before, after = calibrate(follow_up, survival, HORIZON), calibrate(other, survival, HORIZON)
    assert (before.slope, before.ici, before.observed) == (after.slope, after.ici, after.observed)


def test_groups_lie_on_the_diagonal_for_the_truth():
    follow_up, survival, _ = exponential_cohort(4000)
    predicted, observed, lower, upper = calibration_in_groups(follow_up, survival, HORIZON)
    assert (np.diff(predicted) > 0).all()
    np.testing.assert_allclose(predicted, observed, atol=0.05)
    assert ((lower < observed) & (observed < upper)).all()


def test_the_spline_is_linear_beyond_its_outer_knots():
    values = np.linspace(-3, 3, 601)
    basis = spline_basis(values)
    first, last = np.quantile(values, [0.1, 0.9])
    for tail in (values < first, values > last):
        np.testing.assert_allclose(np.diff(basis[tail, 1], n=2), 0, atol=1e-9)
    assert np.abs(np.diff(basis[:, 1], n=2)).max() > 1e-5
    assert spline_basis(np.ones(5)).shape == (5, 1)


def test_undefined_calibration_says_why():
    follow_up, survival, _ = exponential_cohort(50)
    none = calibrate(FollowUp(follow_up.time, np.zeros(50)), survival, HORIZON)
    assert "0 event(s) by the horizon" in none.reason
    equal = calibrate(follow_up, SurvivalCurves(survival.times, np.full((50, 1), 0.5)), HORIZON)
    assert equal.reason == "all predicted risks are equal"
    assert np.isnan([equal.slope, equal.ici, equal.e50, equal.e90]).all()
    assert np.isfinite([equal.observed, equal.predicted]).all()
    assert metrics_of(equal)["ici"].reason == "all predicted risks are equal"
    short = follow_up.censored_at(0.5)
    assert calibrate(short, survival, HORIZON).reason == "follow-up ends before the horizon"


def test_forests_may_predict_certainty():
    follow_up, survival, _ = exponential_cohort(300)
    values = survival.values.copy()
    values[:5], values[5:10] = 1.0, 0.0
    assert np.isfinite(calibrate(follow_up, SurvivalCurves(survival.times, values), HORIZON).ici)


def test_mistakes_are_told():
    follow_up, survival, _ = exponential_cohort(50)
    with pytest.raises(UserError, match="no prediction at the horizon 2"):
        calibrate(follow_up, survival, 2.0)
    with pytest.raises(UserError, match="needs survival curves"):
        calibrate(follow_up, RiskScores(np.zeros(50)), HORIZON)
