"""Cox regression with a ridge penalty."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from sparra.survival.estimators.fitting import BreslowBaseline, risks_one_by_one, row_space, to_full_space
from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.registry import CandidateRisks

_MAX_ITERATIONS = 100
_MAX_HALVINGS = 40
# Newton converges quadratically: once the expected decrease is this small, one more step is exact.
_SMALL_DECREASE = 1e-9


@dataclass(frozen=True)
class FittedCox:
    """Coefficients, shape (p,), of standardised features and the baseline hazard."""

    coefficient: FloatArray
    baseline: BreslowBaseline

    def risk(self, features: FloatArray) -> FloatArray:
        """Return the linear predictor, shape (n,)."""
        predictor: FloatArray = features @ self.coefficient
        return predictor

    def survival(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return event times and survival curves."""
        return self.baseline.survival(self.risk(features))


class CoxRidge:
    """CoxPH with ridge penalty α in 10^-2 … 10^4 (paper-vs-code.md §8), exact for any number of features.

    The objective is scikit-survival's `CoxPHSurvivalAnalysis` (Breslow ties, ``α/2 ||w||²`` beside the
    log-likelihood). Its optimiser cycles or overflows at weak penalties; the one here does not.
    """

    parameter = "alpha"

    def grid(self, features: FloatArray, follow_up: FollowUp) -> FloatArray:
        """Return the penalties, the strongest first."""
        return np.logspace(4, -2, 7)

    def candidate_risks(
        self, features: FloatArray, follow_up: FollowUp, heldout: FloatArray, grid: FloatArray, seed: int
    ) -> CandidateRisks:
        """Fit every penalty; the row space is found once."""
        basis = row_space(features)
        return risks_one_by_one(lambda alpha: _fit(features, follow_up, alpha, basis), heldout, grid)

    def fit(self, features: FloatArray, follow_up: FollowUp, value: float, seed: int) -> FittedCox:
        """Fit one penalty."""
        return _fit(features, follow_up, value, row_space(features))


def _fit(features: FloatArray, follow_up: FollowUp, alpha: float, basis: FloatArray | None) -> FittedCox:
    reduced = features if basis is None else features @ basis
    coefficient = to_full_space(ridge_coefficient(reduced, follow_up, alpha), basis)
    return FittedCox(coefficient, BreslowBaseline(features @ coefficient, follow_up))


class _RiskSets(NamedTuple):
    """Subjects from the longest time to the shortest, so that a risk set is a leading block of rows."""

    x: FloatArray
    event_rows: NDArray[np.intp]
    last: NDArray[np.intp]  # of each event's risk set; rows of the same time belong to it


def ridge_coefficient(features: FloatArray, follow_up: FollowUp, alpha: float) -> FloatArray:
    """Minimise the negative Breslow log-likelihood plus ``alpha / 2 ||w||²``, by Newton with line search.

    Parameters
    ----------
    features : ndarray, shape (n, r)
    follow_up : FollowUp
    alpha : float
        Positive, so that the objective is strictly convex.

    Returns
    -------
    ndarray, shape (r,)

    Raises
    ------
    ArithmeticError
        If 100 steps do not suffice.
    """
    order = np.argsort(-follow_up.time, kind="stable")
    time, event_rows = follow_up.time[order], np.flatnonzero(follow_up.event[order])
    last = np.searchsorted(-time, -time[event_rows], side="right") - 1
    risk_sets = _RiskSets(features[order], event_rows, last)
    w = np.zeros(features.shape[1])
    loss = _loss(risk_sets, w, alpha)
    for _ in range(_MAX_ITERATIONS):
        gradient, hessian = _derivatives(risk_sets, w, alpha)
        direction: FloatArray = cho_solve(cho_factor(hessian), gradient)
        decrease = float(gradient @ direction)
        if decrease < _SMALL_DECREASE:
            return w - direction
        w, loss = _step(risk_sets, w, loss, direction, decrease, alpha)
    raise ArithmeticError(f"Cox regression did not converge in {_MAX_ITERATIONS} Newton steps")


def _step(
    risk_sets: _RiskSets, w: FloatArray, loss: float, direction: FloatArray, decrease: float, alpha: float
) -> tuple[FloatArray, float]:
    """Halve the step until the loss falls as Armijo's rule asks."""
    length = 1.0
    for _ in range(_MAX_HALVINGS):
        candidate = w - length * direction
        reached = _loss(risk_sets, candidate, alpha)
        if reached <= loss - 1e-4 * length * decrease:
            return candidate, reached
        length /= 2
    raise ArithmeticError("Cox regression found no step that lowers the loss")


def _loss(risk_sets: _RiskSets, w: FloatArray, alpha: float) -> float:
    predictor = risk_sets.x @ w
    log_likelihood = predictor[risk_sets.event_rows] - _log_at_risk(predictor)[risk_sets.last]
    return float(alpha / 2 * (w @ w) - log_likelihood.sum())


def _derivatives(risk_sets: _RiskSets, w: FloatArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    x, event_rows, last = risk_sets
    predictor = x @ w
    # Probability that subject j is the one to have the event i, shape (events, n).
    in_set = np.arange(len(x)) <= last[:, None]
    log_odds = np.where(in_set, predictor - _log_at_risk(predictor)[last][:, None], -np.inf)
    probability = np.exp(log_odds)
    expected = probability.sum(axis=0)
    mean = probability @ x
    gradient = x.T @ expected - x[event_rows].sum(axis=0) + alpha * w
    hessian = x.T @ (expected[:, None] * x) - mean.T @ mean + alpha * np.eye(x.shape[1])
    return gradient, hessian


def _log_at_risk(predictor: FloatArray) -> FloatArray:
    """Return ``log sum exp`` of the predictors from the longest time on; never over- or underflows."""
    sums: FloatArray = np.logaddexp.accumulate(predictor)
    return sums
