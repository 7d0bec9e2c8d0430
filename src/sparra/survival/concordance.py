"""Harrell's C on pair matrices: what tuning, evaluation and the bootstrap share."""

import numpy as np
from numpy.typing import ArrayLike

from sparra.survival.outcomes import BoolArray, FloatArray, FollowUp

# As in scikit-survival: risks this close count as tied.
TIED_TOLERANCE = 1e-8


def comparable_pairs(follow_up: FollowUp) -> BoolArray:
    """Return which pairs (i, j) can be ordered, shape (n, n).

    True where i had the event and j outlived it: a later time, or censored at the same time.
    """
    time, event = follow_up.time, follow_up.event
    later = time[:, None] < time[None, :]
    censored_then = (time[:, None] == time[None, :]) & ~event[None, :]
    comparable: BoolArray = event[:, None] & (later | censored_then)
    return comparable


def pair_scores(risk: FloatArray) -> FloatArray:
    """Return 1 where i has the higher risk than j, ½ where they are tied, else 0; shape (n, n)."""
    difference = risk[:, None] - risk[None, :]
    return np.where(np.abs(difference) <= TIED_TOLERANCE, 0.5, (difference > 0).astype(np.float64))


def concordant_of_comparable(follow_up: FollowUp, risk: FloatArray) -> tuple[float, int]:
    """Return the concordant pairs (ties count ½) and the comparable pairs; C is their ratio.

    Notes
    -----
    Harrell, Califf, Pryor, Lee & Rosati: Evaluating the yield of medical tests. JAMA 247 (1982).
    """
    pairs = comparable_pairs(follow_up)
    return float(pair_scores(risk)[pairs].sum()), int(pairs.sum())


def weighted_c(follow_up: FollowUp, risk: FloatArray, weights: FloatArray) -> FloatArray:
    """Return Harrell's C for each row of subject weights, shape (B, n); NaN where no pair is comparable.

    A subject drawn k times by a bootstrap counts k-fold, so C is a ratio of quadratic forms in the counts.
    """
    comparable = comparable_pairs(follow_up).astype(np.float64)
    concordant = comparable * pair_scores(risk)
    numerator = np.einsum("bi,bi->b", weights @ concordant, weights)
    denominator = np.einsum("bi,bi->b", weights @ comparable, weights)
    undefined = np.full(len(weights), np.nan)
    ratio: FloatArray = np.divide(numerator, denominator, out=undefined, where=denominator > 0)
    return ratio


def weighted_c_by_fold(follow_up: FollowUp, risk: FloatArray, fold: ArrayLike, weights: FloatArray) -> FloatArray:
    """Return `weighted_c` within each fold, shape (folds, B): risks of different folds are not on one scale.

    Parameters
    ----------
    follow_up : FollowUp
        One row a subject and fold.
    risk : ndarray, shape (n,)
    fold : array-like, shape (n,)
    weights : ndarray, shape (B, n)
        The same for all rows of a subject.
    """
    labels = np.asarray(fold)
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.vstack([weighted_c(follow_up[part], risk[part], weights[:, part]) for part in rows])


def mean_over_folds(values: FloatArray) -> FloatArray:
    """Return the mean over the first axis, of what is defined: a draw may leave a fold without a comparable pair."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean: FloatArray = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return mean
