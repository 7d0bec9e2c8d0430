"""Cox regression of a few covariates with its inference: coefficients, errors, likelihood-ratio test."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.linalg import cho_factor, cho_solve

from sparra.errors import UserError
from sparra.survival.estimators.fitting import BreslowBaseline
from sparra.survival.outcomes import (
    FloatArray,
    FollowUp,
    RiskScores,
    SurvivalCurves,
    require_increasing,
    step_values,
)
from sparra.survival.screening import Ties

_MAX_ITERATIONS = 100
_MAX_HALVINGS = 40
_SMALL_DECREASE = 1e-12
# A likelihood that has become so much flatter than at zero, or log hazards so far apart, are on their way to
# infinity (monotone likelihood).
_FLATTENED = 1e-5
_LARGEST_SPREAD = 60.0
_COLLINEAR = 1e-9
_Z_95 = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class CoxFit:
    """A Cox model of q covariates.

    Attributes
    ----------
    coefficient : ndarray, shape (q,)
        Log hazard ratio for one unit of each covariate.
    covariance : ndarray, shape (q, q)
        Inverse observed information; NaN where `reason` is not empty.
    log_likelihood, null_log_likelihood : float
        Partial log-likelihood at the coefficients, and with all of them zero.
    n_subjects, n_events : int
    baseline : BreslowBaseline
        Cumulative baseline hazard of the training subjects (all strata together).
    centre : ndarray, shape (q,)
        Training means: the linear predictor is of ``x - centre``.
    reason : str
        Why the maximum was not reached; empty if it was.
    """

    coefficient: FloatArray
    covariance: FloatArray
    log_likelihood: float
    null_log_likelihood: float
    n_subjects: int
    n_events: int
    baseline: BreslowBaseline
    centre: FloatArray
    reason: str = ""

    @property
    def standard_error(self) -> FloatArray:
        """Standard errors of the coefficients, shape (q,)."""
        error: FloatArray = np.sqrt(np.diag(self.covariance))
        return error

    @property
    def p(self) -> FloatArray:
        """Two-sided Wald p, shape (q,)."""
        p: FloatArray = 2.0 * stats.norm.sf(np.abs(self.coefficient / self.standard_error))
        return p

    @property
    def hazard_ratio(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Hazard ratios with the ends of their 95 % Wald intervals, each shape (q,)."""
        half = _Z_95 * self.standard_error
        return np.exp(self.coefficient), np.exp(self.coefficient - half), np.exp(self.coefficient + half)

    def predict_risk(self, covariates: ArrayLike) -> RiskScores:
        """Return the linear predictor of each row of `covariates`, shape (n, q)."""
        return RiskScores(self._predictor(covariates))

    def predict_survival(self, covariates: ArrayLike, times: ArrayLike) -> SurvivalCurves:
        """Return S(t) at `times` (T,) for each row; beyond the last event the last value is carried on."""
        grid = require_increasing(times)
        return SurvivalCurves(grid, step_values(*self.baseline.survival(self._predictor(covariates)), grid))

    def _predictor(self, covariates: ArrayLike) -> FloatArray:
        predictor: FloatArray = (np.asarray(covariates, dtype=np.float64) - self.centre) @ self.coefficient
        return predictor


class LikelihoodRatio(NamedTuple):
    """Chi-square statistic, degrees of freedom and p; where they are NaN, `reason` says why."""

    statistic: float
    df: int
    p: float
    reason: str = ""


def fit_cox(
    covariates: ArrayLike, follow_up: FollowUp, *, strata: ArrayLike | None = None, ties: Ties = "efron"
) -> CoxFit:
    """Maximise the partial likelihood of a few covariates.

    Parameters
    ----------
    covariates : array-like, shape (n, q)
        Finite. q may be 0: the null model.
    follow_up : FollowUp
    strata : array-like, shape (n,), optional
        Subjects of different strata are never compared; each has its own baseline hazard.
    ties : {"efron", "breslow"}

    Raises
    ------
    UserError
        If the shapes disagree, a covariate is missing or infinite, or no subject had an event.
    """
    table = np.asarray(covariates, dtype=np.float64)
    _check(table, follow_up)
    labels = np.zeros(len(table)) if strata is None else np.asarray(strata)
    if labels.shape != (len(table),):
        raise UserError(f"there are {labels.size} stratum labels for {len(table)} subjects")
    centre, scale = table.mean(axis=0), table.std(axis=0)
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(centre), 1e-300), scale, 1.0)
    x = (table - centre) / scale
    parts = [_part(x[labels == label], follow_up[labels == label], ties) for label in np.unique(labels)]
    parts = [part for part in parts if len(part.event_rows)]
    w, reason = _maximise(parts, x.shape[1])
    loss, _, information = _loss(parts, w)
    covariance = np.full_like(information, np.nan) if reason else np.linalg.inv(information) / np.outer(scale, scale)
    return CoxFit(
        w / scale,
        np.asarray(covariance, dtype=np.float64),
        -loss,
        -_loss(parts, np.zeros(x.shape[1]))[0],
        len(table),
        follow_up.n_events,
        BreslowBaseline(x @ w, follow_up),
        centre,
        reason,
    )


def likelihood_ratio(nested: CoxFit, full: CoxFit) -> LikelihoodRatio:
    """Test the covariates that `full` has beyond `nested`, fitted to the same subjects and strata.

    Raises
    ------
    UserError
        If the fits are of different subjects or `full` has no further covariate.
    """
    df = len(full.coefficient) - len(nested.coefficient)
    same = (nested.n_subjects, nested.n_events) == (full.n_subjects, full.n_events)
    if not same or not math.isclose(nested.null_log_likelihood, full.null_log_likelihood, rel_tol=1e-9):
        raise UserError("a likelihood ratio needs two models of the same subjects")
    if df < 1:
        raise UserError("the full model needs more covariates than the one nested in it")
    reason = nested.reason or full.reason
    if reason:
        return LikelihoodRatio(math.nan, df, math.nan, reason)
    statistic = 2.0 * (full.log_likelihood - nested.log_likelihood)
    if statistic < -1e-6:
        return LikelihoodRatio(math.nan, df, math.nan, "the models are not nested: the larger one fits worse")
    statistic = max(statistic, 0.0)
    return LikelihoodRatio(statistic, df, float(stats.chi2.sf(statistic, df)))


def _check(table: FloatArray, follow_up: FollowUp) -> None:
    if table.ndim != 2 or len(table) != len(follow_up):
        raise UserError(f"covariates of shape {table.shape} do not fit the follow-up of {len(follow_up)} subjects")
    if not np.isfinite(table).all():
        raise UserError("Cox regression needs finite covariates", mend="impute missing values first")
    if follow_up.n_events == 0:
        raise UserError("Cox regression needs at least one event")


class _Part(NamedTuple):
    """One stratum, from the longest time to the shortest: a risk set is a leading block of rows."""

    x: FloatArray  # (n, q)
    squares: FloatArray  # (n, q * q) outer product of each row with itself
    event_rows: NDArray[np.intp]  # (e,)
    last: NDArray[np.intp]  # (e,) row that ends the risk set of each event
    starts: NDArray[np.intp]  # (g,) first event of each distinct time
    later: NDArray[np.intp]  # events of which tied events have left the risk set in part
    group: NDArray[np.intp]  # their distinct time, in the order of `starts`
    fraction: FloatArray  # the share that has left


def _part(x: FloatArray, follow_up: FollowUp, ties: Ties) -> _Part:
    order = np.argsort(-follow_up.time, kind="stable")
    x, time, rows = x[order], follow_up.time[order], np.flatnonzero(follow_up.event[order])
    last = np.searchsorted(-time, -time[rows], side="right") - 1
    starts = np.flatnonzero(np.r_[True, np.diff(time[rows]) != 0])[: len(rows)]
    sizes = np.diff(np.r_[starts, len(rows)])
    group = np.repeat(np.arange(len(starts)), sizes)
    earlier = np.arange(len(rows)) - starts[group]
    later = np.flatnonzero(earlier) if ties == "efron" else np.zeros(0, dtype=np.intp)
    squares = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    return _Part(x, squares, rows, last, starts, later, group[later], earlier[later] / sizes[group[later]])


def _loss(parts: list[_Part], w: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """Return minus the log-likelihood, its gradient (q,) and Hessian (q, q)."""
    q = len(w)
    loss, gradient, hessian = 0.0, np.zeros(q), np.zeros((q, q))
    for part in parts:
        predictor = part.x @ w
        shift = float(predictor.max())
        weight = np.exp(predictor - shift)[:, None]
        total = np.maximum(_sums(part, weight), np.finfo(np.float64).tiny)
        mean = _sums(part, weight * part.x) / total
        loss += float((np.log(total[:, 0]) + shift - predictor[part.event_rows]).sum())
        gradient += mean.sum(axis=0) - part.x[part.event_rows].sum(axis=0)
        hessian += (_sums(part, weight * part.squares) / total).sum(axis=0).reshape(q, q) - mean.T @ mean
    return loss, gradient, hessian


def _sums(part: _Part, values: FloatArray) -> FloatArray:
    """Return sums of `values` (n, k) over each event's risk set, shape (e, k)."""
    sums: FloatArray = np.cumsum(values, axis=0)[part.last]
    if part.later.size:
        dying = np.add.reduceat(values[part.event_rows], part.starts, axis=0)
        sums[part.later] -= part.fraction[:, None] * dying[part.group]
    return sums


def _maximise(parts: list[_Part], q: int) -> tuple[FloatArray, str]:
    w: FloatArray = np.zeros(q)
    if q == 0:
        return w, ""
    loss, gradient, hessian = _loss(parts, w)
    at_zero = _flattest(hessian)
    if at_zero <= _COLLINEAR * float(np.trace(hessian)):
        return w, "the covariates are collinear, or one does not vary"
    for _ in range(_MAX_ITERATIONS):
        if _flattest(hessian) < _FLATTENED * at_zero or _spread(parts, w) > _LARGEST_SPREAD:
            return w, "monotone likelihood: a covariate separates those with the event"
        step: FloatArray = cho_solve(cho_factor(hessian), gradient)
        decrease = float(gradient @ step)
        if decrease < _SMALL_DECREASE:
            return w - step, ""
        for halving in range(_MAX_HALVINGS):
            candidate: FloatArray = w - step / 2.0**halving
            reached = _loss(parts, candidate)
            # Near the maximum the losses differ by rounding alone.
            if reached[0] <= loss + 1e-12 * abs(loss):
                break
        w, (loss, gradient, hessian) = candidate, reached
    return w, f"no maximum within {_MAX_ITERATIONS} steps"


def _flattest(hessian: FloatArray) -> float:
    """Return the curvature in the flattest direction."""
    return float(np.linalg.eigvalsh(hessian)[0])


def _spread(parts: list[_Part], w: FloatArray) -> float:
    """Return the largest difference of two log hazards in a stratum."""
    return max(float(np.ptp(part.x @ w)) for part in parts)
