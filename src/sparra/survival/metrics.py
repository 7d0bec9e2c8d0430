"""How good predictions are: C-index, C-IPCW, cumulative/dynamic AUC, integrated Brier score.

An undefined metric is NaN with the reason, never 0 or 0.5.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sksurv.exceptions import NoComparablePairException
from sksurv.metrics import concordance_index_ipcw, cumulative_dynamic_auc

from sparra.errors import UserError
from sparra.survival.brier import brier_scores, censoring_obstacle, integral
from sparra.survival.concordance import concordant_of_comparable
from sparra.survival.outcomes import (
    FloatArray,
    FollowUp,
    MetricValue,
    RiskScores,
    SurvivalCurves,
    defined,
    require_increasing,
    require_risk,
    require_survival,
    undefined,
)

__all__ = ["AucCurve", "MetricValue", "auc_curve", "brier_scores", "c_auc", "c_index", "c_ipcw", "evaluate_fold"]


class AucCurve(NamedTuple):
    """Cumulative/dynamic AUC over time.

    Attributes
    ----------
    times, values : ndarray, shape (T,)
        AUC at each time; NaN before the test part's first event, where there is no case yet.
    mean : MetricValue
        Mean over the times, weighted by the fall of the test part's Kaplan–Meier curve.
    """

    times: FloatArray
    values: FloatArray
    mean: MetricValue


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
    obstacle = censoring_obstacle(train, until_tau, grid)
    return {
        "c_index": c_index(test, risk),
        "c_ipcw": undefined(obstacle) if obstacle else c_ipcw(train, until_tau, risk, tau),
        "c_auc": undefined(obstacle) if obstacle else c_auc(train, until_tau, risk, grid),
        "ibs": _integrated_brier(train, until_tau, survival, obstacle),
    }


def c_index(test: FollowUp, risk: RiskScores) -> MetricValue:
    """Return Harrell's concordance index; tied risks count ½."""
    concordant, comparable = concordant_of_comparable(test, require_risk(risk, len(test)).values)
    if comparable == 0:
        return undefined("no two subjects can be compared")
    return MetricValue(concordant / comparable)


def c_ipcw(train: FollowUp, test: FollowUp, risk: RiskScores, tau: float) -> MetricValue:
    """Return Uno's concordance index, truncated at `tau`.

    Notes
    -----
    Uno, Cai, Pencina, D'Agostino & Wei, Statistics in Medicine 30 (2011) 1105-1117.
    """
    scores = require_risk(risk, len(test)).values
    if not (test.event & (test.time < tau)).any():
        return undefined("no event before the horizon")
    try:
        value = concordance_index_ipcw(train.structured(), test.structured(), scores, tau=tau)[0]
    except (NoComparablePairException, ValueError) as error:
        return undefined(str(error))
    return defined(value)


def c_auc(train: FollowUp, test: FollowUp, risk: RiskScores, times: FloatArray) -> MetricValue:
    """Return the mean cumulative/dynamic AUC over `times`; see `auc_curve`."""
    return auc_curve(train, test, risk, times).mean


def auc_curve(train: FollowUp, test: FollowUp, risk: RiskScores, times: ArrayLike) -> AucCurve:
    """Return the cumulative/dynamic AUC at each of `times`, weighted for censoring.

    The mean is weighted by the fall of the test part's Kaplan–Meier curve, as in scikit-survival. Before
    the test part's first event there are no cases and the weight is zero, so those times are left out.

    Parameters
    ----------
    train, test : FollowUp
        The censoring distribution is estimated on `train`. `test` should be censored at the horizon.
    risk : RiskScores
        Of the test part.
    times : array-like, shape (T,)
        Sorted and unique.

    Notes
    -----
    Uno, Cai, Tian & Wei, JASA 102 (2007) 527-537; Lambert & Chevret, Stat Methods Med Res 25 (2016).
    """
    grid = require_increasing(times)
    values = np.full(len(grid), np.nan)
    scores = require_risk(risk, len(test)).values
    if not test.event.any() or test.time[test.event].min() > grid[-1]:
        return AucCurve(grid, values, undefined("no event before the last evaluation time"))
    with_cases = grid >= test.time[test.event].min()
    try:
        curve, mean = cumulative_dynamic_auc(train.structured(), test.structured(), scores, grid[with_cases])
    except ValueError as error:
        return AucCurve(grid, values, undefined(str(error)))
    values[with_cases] = curve
    return AucCurve(grid, values, defined(mean))


def _integrated_brier(train: FollowUp, test: FollowUp, survival: SurvivalCurves | None, obstacle: str) -> MetricValue:
    if survival is None:
        return undefined("the model has no survival function")
    if obstacle:
        return undefined(obstacle)
    times = survival.times
    if times.size < 2:
        return undefined("the integral needs at least two evaluation times")
    return defined(integral(times, brier_scores(train, test, survival)))


def _check_fit(
    test: FollowUp, risk: RiskScores, survival: SurvivalCurves | None, times: FloatArray, tau: float
) -> None:
    require_risk(risk, len(test))
    if survival is not None:
        require_survival(survival, len(test))
    if survival is not None and not np.array_equal(survival.times, times):
        raise UserError("survival curves were predicted at other times than the evaluation's")
    if times[-1] >= tau:
        raise UserError(f"the last evaluation time {times[-1]:g} must lie before the horizon {tau:g}")
