"""How good predictions are: C-index, C-IPCW, cumulative/dynamic AUC, integrated Brier score.

An undefined metric is NaN with the reason, never 0 or 0.5.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sksurv.exceptions import NoComparablePairException
from sksurv.metrics import concordance_index_ipcw, cumulative_dynamic_auc
from sksurv.nonparametric import CensoringDistributionEstimator

from sparra.errors import UserError
from sparra.survival.concordance import concordant_of_comparable
from sparra.survival.outcomes import FloatArray, FollowUp, RiskScores, SurvivalCurves, require_increasing


class MetricValue(NamedTuple):
    """A metric; where it is NaN, `reason` says why."""

    value: float
    reason: str = ""


def _undefined(reason: str) -> MetricValue:
    return MetricValue(math.nan, reason)


def evaluate_fold(
    train: FollowUp,
    test: FollowUp,
    risk: RiskScores,
    survival: SurvivalCurves | None,
    times: ArrayLike,
    tau: float,
) -> dict[str, MetricValue]:
    """Judge the predictions of one fold's test part.

    Parameters
    ----------
    train : FollowUp
        Of the training part: the censoring distribution is estimated on it.
    test : FollowUp
        Of the test part.
    risk : RiskScores
        Of the test part.
    survival : SurvivalCurves or None
        Of the test part at `times`; None if the model has no survival function.
    times : array-like, shape (T,)
        Evaluation times, sorted and unique, all below `tau`.
    tau : float
        Horizon declared beforehand. For all metrics but the C-index the test part is administratively
        censored at `tau`.

    Returns
    -------
    dict of str to MetricValue
        ``c_index`` (whole follow-up), ``c_ipcw``, ``c_auc``, ``ibs``.

    Raises
    ------
    UserError
        If numbers of subjects or times do not fit one another.
    """
    grid = require_increasing(times)
    _check_fit(test, risk, survival, grid, tau)
    until_tau = test.censored_at(tau)
    obstacle = _obstacle(train, until_tau, grid)
    return {
        "c_index": c_index(test, risk),
        "c_ipcw": _undefined(obstacle) if obstacle else c_ipcw(train, until_tau, risk, tau),
        "c_auc": _undefined(obstacle) if obstacle else c_auc(train, until_tau, risk, grid),
        "ibs": _integrated_brier(train, until_tau, survival, obstacle),
    }


def c_index(test: FollowUp, risk: RiskScores) -> MetricValue:
    """Return Harrell's concordance index; tied risks count ½."""
    concordant, comparable = concordant_of_comparable(test, risk.values)
    if comparable == 0:
        return _undefined("no two subjects can be compared")
    return MetricValue(concordant / comparable)


def c_ipcw(train: FollowUp, test: FollowUp, risk: RiskScores, tau: float) -> MetricValue:
    """Return Uno's concordance index, truncated at `tau`.

    Notes
    -----
    Uno, Cai, Pencina, D'Agostino & Wei, Statistics in Medicine 30 (2011) 1105-1117.
    """
    if not (test.event & (test.time < tau)).any():
        return _undefined("no event before the horizon")
    try:
        value = concordance_index_ipcw(train.structured(), test.structured(), risk.values, tau=tau)[0]
    except (NoComparablePairException, ValueError) as error:
        return _undefined(str(error))
    return _finite(value)


def c_auc(train: FollowUp, test: FollowUp, risk: RiskScores, times: FloatArray) -> MetricValue:
    """Return the mean cumulative/dynamic AUC over `times`.

    The mean is weighted by the fall of the test part's Kaplan–Meier curve, as in scikit-survival. Before
    the test part's first event there are no cases and the weight is zero, so those times are left out.

    Notes
    -----
    Uno, Cai, Tian & Wei, JASA 102 (2007) 527-537; Lambert & Chevret, Stat Methods Med Res 25 (2016).
    """
    if not test.event.any() or test.time[test.event].min() > times[-1]:
        return _undefined("no event before the last evaluation time")
    with_cases = times[times >= test.time[test.event].min()]
    try:
        _, mean = cumulative_dynamic_auc(train.structured(), test.structured(), risk.values, with_cases)
    except ValueError as error:
        return _undefined(str(error))
    return _finite(mean)


def brier_scores(train: FollowUp, test: FollowUp, survival: SurvivalCurves) -> FloatArray:
    """Return the Brier score at each of the curves' times, weighted for censoring; shape (T,).

    Defined, unlike scikit-survival's, before the first follow-up time of the test part.

    Notes
    -----
    Graf, Schmoor, Sauerbrei & Schumacher, Statistics in Medicine 18 (1999) 2529-2545.
    """
    censoring = CensoringDistributionEstimator().fit(train.structured())
    weight_of_case = np.zeros(len(test))
    if test.event.any():
        weight_of_case[test.event] = 1.0 / censoring.predict_proba(test.time[test.event])
    weight_of_control = 1.0 / censoring.predict_proba(survival.times)
    alive = test.time[:, None] > survival.times[None, :]
    case = ~alive & test.event[:, None]
    squared_error = (
        case * weight_of_case[:, None] * survival.values**2
        + alive * weight_of_control[None, :] * (1.0 - survival.values) ** 2
    )
    mean: FloatArray = squared_error.mean(axis=0)
    return mean


def _integrated_brier(train: FollowUp, test: FollowUp, survival: SurvivalCurves | None, obstacle: str) -> MetricValue:
    if survival is None:
        return _undefined("the model has no survival function")
    if obstacle:
        return _undefined(obstacle)
    times = survival.times
    if times.size < 2:
        return _undefined("the integral needs at least two evaluation times")
    area = np.trapezoid(brier_scores(train, test, survival), times)
    return _finite(area / (times[-1] - times[0]))


def _finite(value: float) -> MetricValue:
    return MetricValue(float(value)) if np.isfinite(value) else _undefined("the estimate is not finite")


def _check_fit(
    test: FollowUp, risk: RiskScores, survival: SurvivalCurves | None, times: FloatArray, tau: float
) -> None:
    if len(risk) != len(test) or (survival is not None and len(survival) != len(test)):
        raise UserError(f"predictions do not fit the {len(test)} subjects of the test part")
    if survival is not None and not np.array_equal(survival.times, times):
        raise UserError("survival curves were predicted at other times than the evaluation's")
    if times[-1] >= tau:
        raise UserError(f"the last evaluation time {times[-1]:g} must lie before the horizon {tau:g}")


def _obstacle(train: FollowUp, test: FollowUp, times: FloatArray) -> str:
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
