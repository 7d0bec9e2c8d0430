import numpy as np
import pytest
from sksurv.ensemble import RandomSurvivalForest

from sparra.survival.estimators.rsf import RandomForest, risk_by_depth
from sparra.survival.outcomes import FollowUp

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


@pytest.mark.parametrize("step", [1, 10**6])
def test_risk_and_curves_are_those_of_a_forest_that_holds_them(simulate, step, monkeypatch):
    monkeypatch.setattr("sparra.survival.estimators.rsf._VALUES_AT_A_TIME", step)
    features, follow_up = simulate(120, 4)
    tied = FollowUp(np.ceil(follow_up.time * 4), follow_up.event)
    train, test = tied[np.arange(80)], features[80:]
    found = RandomForest().fit(features[:80], train, 7, seed=2)
    held = RandomSurvivalForest(n_estimators=100, max_depth=7, random_state=2).fit(features[:80], train.structured())
    np.testing.assert_array_equal(found.risk(test), held.predict(test))
    times, curves = found.survival(test)
    np.testing.assert_array_equal(times, held.unique_times_)
    np.testing.assert_array_equal(curves, held.predict_survival_function(test, return_array=True))


def test_a_forest_holds_no_curves(simulate):
    """Memory by training patient and tree, not by their square: a curve a node would be 80 MB here."""
    features, follow_up = simulate(400, 3)
    found = RandomForest().fit(features, follow_up, 19, seed=0)
    held = sum(estimator.tree_.value.nbytes for estimator in found.forest.estimators_) + found.leaf.nbytes
    assert held < 100 * 400 * 16


def test_curves_fall_from_one(cohort):
    features, follow_up = cohort
    times, curves = RandomForest().fit(features, follow_up, 5, seed=0).survival(features)
    assert curves.shape == (80, len(times))
    assert (np.diff(curves, axis=1) <= 1e-12).all()
    assert (curves >= 0).all()
    assert (curves <= 1).all()


def test_the_grid_is_the_papers(cohort):
    assert RandomForest().grid(*cohort).tolist() == list(range(1, 20))
