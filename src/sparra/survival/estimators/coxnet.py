"""Cox regression with an elastic-net penalty."""

import numpy as np
from sksurv.linear_model import CoxnetSurvivalAnalysis

from sparra.survival.estimators.coxph import FittedCox
from sparra.survival.estimators.fitting import FIT_ERRORS, BreslowBaseline, risks_one_by_one, strict_warnings
from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.registry import CandidateRisks

_L1_RATIO = 0.9
_MIN_RATIO = 0.1
_PATH_LENGTH = 100
_WARM_STEPS = 20
_MAX_ITERATIONS = 10_000


class CoxElasticNet:
    """Coxnet with l1_ratio 0.9 along its own path of 100 penalties down to a tenth of the largest."""

    parameter = "alpha"

    def grid(self, features: FloatArray, follow_up: FollowUp) -> FloatArray:
        """Return the path of the whole training part, the strongest penalty first."""
        largest = _largest_penalty(features, follow_up)
        return np.geomspace(largest, _MIN_RATIO * largest, _PATH_LENGTH)

    def candidate_risks(
        self, features: FloatArray, follow_up: FollowUp, heldout: FloatArray, grid: FloatArray, seed: int
    ) -> CandidateRisks:
        """Fit the path at once, and one penalty at a time whatever it does not reach.

        scikit-survival ends a path when the likelihood stops growing, so also among penalties so strong
        that every coefficient is still zero. These are therefore set to zero, not fitted.
        """
        null = grid >= _largest_penalty(features, follow_up)
        risks = CandidateRisks.empty(len(heldout), len(grid))
        risks.values[:, null] = 0.0
        coefficients = _path_coefficients(features, follow_up, grid[~null])
        reached = int(null.sum()) + coefficients.shape[1]
        risks.values[:, null.sum() : reached] = heldout @ coefficients
        rest = risks_one_by_one(lambda alpha: self.fit(features, follow_up, alpha, seed), heldout, grid[reached:])
        risks.values[:, reached:] = rest.values
        risks.failures = {reached + place: reason for place, reason in rest.failures.items()}
        return risks

    def fit(self, features: FloatArray, follow_up: FollowUp, value: float, seed: int) -> FittedCox:
        """Fit one penalty, led there from the largest: a cold start may overflow."""
        largest = _largest_penalty(features, follow_up)
        coefficient = np.zeros(features.shape[1])
        if value < largest:
            way = np.geomspace(largest, value, _WARM_STEPS)
            coefficients = _path_coefficients(features, follow_up, way)
            if coefficients.shape[1] < _WARM_STEPS:
                coefficients = _model(np.array([value])).fit(features, follow_up.structured()).coef_
            coefficient = coefficients[:, -1]
        return FittedCox(coefficient, BreslowBaseline(features @ coefficient, follow_up))


def _largest_penalty(features: FloatArray, follow_up: FollowUp) -> float:
    """Return the smallest penalty at which all coefficients are zero."""
    # scikit-survival finds it at the head of its own path; the path is kept from going anywhere.
    head = CoxnetSurvivalAnalysis(l1_ratio=_L1_RATIO, n_alphas=2, alpha_min_ratio=0.999)
    with strict_warnings():
        return float(head.fit(features, follow_up.structured()).alphas_[0])


def _path_coefficients(features: FloatArray, follow_up: FollowUp, path: FloatArray) -> FloatArray:
    """Return coefficients (p, k) of the first k penalties of `path`, as far as the optimiser came."""
    nothing = np.empty((features.shape[1], 0))
    if path.size == 0:
        return nothing
    try:
        with strict_warnings():
            coefficients: FloatArray = _model(path).fit(features, follow_up.structured()).coef_
    except FIT_ERRORS:
        return nothing
    return coefficients


def _model(alphas: FloatArray) -> CoxnetSurvivalAnalysis:
    return CoxnetSurvivalAnalysis(l1_ratio=_L1_RATIO, alphas=alphas, max_iter=_MAX_ITERATIONS)
