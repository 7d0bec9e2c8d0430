"""Univariate Cox regression of all features at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sparra.survival.outcomes import BoolArray, FloatArray, FollowUp

_MAX_ITERATIONS = 50
_TOLERANCE = 1e-9
# Newton may overshoot on a skewed feature; a standardised log hazard ratio seldom exceeds 1.
_LARGEST_STEP = 1.0


@dataclass(frozen=True)
class UnivariateCox:
    """One Cox model a feature, each shape (p,).

    Attributes
    ----------
    coefficient, standard_error : ndarray
        Log hazard ratio for one unit of the feature.
    p : ndarray
        Two-sided Wald p; NaN where the fit did not converge (monotone likelihood).
    converged : ndarray of bool
    """

    coefficient: FloatArray
    standard_error: FloatArray
    p: FloatArray
    converged: BoolArray


def univariate_cox(features: FloatArray, follow_up: FollowUp) -> UnivariateCox:
    """Fit a Cox model (Breslow ties) to each feature alone, all by one vectorised Newton iteration.

    Parameters
    ----------
    features : ndarray, shape (n, p)
        Finite and standardised.
    follow_up : FollowUp

    Returns
    -------
    UnivariateCox
    """
    order = np.argsort(-follow_up.time, kind="stable")
    z, time, event = features[order], follow_up.time[order], follow_up.event[order]
    # The risk set of an event ends with the last row of the same time.
    last = np.searchsorted(-time, -time[event], side="right") - 1
    total = z[event].sum(axis=0)
    beta = np.zeros(z.shape[1])
    step = np.zeros_like(beta)
    information = np.ones_like(beta)
    for _ in range(_MAX_ITERATIONS):
        score, information = _score_and_information(z, beta, last, total)
        step = np.divide(score, information, out=np.zeros_like(beta), where=information > 0)
        beta = beta + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        if (np.abs(step) < _TOLERANCE).all():
            break
    converged = (np.abs(step) < _TOLERANCE) & (information > _TOLERANCE)
    error = np.where(converged, 1.0 / np.sqrt(np.where(converged, information, 1.0)), np.nan)
    p = 2.0 * stats.norm.sf(np.abs(beta / error))
    return UnivariateCox(beta, error, p, converged)


def _score_and_information(
    z: FloatArray, beta: FloatArray, last: NDArray[np.intp], total: FloatArray
) -> tuple[FloatArray, FloatArray]:
    predictor = z * beta
    weight = np.exp(predictor - predictor.max(axis=0))
    at_risk = np.cumsum(weight, axis=0)[last]
    mean = np.cumsum(weight * z, axis=0)[last] / at_risk
    square = np.cumsum(weight * z**2, axis=0)[last] / at_risk
    return total - mean.sum(axis=0), (square - mean**2).sum(axis=0)
