import numpy as np
import pytest
from sksurv.linear_model import CoxnetSurvivalAnalysis

from sparra.survival.estimators.coxnet import CoxElasticNet
from sparra.survival.estimators.fitting import risks_one_by_one


def standardised(features):
    return (features - features.mean(axis=0)) / features.std(axis=0)


def test_the_path_equals_one_penalty_at_a_time(simulate):
    features, follow_up = simulate(60, 80)
    features = standardised(features)
    model = CoxElasticNet()
    grid = model.grid(features, follow_up)
    theirs = CoxnetSurvivalAnalysis(l1_ratio=0.9, alpha_min_ratio=0.1).fit(features, follow_up.structured())
    assert grid == pytest.approx(theirs.alphas_)
    path = model.candidate_risks(features[:45], follow_up[np.arange(45)], features[45:], grid, seed=0)
    single = risks_one_by_one(
        lambda alpha: model.fit(features[:45], follow_up[np.arange(45)], alpha, 0), features[45:], grid
    )
    assert path.failures == {}
    # A warm and a cold start stop within the optimiser's tolerance of one another.
    np.testing.assert_allclose(path.values, single.values, atol=0.01 * np.ptp(single.values))


def test_penalties_above_the_folds_largest_give_no_risk_rather_than_an_early_end(simulate):
    features, follow_up = simulate(60, 5)
    features = standardised(features)
    model = CoxElasticNet()
    grid = np.concatenate([model.grid(features, follow_up)[0] * np.linspace(3, 1.01, 20), [0.05, 0.02]])
    risks = model.candidate_risks(features, follow_up, features, grid, seed=0)
    assert risks.failures == {}
    assert (risks.values[:, :20] == 0).all()
    assert np.ptp(risks.values[:, -1]) > 0.5


def test_one_fit_selects_the_signal(simulate):
    features, follow_up = simulate(200, 30)
    features = standardised(features)
    model = CoxElasticNet()
    fitted = model.fit(features, follow_up, float(model.grid(features, follow_up)[30]), seed=0)
    assert np.flatnonzero(fitted.coefficient).tolist() == [0]
    assert fitted.coefficient[0] > 0


def test_a_penalty_that_overflows_from_a_cold_start_is_reached(simulate):
    """One strong feature of a small cohort: scikit-survival alone raises 'weights are too large'."""
    features, follow_up = simulate(40, 1, effect=0.0)
    features = standardised(np.log(follow_up.time + 1)[:, None] + 0.1 * features)
    model = CoxElasticNet()
    smallest = float(model.grid(features, follow_up)[-1])
    fitted = model.fit(features, follow_up, smallest, seed=0)
    assert np.isfinite(fitted.coefficient).all()
    assert fitted.coefficient[0] < 0
