"""Gradient-boosted trees with the Cox loss."""

from dataclasses import dataclass

import numpy as np
from sksurv.ensemble import GradientBoostingSurvivalAnalysis

from sparra.survival.estimators.fitting import BreslowBaseline
from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.registry import CandidateRisks

_LARGEST = 200
_STEP = 10


@dataclass(frozen=True)
class FittedBoosting:
    """A fitted ensemble and the baseline hazard."""

    ensemble: GradientBoostingSurvivalAnalysis
    baseline: BreslowBaseline

    def risk(self, features: FloatArray) -> FloatArray:
        """Return the log hazard ratio, shape (n,)."""
        risk: FloatArray = self.ensemble.predict(features)
        return risk

    def survival(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return event times and survival curves."""
        return self.baseline.survival(self.risk(features))


class GradientBoosting:
    """Boosted trees of depth 2 with 10, 20 … 200 trees; not among the paper's four.

    Learning rate 0.1; each tree sees half the subjects and, at each split, the square root of the features.
    """

    parameter = "n_trees"

    def grid(self, features: FloatArray, follow_up: FollowUp) -> FloatArray:
        """Return the numbers of trees, the fewest first."""
        return np.arange(float(_STEP), _LARGEST + 1.0, _STEP)

    def candidate_risks(
        self, features: FloatArray, follow_up: FollowUp, heldout: FloatArray, grid: FloatArray, seed: int
    ) -> CandidateRisks:
        """Grow the largest ensemble once: after k trees it is the ensemble of k trees."""
        ensemble = _ensemble(int(grid.max()), seed).fit(features, follow_up.structured())
        stages = np.column_stack(list(ensemble.staged_predict(heldout)))
        return CandidateRisks(stages[:, grid.astype(np.intp) - 1])

    def fit(self, features: FloatArray, follow_up: FollowUp, value: float, seed: int) -> FittedBoosting:
        """Grow an ensemble of one size."""
        ensemble = _ensemble(int(value), seed).fit(features, follow_up.structured())
        return FittedBoosting(ensemble, BreslowBaseline(ensemble.predict(features), follow_up))


def _ensemble(n_trees: int, seed: int) -> GradientBoostingSurvivalAnalysis:
    return GradientBoostingSurvivalAnalysis(
        loss="coxph",
        learning_rate=0.1,
        n_estimators=n_trees,
        max_depth=2,
        subsample=0.5,
        max_features="sqrt",
        random_state=seed,
    )
