"""Random survival forest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sksurv.ensemble import RandomSurvivalForest

from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.registry import CandidateRisks

_TREES = 100


@dataclass(frozen=True)
class FittedForest:
    """A fitted forest."""

    forest: RandomSurvivalForest

    def risk(self, features: FloatArray) -> FloatArray:
        """Return ensemble mortality, shape (n,)."""
        risk: FloatArray = self.forest.predict(features)
        return risk

    def survival(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the forest's times and the mean of its leaves' Kaplan–Meier curves."""
        curves = self.forest.predict_survival_function(features, return_array=True)
        return self.forest.unique_times_, curves


class RandomForest:
    """Random survival forest of 100 trees with max_depth 1 … 19 (paper-vs-code.md §8)."""

    parameter = "max_depth"

    def grid(self, features: FloatArray, follow_up: FollowUp) -> FloatArray:
        """Return the depths, the shallowest first."""
        return np.arange(1.0, 20.0)

    def candidate_risks(
        self, features: FloatArray, follow_up: FollowUp, heldout: FloatArray, grid: FloatArray, seed: int
    ) -> CandidateRisks:
        """Grow one forest to the largest depth and read the risk at every depth from it.

        A tree of lower max_depth is the same tree cut off there, since splits are chosen from the top;
        so one forest serves the whole grid.
        """
        # low_memory keeps one number a node, the mortality; enough here and faster.
        forest = _forest(int(grid.max()), seed, low_memory=True).fit(features, follow_up.structured())
        return CandidateRisks(risk_by_depth(forest, heldout, grid.astype(np.intp)))

    def fit(self, features: FloatArray, follow_up: FollowUp, value: float, seed: int) -> FittedForest:
        """Grow a forest of one depth."""
        return FittedForest(_forest(int(value), seed).fit(features, follow_up.structured()))


def _forest(max_depth: int, seed: int, low_memory: bool = False) -> RandomSurvivalForest:
    return RandomSurvivalForest(
        n_estimators=_TREES, max_depth=max_depth, low_memory=low_memory, random_state=seed, n_jobs=1
    )


def risk_by_depth(forest: RandomSurvivalForest, features: FloatArray, depths: NDArray[np.intp]) -> FloatArray:
    """Return the ensemble mortality of a low-memory forest cut off at each depth.

    Parameters
    ----------
    features : ndarray, shape (n, p)
    depths : ndarray of int, shape (D,)

    Returns
    -------
    ndarray, shape (n, D)
    """
    single = np.ascontiguousarray(features, dtype=np.float32)
    total = np.zeros((len(features), len(depths)))
    for estimator in forest.estimators_:
        tree = estimator.tree_
        path = tree.decision_path(single)
        # Nodes on a row's path lie in `indices` from the root down.
        steps = np.minimum(depths[None, :], np.diff(path.indptr)[:, None] - 1)
        nodes = path.indices[path.indptr[:-1, None] + steps]
        total += tree.value[nodes, 0, 0]
    risk: FloatArray = total / len(forest.estimators_)
    return risk
