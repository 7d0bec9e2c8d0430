"""Random survival forest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sksurv.ensemble import RandomSurvivalForest

from sparra.survival.outcomes import BoolArray, FloatArray, FollowUp
from sparra.survival.registry import CandidateRisks

_TREES = 100
# Numbers of leaves' curves that are worked on at a time.
_VALUES_AT_A_TIME = 2**20


@dataclass(frozen=True)
class FittedForest:
    """A fitted forest, whose leaves' curves are computed when they are asked for.

    Trees that hold two numbers a node and training time take memory by the square of the training part: half a GiB for
    1,000 patients. These hold one a node, and which leaf each training patient fell into.

    Attributes
    ----------
    forest : RandomSurvivalForest
        Grown with ``low_memory``.
    leaf : ndarray of int32, shape (n_trees, n_training)
    follow_up : FollowUp
        Of the training part.
    """

    forest: RandomSurvivalForest
    leaf: NDArray[np.int32]
    follow_up: FollowUp

    def risk(self, features: FloatArray) -> FloatArray:
        """Return ensemble mortality, shape (n,)."""
        risk: FloatArray = self.forest.predict(features)
        return risk

    def survival(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the forest's times and the mean of its leaves' Kaplan–Meier curves."""
        times: FloatArray = self.forest.unique_times_
        place = np.searchsorted(times, self.follow_up.time)
        single = np.ascontiguousarray(features, dtype=np.float32)
        total = np.zeros((len(features), len(times)))
        drawn = self.forest.estimators_samples_
        for estimator, samples, leaf in zip(self.forest.estimators_, drawn, self.leaf, strict=True):
            asked, rows = np.unique(estimator.tree_.apply(single), return_inverse=True)
            step = max(1, _VALUES_AT_A_TIME // len(times))
            for start in range(0, len(asked), step):
                chosen = asked[start : start + step]
                curves = _leaf_curves(chosen, leaf[samples], place[samples], self.follow_up.event[samples], len(times))
                here = np.flatnonzero((rows >= start) & (rows < start + step))
                total[here] += curves[rows[here] - start]
        total /= len(drawn)
        return times, total


def _leaf_curves(
    chosen: NDArray[np.intp], leaf: NDArray[np.int32], place: NDArray[np.intp], event: BoolArray, n_times: int
) -> FloatArray:
    """Return the Kaplan–Meier curve of each chosen leaf, shape (n_chosen, n_times).

    Parameters
    ----------
    chosen : ndarray of int, shape (n_chosen,)
        Leaves, ascending.
    leaf, place, event : ndarray, shape (n,)
        Leaf, index of the time, and event of each subject that the tree was grown on.
    n_times : int
    """
    row = np.minimum(np.searchsorted(chosen, leaf), len(chosen) - 1)
    inside = chosen[row] == leaf
    cell = row[inside] * n_times + place[inside]
    shape = (len(chosen), n_times)
    left = np.bincount(cell, minlength=len(chosen) * n_times).reshape(shape)
    deaths = np.bincount(cell, weights=event[inside], minlength=len(chosen) * n_times).reshape(shape)
    at_risk = np.cumsum(left[:, ::-1], axis=1)[:, ::-1]
    return np.cumprod(1.0 - deaths / np.maximum(at_risk, 1), axis=1).astype(np.float64, copy=False)


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
        forest = _forest(int(grid.max()), seed).fit(features, follow_up.structured())
        return CandidateRisks(risk_by_depth(forest, heldout, grid.astype(np.intp)))

    def fit(self, features: FloatArray, follow_up: FollowUp, value: float, seed: int) -> FittedForest:
        """Grow a forest of one depth."""
        forest = _forest(int(value), seed).fit(features, follow_up.structured())
        single = np.ascontiguousarray(features, dtype=np.float32)
        leaf = np.stack([estimator.tree_.apply(single) for estimator in forest.estimators_]).astype(np.int32)
        return FittedForest(forest, leaf, follow_up)


def _forest(max_depth: int, seed: int) -> RandomSurvivalForest:
    # low_memory keeps one number a node, the mortality, not a curve.
    return RandomSurvivalForest(n_estimators=_TREES, max_depth=max_depth, low_memory=True, random_state=seed, n_jobs=1)


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
