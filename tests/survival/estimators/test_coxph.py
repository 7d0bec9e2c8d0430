import time

import numpy as np
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sparra.survival.estimators.coxph import CoxRidge


def test_the_row_space_fit_equals_the_direct_one(simulate):
    features, follow_up = simulate(40, 90)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    direct = CoxPHSurvivalAnalysis(alpha=20.0, tol=1e-13).fit(features, follow_up.structured())
    fitted = CoxRidge().fit(features, follow_up, 20.0, seed=0)
    np.testing.assert_allclose(fitted.coefficient, direct.coef_, atol=1e-8)
    times, curves = fitted.survival(features)
    expected = direct.predict_survival_function(features)
    np.testing.assert_allclose(curves, [step(times) for step in expected], atol=1e-7)


def test_the_number_of_features_costs_next_to_nothing(simulate):
    features, follow_up = simulate(100, 1536)
    began = time.perf_counter()
    CoxRidge().fit(features, follow_up, 100.0, seed=0)
    # A direct fit takes some ten seconds.
    assert time.perf_counter() - began < 2


def test_the_grid_is_the_papers(simulate):
    assert CoxRidge().grid(*simulate(5, 1)) == pytest.approx([1e4, 1e3, 1e2, 10, 1, 0.1, 0.01])


@pytest.mark.parametrize("alpha", [0.01, 1.0, 100.0])
def test_few_features_with_ties_equal_scikit_survival(simulate, alpha):
    features, follow_up = simulate(150, 6)
    assert len(np.unique(follow_up.time)) < 120
    theirs = CoxPHSurvivalAnalysis(alpha=alpha, tol=1e-13).fit(features, follow_up.structured())
    np.testing.assert_allclose(CoxRidge().fit(features, follow_up, alpha, 0).coefficient, theirs.coef_, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_weak_penalties_converge_where_events_can_be_ranked_perfectly(simulate, seed):
    """More features than subjects: scikit-survival's optimiser overflows or cycles at 0.01."""
    features, follow_up = simulate(80, 300, seed=seed)
    risks = CoxRidge().candidate_risks(features[:60], follow_up[np.arange(60)], features[60:], np.array([0.01]), 0)
    assert risks.failures == {}
    w = CoxRidge().fit(features, follow_up, 0.01, 0).coefficient
    # At the minimum the penalty's pull equals the likelihood's: both lie in the row space and cancel.
    order = np.argsort(-follow_up.time, kind="stable")
    x, time, event = features[order], follow_up.time[order], follow_up.event[order]
    weight = np.exp(x @ w - (x @ w).max())
    in_set = time[None, :] >= time[event][:, None]
    score = x[event].sum(axis=0) - ((in_set * weight) @ x / (in_set @ weight)[:, None]).sum(axis=0)
    np.testing.assert_allclose(score, 0.01 * w, atol=1e-7)


def test_a_stronger_penalty_shrinks(simulate):
    features, follow_up = simulate(60, 5)
    norms = [
        np.linalg.norm(CoxRidge().fit(features, follow_up, alpha, 0).coefficient)
        for alpha in CoxRidge().grid(features, follow_up)
    ]
    assert (np.diff(norms) > 0).all()
