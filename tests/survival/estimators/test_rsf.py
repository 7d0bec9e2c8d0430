import numpy as np
import pytest
from sksurv.ensemble import RandomSurvivalForest

from sparra.survival.estimators.rsf import RandomForest, risk_by_depth

DEPTHS = np.array([1, 2, 3, 5, 19])


@pytest.fixture
def cohort(simulate):
    features, follow_up = simulate(80, 4)
    return features.astype(np.float32).astype(float), follow_up


def test_one_forest_cut_off_equals_a_forest_of_each_depth(cohort):
    """With a single feature there is nothing random below the bootstrap."""
    features, follow_up = cohort
    features = features[:, :1]
    options = {"n_estimators": 20, "random_state": 3}
    deep = RandomSurvivalForest(max_depth=19, low_memory=True, **options).fit(features, follow_up.structured())
    cut = risk_by_depth(deep, features, DEPTHS)
    for place, depth in enumerate(DEPTHS):
        forest = RandomSurvivalForest(max_depth=depth, **options).fit(features, follow_up.structured())
        np.testing.assert_allclose(cut[:, place], forest.predict(features), rtol=1e-9)


def test_at_full_depth_the_risk_is_the_forests_own(cohort):
    features, follow_up = cohort
    model = RandomForest()
    risks = model.candidate_risks(features, follow_up, features, np.array([2.0, 19.0]), seed=1)
    np.testing.assert_allclose(risks.values[:, 1], model.fit(features, follow_up, 19, seed=1).risk(features), rtol=1e-9)


def test_curves_fall_from_one(cohort):
    features, follow_up = cohort
    times, curves = RandomForest().fit(features, follow_up, 5, seed=0).survival(features)
    assert curves.shape == (80, len(times))
    assert (np.diff(curves, axis=1) <= 1e-12).all()
    assert (curves >= 0).all()
    assert (curves <= 1).all()


def test_the_grid_is_the_papers(cohort):
    assert RandomForest().grid(*cohort).tolist() == list(range(1, 20))
