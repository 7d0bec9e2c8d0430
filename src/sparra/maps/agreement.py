"""How alike two rankings of the same nodes are, and how well a ranking finds a planted region."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

TOP_SHARE = 0.1


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; NaN where either ranks nothing."""
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (first, second)]
    norms = [float(np.sqrt((r**2).sum())) for r in ranks]
    if min(norms) == 0:
        return float("nan")
    return float(ranks[0] @ ranks[1] / (norms[0] * norms[1]))


def top_overlap(first: NDArray[np.float64], second: NDArray[np.float64], share: float = TOP_SHARE) -> float:
    """Return the part of the top `share` of one that is also in the top of the other; by chance it is k / n."""
    k = max(1, round(share * len(first)))
    tops = [set(np.argsort(-values, kind="stable")[:k].tolist()) for values in (first, second)]
    return len(tops[0] & tops[1]) / k


def mean_over_pairs(rankings: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return mean Spearman correlation and top overlap over all pairs of models; NaN of fewer than two."""
    pairs = list(combinations(rankings, 2))
    if not pairs or len(rankings[0]) < 2:
        return float("nan"), float("nan")
    return float(np.mean([spearman(*pair) for pair in pairs])), float(np.mean([top_overlap(*pair) for pair in pairs]))


def auroc(values: NDArray[np.float64], planted: NDArray[np.bool_]) -> float:
    """Return the probability that a planted patch outranks another, ties counted half; NaN without both kinds."""
    n_planted = int(planted.sum())
    n_other = len(planted) - n_planted
    if not n_planted or not n_other:
        return float("nan")
    ranks = rankdata(values)
    return float((ranks[planted].sum() - n_planted * (n_planted + 1) / 2) / (n_planted * n_other))


def planted_overlap(values: NDArray[np.float64], planted: NDArray[np.bool_]) -> float:
    """Return the planted part of the top k, k being the number of planted patches; NaN where there is none.

    Where a node's patches tie across the border, each of the tied counts by the part of them that fits.
    """
    k = int(planted.sum())
    if k == 0:
        return float("nan")
    cut = np.sort(values)[::-1][k - 1]
    above, tied = values > cut, values == cut
    share = (k - above.sum()) / tied.sum()
    return float((planted[above].sum() + share * planted[tied].sum()) / k)
