import numpy as np
import pytest
from sksurv.ensemble import GradientBoostingSurvivalAnalysis

from sparra.survival.estimators.gbm import GradientBoosting


def test_one_growth_serves_the_whole_grid(simulate):
    features, follow_up = simulate(80, 5)
    train = np.arange(60)
    model, grid = GradientBoosting(), np.array([10.0, 40.0, 200.0])
    risks = model.candidate_risks(features[:60], follow_up[train], features[60:], grid, seed=3)
    for place, n_trees in enumerate(grid):
        alone = model.fit(features[:60], follow_up[train], n_trees, seed=3)
        np.testing.assert_allclose(risks.values[:, place], alone.risk(features[60:]), atol=1e-12)


def test_curves_equal_scikit_survival(simulate):
    features, follow_up = simulate(80, 5)
    model = GradientBoosting().fit(features, follow_up, 30.0, seed=0)
    theirs = GradientBoostingSurvivalAnalysis(
        n_estimators=30, max_depth=2, subsample=0.5, max_features="sqrt", random_state=0
    ).fit(features, follow_up.structured())
    times, curves = model.survival(features[:5])
    expected = [step(times) for step in theirs.predict_survival_function(features[:5])]
    np.testing.assert_allclose(curves, expected, atol=1e-9)


def test_the_grid_starts_with_the_simplest(simulate):
    assert GradientBoosting().grid(*simulate(5, 1)) == pytest.approx(np.arange(10, 201, 10))
