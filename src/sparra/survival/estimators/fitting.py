"""What the estimators share: failures that are recorded, the row space, the baseline hazard."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.registry import CandidateRisks, Predictor

# What scikit-survival raises when an optimisation breaks down (AssertionError: non-finite coefficients).
FIT_ERRORS = (ValueError, ArithmeticError, AssertionError, ConvergenceWarning)


@contextmanager
def strict_warnings() -> Iterator[None]:
    """Turn a fit that did not converge into an error, and silence overflow on the way to it.

    A fit that stopped early is not the model it is named after, so it counts as failed.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.filterwarnings("ignore", message="all coefficients are zero")
        warnings.simplefilter("error", ConvergenceWarning)
        yield


def reason_of(error: BaseException) -> str:
    """Return why a fit failed, in one line."""
    text = " ".join(str(error).split())
    return text or type(error).__name__


def risks_one_by_one(fit: Callable[[float], Predictor], heldout: FloatArray, grid: FloatArray) -> CandidateRisks:
    """Fit each candidate of `grid` (G,) in turn; one that fails is recorded with its reason."""
    risks = CandidateRisks.empty(len(heldout), len(grid))
    for place, value in enumerate(grid):
        try:
            with strict_warnings():
                column = fit(float(value)).risk(heldout)
        except FIT_ERRORS as error:
            risks.failures[place] = reason_of(error)
            continue
        if np.isfinite(column).all():
            risks.values[:, place] = column
        else:
            risks.failures[place] = "the risks are not finite"
    return risks


def row_space(features: FloatArray) -> FloatArray | None:
    """Return an orthonormal basis V (p, r) of the row space if p exceeds n, else None.

    The minimiser of a loss of ``X w`` plus a penalty on ``||w||`` lies in the row space of X, so a fit on
    ``X V`` is exact and its cost no longer depends on p.
    """
    n, p = features.shape
    if p <= n:
        return None
    _, singular, vt = np.linalg.svd(features, full_matrices=False)
    significant = singular > singular[0] * p * np.finfo(np.float64).eps
    basis: FloatArray = vt[significant].T
    return basis


def to_full_space(coefficient: FloatArray, basis: FloatArray | None) -> FloatArray:
    """Return coefficients of the p features, shape (p,), from those fitted in a `row_space` basis."""
    full: FloatArray = coefficient if basis is None else basis @ coefficient
    return full


class BreslowBaseline:
    """Survival curves from a linear predictor, by Breslow's cumulative baseline hazard.

    Parameters
    ----------
    predictor : ndarray, shape (n,)
        Linear predictor of the training subjects.
    follow_up : FollowUp
        Of the same subjects.

    Notes
    -----
    ``H0(t) = sum over events up to t of 1 / sum over the risk set of exp(predictor)``. Sums run from the
    last subject forward, shifted by the largest predictor: no cancellation and no overflow.
    """

    def __init__(self, predictor: FloatArray, follow_up: FollowUp) -> None:
        self._shift = float(predictor.max())
        order = np.argsort(-follow_up.time, kind="stable")
        time = follow_up.time[order]
        at_risk = np.cumsum(np.exp(predictor[order] - self._shift))
        self.times, events = np.unique(follow_up.time[follow_up.event], return_counts=True)
        last = np.searchsorted(-time, -self.times, side="right") - 1
        # A risk set of far lower predictors may round to nothing: the hazard is then beyond measure.
        with np.errstate(divide="ignore"):
            self._hazard = np.cumsum(events / at_risk[last])

    @property
    def hazard(self) -> FloatArray:
        """Cumulative hazard H0 at `times`, shape (K,), of a subject whose predictor is zero."""
        with np.errstate(over="ignore"):
            hazard: FloatArray = np.exp(np.log(self._hazard) - self._shift)
        return hazard

    def survival(self, predictor: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the event times (K,) and ``S(t)`` (n, K) of subjects with these predictors."""
        # In logarithms, as exp(predictor) may overflow where the product with the hazard does not.
        exponent = np.log(self._hazard)[None, :] + (predictor - self._shift)[:, None]
        return self.times, np.exp(-np.exp(np.minimum(exponent, 700.0)))
