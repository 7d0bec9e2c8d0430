import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sksurv.linear_model.coxph import BreslowEstimator

from sparra.survival.estimators.fitting import BreslowBaseline, risks_one_by_one, row_space, to_full_space


class Constant:
    def __init__(self, value):
        self.value = value

    def risk(self, features):
        return np.full(len(features), self.value)

    def survival(self, features):
        return None


def test_breslow_equals_scikit_survival(simulate):
    features, follow_up = simulate(60, 1)
    predictor = features[:, 0]
    theirs = BreslowEstimator().fit(predictor, follow_up.event, follow_up.time)
    times, curves = BreslowBaseline(predictor, follow_up).survival(predictor)
    expected = np.array([step(times) for step in theirs.get_survival_function(predictor)])
    np.testing.assert_allclose(curves, expected, atol=1e-10)


def test_breslow_stays_a_curve_with_extreme_predictors(simulate):
    features, follow_up = simulate(60, 1)
    _, curves = BreslowBaseline(400 * features[:, 0], follow_up).survival(400 * features[:, 0])
    assert ((curves >= 0) & (curves <= 1)).all()
    assert (np.diff(curves, axis=1) <= 0).all()


def test_row_space_only_where_it_helps():
    rng = np.random.default_rng(0)
    assert row_space(rng.normal(size=(20, 20))) is None
    wide = rng.normal(size=(20, 50))
    centred = wide - wide.mean(axis=0)
    basis = row_space(centred)
    assert basis.shape == (50, 19)
    np.testing.assert_allclose(basis.T @ basis, np.eye(19), atol=1e-12)
    np.testing.assert_allclose(centred @ basis @ basis.T, centred, atol=1e-12)
    coefficient = rng.normal(size=19)
    np.testing.assert_allclose(centred @ to_full_space(coefficient, basis), (centred @ basis) @ coefficient)


def test_a_failed_candidate_is_recorded_and_the_rest_go_on():
    def fit(value):
        if value == 1:
            raise ValueError("search direction contains NaN")
        if value == 2:
            warnings.warn("did not converge", ConvergenceWarning, stacklevel=1)
        return Constant(np.inf if value == 3 else value)

    risks = risks_one_by_one(fit, np.zeros((2, 1)), np.arange(5.0))
    assert risks.failures == {
        1: "search direction contains NaN",
        2: "did not converge",
        3: "the risks are not finite",
    }
    assert np.isnan(risks.values[:, 1:4]).all()
    assert risks.values[:, [0, 4]].tolist() == [[0, 4], [0, 4]]


def test_bugs_are_not_taken_for_failed_fits():
    def fit(value):
        raise KeyError(value)

    with pytest.raises(KeyError):
        risks_one_by_one(fit, np.zeros((2, 1)), np.ones(1))
