import numpy as np
import pytest

from sparra.errors import UserError
from sparra.survival.brier import brier_summary, kaplan_meier_null
from sparra.survival.metrics import c_index
from sparra.survival.outcomes import FollowUp, RiskScores, SurvivalCurves


@pytest.fixture
def halves(simulate):
    _, follow_up = simulate(200, 1)
    return follow_up[np.arange(100)], follow_up[np.arange(100, 200)]


TIMES = np.linspace(5.0, 90.0, 20)


def test_the_null_predicts_the_same_for_everybody(halves):
    train, test = halves
    null = kaplan_meier_null(train, TIMES, len(test))
    assert null.values.shape == (100, 20)
    assert (null.values == null.values[0]).all()
    assert c_index(test, RiskScores(-null.values[:, 5])).value == 0.5
    summary = brier_summary(train, test, null, tau=95.0)
    assert summary.scaled.value == pytest.approx(0.0, abs=1e-12)
    assert summary.ibs.value == summary.ibs_null.value


def test_foresight_scores_one_and_a_reversed_forecast_is_worse_than_the_null():
    follow_up = FollowUp(np.arange(1.0, 101.0), np.ones(100))
    alive = (follow_up.time[:, None] > TIMES).astype(float)
    perfect = brier_summary(follow_up, follow_up, SurvivalCurves(TIMES, alive), tau=95.0)
    assert perfect.ibs.value == pytest.approx(0.0, abs=1e-12)
    assert perfect.scaled.value == pytest.approx(1.0)
    reversed_ = brier_summary(follow_up, follow_up, SurvivalCurves(TIMES, alive[::-1]), tau=95.0)
    assert reversed_.scaled.value < -0.5


def test_what_happens_after_tau_changes_nothing(halves):
    train, test = halves
    survival = kaplan_meier_null(train, TIMES, len(test))
    late = test.time > 95
    assert late.any()
    altered = FollowUp(np.where(late, test.time + 500, test.time), test.event & ~late)
    before, after = (brier_summary(train, part, survival, tau=95.0) for part in (test, altered))
    np.testing.assert_allclose(before.model, after.model, atol=1e-12)


def test_undefined_scores_say_why(halves):
    train, test = halves
    one_time = brier_summary(train, test, kaplan_meier_null(train, [20.0], len(test)), tau=30.0)
    assert "two evaluation times" in one_time.ibs.reason
    assert np.isfinite(one_time.model).all()
    short = FollowUp(train.time / 100, train.event)
    too_short = brier_summary(short, test, kaplan_meier_null(train, TIMES, len(test)), tau=95.0)
    assert np.isnan(too_short.scaled.value)
    assert "follow-up of the training part ends at" in too_short.scaled.reason


def test_a_risk_is_no_survival_curve(halves):
    train, test = halves
    with pytest.raises(UserError, match=r"needs survival curves .* got RiskScores"):
        brier_summary(train, test, RiskScores(np.zeros(100)), tau=95.0)
    with pytest.raises(UserError, match="before the horizon"):
        brier_summary(train, test, kaplan_meier_null(train, TIMES, 100), tau=90.0)
    with pytest.raises(UserError, match="99 survival curves, 100 subjects"):
        brier_summary(train, test, kaplan_meier_null(train, TIMES, 99), tau=95.0)
