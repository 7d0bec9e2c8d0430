"""Brier scores over time, against the Kaplan–Meier curve that knows no patient."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sksurv.nonparametric import CensoringDistributionEstimator

from sparra.errors import UserError
from sparra.survival.groups import kaplan_meier
from sparra.survival.outcomes import (
    FloatArray,
    FollowUp,
    MetricValue,
    SurvivalCurves,
    defined,
    require_increasing,
    require_survival,
    step_values,
    undefined,
)


class BrierSummary(NamedTuple):
    """Brier score of a model beside that of the Kaplan–Meier null.

    Attributes
    ----------
    times : ndarray, shape (T,)
    model, null : ndarray, shape (T,)
        Brier score at each time; lower is better.
    ibs, ibs_null : MetricValue
        Their means over time (integrated Brier scores).
    scaled : MetricValue
        ``1 - ibs / ibs_null``: 1 is perfect, 0 no better than the null, below 0 worse.
    """

    times: FloatArray
    model: FloatArray
    null: FloatArray
    ibs: MetricValue
    ibs_null: MetricValue
    scaled: MetricValue


def brier_scores(train: FollowUp, test: FollowUp, survival: SurvivalCurves) -> FloatArray:
    """Return the Brier score at each of the curves' times, weighted for censoring; shape (T,).

    The censoring distribution is estimated on `train`; where it leaves nobody under observation the score is not
    finite. Defined, unlike scikit-survival's, before the first follow-up time of the test part.

    Notes
    -----
    Graf, Schmoor, Sauerbrei & Schumacher, Statistics in Medicine 18 (1999) 2529-2545.
    """
    require_survival(survival, len(test))
    censoring = CensoringDistributionEstimator().fit(train.structured())
    weight_of_case = np.zeros(len(test))
    alive = test.time[:, None] > survival.times[None, :]
    case = ~alive & test.event[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        if test.event.any():
            weight_of_case[test.event] = 1.0 / censoring.predict_proba(test.time[test.event])
        weight_of_control = 1.0 / censoring.predict_proba(survival.times)
        squared_error = (
            case * weight_of_case[:, None] * survival.values**2
            + alive * weight_of_control[None, :] * (1.0 - survival.values) ** 2
        )
    mean: FloatArray = squared_error.mean(axis=0)
    return mean


def kaplan_meier_null(train: FollowUp, times: ArrayLike, n_subjects: int) -> SurvivalCurves:
    """Return the null prediction: the training part's Kaplan–Meier curve for each of `n_subjects`.

    Its IBS is what a model must beat; its risks are all equal, so its C-index is 0.5.
    """
    grid = require_increasing(times)
    curve = kaplan_meier(train.time, train.event)
    values = step_values(curve.times, curve.survival[None, :], grid)
    return SurvivalCurves(grid, np.repeat(values, n_subjects, axis=0))


def brier_summary(train: FollowUp, test: FollowUp, survival: SurvivalCurves, tau: float) -> BrierSummary:
    """Compare a model's Brier scores with those of the Kaplan–Meier null of the training part.

    Parameters
    ----------
    train, test : FollowUp
        `test` is administratively censored at `tau` here.
    survival : SurvivalCurves
        Of the test part, at two or more times below `tau`.
    tau : float
        Horizon declared beforehand.

    Raises
    ------
    UserError
        If the predictions do not fit the test part or reach the horizon.
    """
    times = require_survival(survival, len(test)).times
    if times[-1] >= tau:
        raise UserError(f"the last evaluation time {times[-1]:g} must lie before the horizon {tau:g}")
    until_tau = test.censored_at(tau)
    missing = np.full(len(times), np.nan)
    obstacle = censoring_obstacle(train, until_tau, times)
    if obstacle:
        reason = undefined(obstacle)
        return BrierSummary(times, missing, missing, reason, reason, reason)
    model = brier_scores(train, until_tau, survival)
    null = brier_scores(train, until_tau, kaplan_meier_null(train, times, len(test)))
    if len(times) < 2:
        reason = undefined("the integral needs at least two evaluation times")
        return BrierSummary(times, model, null, reason, reason, reason)
    ibs, ibs_null = defined(integral(times, model)), defined(integral(times, null))
    if not ibs_null.value > 0:
        scaled = undefined(ibs_null.reason or "the null has no error to improve on")
    else:
        scaled = defined(1.0 - ibs.value / ibs_null.value)
    return BrierSummary(times, model, null, ibs, ibs_null, scaled)


def integral(times: FloatArray, scores: FloatArray) -> float:
    """Return the mean of `scores` over time by the trapezoidal rule."""
    return float(np.trapezoid(scores, times) / (times[-1] - times[0]))


def censoring_obstacle(train: FollowUp, test: FollowUp, times: FloatArray) -> str:
    """Return why weighting for censoring is impossible, or an empty string."""
    if train.n_events == 0:
        return "the training part has no event"
    if test.time.max() <= times[-1]:
        return f"follow-up of the test part ends at {test.time.max():g}, before the last evaluation time"
    needed = max(test.time[test.event].max(initial=0.0), times[-1])
    if needed > train.time.max():
        return f"follow-up of the training part ends at {train.time.max():g}, before {needed:g}"
    censoring = CensoringDistributionEstimator().fit(train.structured())
    if censoring.predict_proba(np.array([needed]))[0] == 0:
        return f"all subjects of the training part are censored by {needed:g}"
    return ""
