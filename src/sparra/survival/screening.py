"""Univariate Cox regression of all features at once, and the choice of features by it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sparra.errors import UserError
from sparra.survival.outcomes import BoolArray, FloatArray, FollowUp

Ties = Literal["efron", "breslow"]
Adjustment = Literal["none", "benjamini-hochberg"]

_MAX_ITERATIONS = 60
# In standard errors. Newton's error is squared by each step: after one this small it is about 1e-12.
_TOLERANCE = 1e-6
# Features worked on at once: their table then stays in the processor's cache.
_BLOCK = 256
_Z_95 = float(stats.norm.ppf(0.975))


@dataclass(frozen=True)
class UnivariateCox:
    """One Cox model a feature; each array has shape (p,) and is NaN where `converged` is False.

    Attributes
    ----------
    coefficient, standard_error : ndarray
        Log hazard ratio for one unit of the feature.
    p : ndarray
        Two-sided Wald p.
    converged : ndarray of bool
        False where no finite coefficient maximises the likelihood; `reason` says why.
    reason : ndarray of str
        ``""``, ``"does not vary within any risk set"`` or ``"monotone likelihood"``.
    """

    coefficient: FloatArray
    standard_error: FloatArray
    p: FloatArray
    converged: BoolArray
    reason: NDArray[np.str_]

    @property
    def hazard_ratio(self) -> FloatArray:
        """Hazard ratio for one unit of the feature, shape (p,)."""
        ratio: FloatArray = _exp(self.coefficient)
        return ratio

    @property
    def interval(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper end of the 95 % Wald interval of the hazard ratio, each shape (p,)."""
        half = _Z_95 * self.standard_error
        return _exp(self.coefficient - half), _exp(self.coefficient + half)

    def selected(self, threshold: float, adjustment: Adjustment = "none") -> BoolArray:
        """Return which features have a p (or Benjamini–Hochberg q) below `threshold`, shape (p,).

        A feature without a fit is never selected: its p is unknown.
        """
        if adjustment not in ("none", "benjamini-hochberg"):
            raise UserError(f"there is no adjustment called '{adjustment}'", mend="use 'none' or 'benjamini-hochberg'")
        p = self.p if adjustment == "none" else benjamini_hochberg(self.p)
        chosen: BoolArray = np.where(np.isnan(p), np.inf, p) < threshold
        return chosen


def univariate_cox(features: FloatArray, follow_up: FollowUp, ties: Ties = "efron") -> UnivariateCox:
    """Fit a Cox model to each feature alone, all by one Newton iteration without a loop over features.

    Parameters
    ----------
    features : ndarray, shape (n, p)
        Finite; on any scale.
    follow_up : FollowUp
        Of the same subjects.
    ties : {"efron", "breslow"}
        Approximation for tied event times.

    Returns
    -------
    UnivariateCox

    Raises
    ------
    UserError
        If a value is missing or infinite, the shapes disagree or no subject had an event.

    Notes
    -----
    The score falls in the coefficient, so its root is bracketed: a Newton step that leaves the bracket is
    replaced by bisection, and the iteration cannot diverge. A coefficient is infinite exactly if at every
    event the feature of whoever has it is the largest (or at every event the smallest) of the risk set;
    that is looked up, not inferred from a failed iteration. Efron, JASA 72 (1977) 557-565; Bryson &
    Johnson, Technometrics 23 (1981) 381-383 (monotone likelihood).
    """
    table = np.asarray(features, dtype=np.float64)
    if table.ndim != 2 or len(table) != len(follow_up):
        raise UserError(f"a table of shape {table.shape} does not fit the follow-up of {len(follow_up)} subjects")
    if not np.isfinite(table).all():
        raise UserError("screening needs finite features", mend="impute missing values first")
    if follow_up.n_events == 0:
        raise UserError("screening needs at least one event")
    blocks = [
        _fit_block(table[:, start : start + _BLOCK], follow_up, ties) for start in range(0, table.shape[1], _BLOCK)
    ]
    beta, error = (np.concatenate([block[place] for block in blocks] or [np.zeros(0)]) for place in (0, 1))
    reason = np.concatenate([block[2] for block in blocks] or [np.zeros(0, dtype="<U40")])
    p = 2.0 * stats.norm.sf(np.abs(beta / error))
    return UnivariateCox(beta, error, p, reason == "", reason)


def _fit_block(table: FloatArray, follow_up: FollowUp, ties: Ties) -> tuple[FloatArray, FloatArray, NDArray[np.str_]]:
    """Return coefficients, standard errors and reasons of some features, each shape (p,)."""
    scale = table.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    risk_sets = _sorted_risk_sets((table - table.mean(axis=0)) / scale, follow_up, ties)
    reason = _reasons(risk_sets)
    fitted = np.flatnonzero(reason == "")
    beta, error = np.full((2, table.shape[1]), np.nan)
    chosen = risk_sets._replace(z=risk_sets.z[:, fitted], total=risk_sets.total[fitted])
    beta[fitted], error[fitted], settled = _newton(chosen)
    reason[fitted[~settled]] = "the iteration did not settle"
    beta[fitted[~settled]] = np.nan
    error[fitted[~settled]] = np.nan
    return beta / scale, error / scale, reason


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Return the false discovery rate at which each hypothesis would be accepted, shape (p,); NaN stays NaN.

    Notes
    -----
    Benjamini & Hochberg, JRSS B 57 (1995) 289-300. Hypotheses with unknown p are not counted.
    """
    values = np.asarray(p, dtype=np.float64)
    known = ~np.isnan(values)
    q = np.full(values.shape, np.nan)
    if known.any():
        q[known] = stats.false_discovery_control(values[known], method="bh")
    return q


class _RiskSets(NamedTuple):
    """Subjects from the longest time to the shortest: a risk set is a leading block of rows."""

    z: FloatArray  # (n, p)
    total: FloatArray  # (p,) sum over events
    event_rows: NDArray[np.intp]  # (e,)
    last: NDArray[np.intp]  # (e,) row that ends the risk set of each event
    tied: NDArray[np.intp]  # (e,) which distinct event time, in the order of `starts`
    starts: NDArray[np.intp]  # (g,) first event of each distinct time
    fraction: FloatArray  # (e,) share of the tied events' weight that has left the risk set


def _sorted_risk_sets(z: FloatArray, follow_up: FollowUp, ties: Ties) -> _RiskSets:
    order = np.argsort(-follow_up.time, kind="stable")
    z, time, event = z[order], follow_up.time[order], follow_up.event[order]
    event_rows = np.flatnonzero(event)
    event_time = time[event_rows]
    last = np.searchsorted(-time, -event_time, side="right") - 1
    starts = np.flatnonzero(np.r_[True, np.diff(event_time) != 0])
    sizes = np.diff(np.r_[starts, len(event_rows)])
    tied = np.repeat(np.arange(len(starts)), sizes)
    within = np.arange(len(event_rows)) - starts[tied]
    fraction = within / sizes[tied] if ties == "efron" else np.zeros(len(event_rows))
    return _RiskSets(z, z[event_rows].sum(axis=0), event_rows, last, tied, starts, fraction)


def _reasons(risk_sets: _RiskSets) -> NDArray[np.str_]:
    """Return why each feature has no finite coefficient, or an empty string."""
    z, rows, last = risk_sets.z, risk_sets.event_rows, risk_sets.last
    rising = (z[rows] >= np.maximum.accumulate(z, axis=0)[last]).all(axis=0)
    falling = (z[rows] <= np.minimum.accumulate(z, axis=0)[last]).all(axis=0)
    reason = np.full(z.shape[1], "", dtype="<U40")
    reason[rising | falling] = "monotone likelihood"
    reason[rising & falling] = "does not vary within any risk set"
    return reason


def _newton(risk_sets: _RiskSets) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return coefficients, standard errors and which of them settled."""
    p = risk_sets.z.shape[1]
    beta = np.zeros(p)
    low, high = np.full(p, -np.inf), np.full(p, np.inf)
    settled = np.zeros(p, dtype=np.bool_)
    active = np.arange(p)
    for _ in range(_MAX_ITERATIONS):
        if active.size == 0:
            break
        part = risk_sets._replace(z=risk_sets.z[:, active], total=risk_sets.total[active])
        score, information = _score_and_information(part, beta[active])
        low[active] = np.where(score > 0, beta[active], low[active])
        high[active] = np.where(score <= 0, beta[active], high[active])
        moved = _safe_step(beta[active], score, information, low[active], high[active])
        done = np.abs(moved - beta[active]) * np.sqrt(information) < _TOLERANCE
        beta[active] = moved
        settled[active[done]] = True
        active = active[~done]
    # Of the last point: the information changes faster than the score where a feature's tail is heavy.
    _, information = _score_and_information(risk_sets, beta)
    return beta, 1.0 / np.sqrt(information), settled


def _safe_step(
    beta: FloatArray, score: FloatArray, information: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    """Return Newton's next point, or one inside the bracket where it leaves it or goes too far."""
    floor = np.finfo(np.float64).tiny
    step = np.clip(score / np.maximum(information, floor), -1.0 - np.abs(beta), 1.0 + np.abs(beta))
    newton = beta + step
    outside = (newton < low) | (newton > high)
    with np.errstate(invalid="ignore"):
        middle = (low + high) / 2
    moved: FloatArray = np.where(outside & np.isfinite(middle), middle, newton)
    return moved


def _score_and_information(risk_sets: _RiskSets, beta: FloatArray) -> tuple[FloatArray, FloatArray]:
    z = risk_sets.z
    predictor = z * beta
    weight = np.exp(predictor - predictor.max(axis=0))
    first = weight * z
    floor = np.finfo(np.float64).tiny
    total = np.maximum(_sums(risk_sets, weight), floor)
    mean = _sums(risk_sets, first) / total
    square = _sums(risk_sets, first * z) / total
    information = np.maximum((square - mean**2).sum(axis=0), floor)
    return risk_sets.total - mean.sum(axis=0), information


def _sums(risk_sets: _RiskSets, values: FloatArray) -> FloatArray:
    """Return sums over each event's risk set, shape (e, p)."""
    sums: FloatArray = np.cumsum(values, axis=0)[risk_sets.last]
    later = np.flatnonzero(risk_sets.fraction)
    if later.size:
        dying = np.add.reduceat(values[risk_sets.event_rows], risk_sets.starts, axis=0)
        sums[later] -= risk_sets.fraction[later, None] * dying[risk_sets.tied[later]]
    return sums


def _exp(values: FloatArray) -> FloatArray:
    """Return exp; infinite, without a warning, where a coefficient of a tiny unit is beyond float."""
    with np.errstate(over="ignore"):
        result: FloatArray = np.exp(values)
    return result
