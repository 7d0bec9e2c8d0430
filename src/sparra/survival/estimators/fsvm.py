"""Fast survival support vector machine (ranking objective)."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from sksurv.svm import FastSurvivalSVM

from sparra.survival.estimators.fitting import risks_one_by_one, row_space, to_full_space
from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.registry import CandidateRisks

# The default of 20 stops short of the optimum at weak regularisation.
_MAX_ITERATIONS = 100


@dataclass(frozen=True)
class FittedSvm:
    """Coefficients, shape (p,), of standardised features."""

    coefficient: FloatArray

    def risk(self, features: FloatArray) -> FloatArray:
        """Return risks, shape (n,)."""
        risk: FloatArray = features @ self.coefficient
        return risk

    def survival(self, features: FloatArray) -> None:
        """Return None: a ranking has no survival function."""
        return


class FastSvm:
    """FastSurvivalSVM with rank_ratio 1, α in 2^-26, 2^-24 … 2^-2 (paper-vs-code.md §8)."""

    parameter = "alpha"

    def grid(self, features: FloatArray, follow_up: FollowUp) -> FloatArray:
        """Return the weights of the ranking loss, the strongest regularisation first."""
        weights: FloatArray = np.exp2(np.arange(-26.0, 0.0, 2.0))
        return weights

    def candidate_risks(
        self, features: FloatArray, follow_up: FollowUp, heldout: FloatArray, grid: FloatArray, seed: int
    ) -> CandidateRisks:
        """Fit every weight; the row space is found once."""
        basis = row_space(features)
        return risks_one_by_one(lambda alpha: _fit(features, follow_up, alpha, basis, seed), heldout, grid)

    def fit(self, features: FloatArray, follow_up: FollowUp, value: float, seed: int) -> FittedSvm:
        """Fit one weight."""
        return _fit(features, follow_up, value, row_space(features), seed)


def _fit(features: FloatArray, follow_up: FollowUp, alpha: float, basis: FloatArray | None, seed: int) -> FittedSvm:
    reduced = features if basis is None else features @ basis
    # Only the order of times counts at rank_ratio 1; as ranks they are positive, for time 0 is refused.
    ranked = FollowUp(rankdata(follow_up.time, method="dense"), follow_up.event)
    model = FastSurvivalSVM(alpha=alpha, rank_ratio=1.0, max_iter=_MAX_ITERATIONS, random_state=seed)
    model.fit(reduced, ranked.structured())
    # The sign is taken from predict(): at rank_ratio 1 it turns coef_ round so that higher is worse.
    axes = np.eye(reduced.shape[1])
    coefficient: FloatArray = model.predict(axes)
    return FittedSvm(to_full_space(coefficient, basis))
