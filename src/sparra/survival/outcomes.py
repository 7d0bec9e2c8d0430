"""What goes into an evaluation: follow-up, risk scores and survival curves, each of its own type.

The metrics of survival analysis accept any numbers, and a survival probability given where a risk is
meant yields one minus the truth without a word. Hence the two are different types here.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sksurv.util import Surv

from sparra.errors import UserError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# S(t) of an averaged forest may rise by rounding; anything larger is a mistake.
_ROUNDING = 1e-9


class MetricValue(NamedTuple):
    """A metric; where it is NaN, `reason` says why."""

    value: float
    reason: str = ""


def undefined(reason: str) -> MetricValue:
    """Return a metric that cannot be computed, with the reason."""
    return MetricValue(math.nan, reason)


def defined(value: float) -> MetricValue:
    """Return a metric, undefined where its estimate is not finite."""
    return MetricValue(float(value)) if np.isfinite(value) else undefined("the estimate is not finite")


@dataclass(frozen=True)
class FollowUp:
    """Follow-up of n subjects, in the study's time unit.

    Attributes
    ----------
    time : ndarray of float, shape (n,)
        Time to the event or to censoring, finite and not negative.
    event : ndarray of bool, shape (n,)
        True where the event was observed, False where the subject was censored.

    Raises
    ------
    UserError
        If the arrays differ in length or are empty, or a time is missing, infinite or negative, or an
        event is neither 0/1 nor a boolean.
    """

    time: FloatArray
    event: BoolArray

    def __post_init__(self) -> None:
        time = np.asarray(self.time, dtype=np.float64)
        event = np.asarray(self.event)
        if time.ndim != 1 or event.shape != time.shape or time.size == 0:
            raise UserError(f"follow-up needs one time and one event a subject, got {time.shape}, {event.shape}")
        if not np.isfinite(time).all() or (time < 0).any():
            raise UserError("a follow-up time is missing, infinite or negative")
        if event.dtype != np.bool_ and not np.isin(event, (0, 1)).all():
            raise UserError("an event indicator is neither 0 nor 1")
        object.__setattr__(self, "time", time)
        object.__setattr__(self, "event", event.astype(np.bool_))

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, rows: NDArray[np.intp] | BoolArray) -> "FollowUp":
        """Return the follow-up of some subjects, by index or mask."""
        return FollowUp(self.time[rows], self.event[rows])

    @property
    def n_events(self) -> int:
        """Number of subjects with an observed event."""
        return int(self.event.sum())

    def censored_at(self, tau: float) -> "FollowUp":
        """Return the follow-up with administrative censoring at `tau`: whatever comes later is not seen."""
        return FollowUp(np.minimum(self.time, tau), self.event & (self.time <= tau))

    def structured(self) -> NDArray[np.void]:
        """Return the structured array that scikit-survival expects."""
        structured: NDArray[np.void] = Surv.from_arrays(self.event, self.time)
        return structured


@dataclass(frozen=True)
class RiskScores:
    """One risk score a subject: higher is worse. Never a survival probability or a survival time.

    Attributes
    ----------
    values : ndarray of float, shape (n,)

    Raises
    ------
    UserError
        If a score is not finite.
    """

    values: FloatArray

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != 1:
            raise UserError(f"risk scores must be one number a subject, got an array of shape {values.shape}")
        if not np.isfinite(values).all():
            raise UserError(f"{int((~np.isfinite(values)).sum())} of {values.size} risk scores are not finite")
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class SurvivalCurves:
    """Predicted probability of being free of the event after each time. Never a risk.

    Attributes
    ----------
    times : ndarray of float, shape (T,)
        Strictly increasing.
    values : ndarray of float, shape (n, T)
        S(t) in [0, 1], falling along each row.

    Raises
    ------
    UserError
        If the times are not sorted and unique, the shapes disagree, or a row is not a survival curve.
    """

    times: FloatArray
    values: FloatArray

    def __post_init__(self) -> None:
        times = require_increasing(self.times)
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != times.size:
            raise UserError(f"survival curves of shape {values.shape} do not fit {times.size} times")
        outside = (values < -_ROUNDING) | (values > 1 + _ROUNDING) | ~np.isfinite(values)
        if outside.any() or (np.diff(values, axis=1) > _ROUNDING).any():
            raise UserError("survival curves must lie in [0, 1] and never rise; are these risk scores?")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", np.clip(values, 0.0, 1.0))

    def __len__(self) -> int:
        return len(self.values)


def require_risk(risk: object, n_subjects: int) -> RiskScores:
    """Return `risk` if it is risk scores of so many subjects, else a UserError that says what it is."""
    if not isinstance(risk, RiskScores):
        raise UserError(
            f"this needs risk scores (higher is worse) but got {type(risk).__name__}",
            mend="wrap risks in RiskScores; survival probabilities are no risks",
        )
    if len(risk) != n_subjects:
        raise UserError(f"predictions do not fit: {len(risk)} risk scores, {n_subjects} subjects")
    return risk


def require_survival(survival: object, n_subjects: int) -> SurvivalCurves:
    """Return `survival` if it is survival curves of so many subjects, else a UserError that says what it is."""
    if not isinstance(survival, SurvivalCurves):
        raise UserError(
            f"this needs survival curves S(t) but got {type(survival).__name__}",
            mend="wrap probabilities in SurvivalCurves; risk scores are no probabilities",
        )
    if len(survival) != n_subjects:
        raise UserError(f"predictions do not fit: {len(survival)} survival curves, {n_subjects} subjects")
    return survival


def require_increasing(times: ArrayLike) -> FloatArray:
    """Return `times` as floats; a UserError if they are not finite, sorted and unique.

    scikit-survival sorts the times of a Brier score without re-ordering the predictions, which gives a
    wrong score silently.
    """
    grid = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if grid.ndim != 1 or grid.size == 0 or not np.isfinite(grid).all() or (np.diff(grid) <= 0).any():
        raise UserError("the evaluation times must be finite, sorted and unique")
    return grid


def step_values(knots: FloatArray, curves: FloatArray, times: FloatArray) -> FloatArray:
    """Evaluate right-continuous survival step functions.

    Parameters
    ----------
    knots : ndarray, shape (K,)
        Times at which the curves may fall, increasing.
    curves : ndarray, shape (n, K)
        Values from each knot on.
    times : ndarray, shape (T,)

    Returns
    -------
    ndarray, shape (n, T)
        1 before the first knot; after the last knot the last value is carried on.
    """
    with_start = np.column_stack([np.ones(len(curves)), curves])
    values: FloatArray = with_start[:, np.searchsorted(knots, times, side="right")]
    return values
