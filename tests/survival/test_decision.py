import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.datasets import load_gbsg2

from sparra.errors import UserError
from sparra.survival.cox import fit_cox
from sparra.survival.decision import decision_curve
from sparra.survival.outcomes import FollowUp, SurvivalCurves

HORIZON = 3.0


def curves(risk):
    return SurvivalCurves(np.array([HORIZON]), 1.0 - np.asarray(risk, dtype=float)[:, None])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_without_censoring_it_is_true_less_weighted_false_positives(seed):
    rng = np.random.default_rng(seed)
    time, risk = rng.uniform(0, 6, 50), rng.uniform(size=50)
    had_event = time <= HORIZON
    thresholds = np.array([0.1, 0.3, 0.5, 0.8])
    found = decision_curve(FollowUp(time, np.ones(50)), curves(risk), HORIZON, thresholds)
    for place, threshold in enumerate(thresholds):
        treated, odds = risk > threshold, threshold / (1 - threshold)
        expected = ((treated & had_event).sum() - odds * (treated & ~had_event).sum()) / 50
        assert found.model[place] == pytest.approx(expected, abs=1e-12)
        assert found.treat_all[place] == pytest.approx((had_event.sum() - odds * (~had_event).sum()) / 50, abs=1e-12)


def test_values_of_dcurves():
    """dcurves 1.1.7: dca(time=1095, time_to_outcome_col="time") on the odd rows of GBSG2."""
    x, y = load_gbsg2()
    whole = FollowUp(y["time"], y["cens"])
    columns = [x["horTh"] == "yes", x["age"], x["tsize"], x["tgrade"].astype(str).map(len), x["pnodes"], x["progrec"]]
    table = np.column_stack(columns).astype(float)
    train = np.arange(686) % 2 == 0
    survival = fit_cox(table[train], whole[train]).predict_survival(table[~train], [1095.0])
    found = decision_curve(whole[~train], survival, 1095.0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    model = [0.277229, 0.193111, 0.125841, 0.074575, 0.023701, 0.029112]
    treat_all = [0.278376, 0.188173, 0.072197, -0.082436, -0.298924, -0.623654]
    np.testing.assert_allclose(found.model, model, atol=5.1e-7)
    np.testing.assert_allclose(found.treat_all, treat_all, atol=5.1e-7)


def test_nobody_treated_has_no_benefit_and_everybody_that_of_treating_all():
    follow_up = FollowUp(np.arange(1.0, 21.0) / 4, np.arange(20) % 3 > 0)
    found = decision_curve(follow_up, curves(np.full(20, 0.5)), HORIZON)
    assert found.thresholds[[0, -1]] == pytest.approx([0.01, 0.99])
    assert (found.model[found.thresholds > 0.5] == 0).all()
    below = found.thresholds < 0.499
    np.testing.assert_allclose(found.model[below], found.treat_all[below])


def test_undefined_and_mistaken_curves_say_why():
    short = FollowUp(np.array([1.0, 2.0]), np.array([1, 0]))
    found = decision_curve(short, curves([0.2, 0.4]), HORIZON)
    assert found.reason == "all subjects are censored by 2, before the horizon"
    assert np.isnan(found.model).all()
    with pytest.raises(UserError, match="between 0 and 1"):
        decision_curve(short, curves([0.2, 0.4]), HORIZON, [0.0, 0.5])
    with pytest.raises(UserError, match="no prediction at the horizon 1"):
        decision_curve(short, curves([0.2, 0.4]), 1.0)
