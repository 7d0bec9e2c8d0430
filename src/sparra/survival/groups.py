"""Risk groups, Kaplan–Meier curves and the log-rank test."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator

from sparra.errors import UserError
from sparra.survival.outcomes import FloatArray, FollowUp, RiskScores

Cut = Literal["median", "mean"]


def risk_groups(train_risk: RiskScores, test_risk: RiskScores, cut: Cut) -> NDArray[np.str_]:
    """Divide a fold's test part into ``low`` and ``high`` at the median or mean of its *training* risks.

    Risks of different folds come from different fits and are not on one scale. So the cut is made in each
    fold, and only the labels are pooled, one a subject.

    Returns
    -------
    ndarray of str, shape (n_test,)
        ``high`` where the risk is above the cut, else ``low``.
    """
    return np.where(test_risk.values > cut_of(train_risk, cut), "high", "low")


def cut_of(train_risk: RiskScores, cut: Cut) -> float:
    """Return the median or mean of the training risks, above which a risk is high."""
    train = train_risk.values
    if cut == "median":
        return float(np.median(train))
    if cut == "mean":
        # Rounding must not move the mean of equal risks away from them.
        return float(np.clip(train.mean(), train.min(), train.max()))
    raise UserError(f"there is no cut called '{cut}'", mend="use 'median' or 'mean'")


@dataclass(frozen=True)
class KaplanMeier:
    """A Kaplan–Meier curve; each array has shape (K,), one value a distinct follow-up time.

    Attributes
    ----------
    times : ndarray
        Increasing; the curve is 1 before the first.
    survival, lower, upper : ndarray
        Estimate from each time on, with its pointwise 95 % interval (log-log).
    at_risk : ndarray of int
        Subjects still under observation just before each time.
    """

    times: FloatArray
    survival: FloatArray
    lower: FloatArray
    upper: FloatArray
    at_risk: NDArray[np.intp]


def kaplan_meier(time: ArrayLike, event: ArrayLike) -> KaplanMeier:
    """Estimate the survival curve of a group, shape (n,); all may be censored.

    Notes
    -----
    Kaplan & Meier, JASA 53 (1958) 457-481.
    """
    follow_up = FollowUp(np.asarray(time), np.asarray(event))
    times, survival, interval = kaplan_meier_estimator(follow_up.event, follow_up.time, conf_type="log-log")
    at_risk = len(follow_up) - np.searchsorted(np.sort(follow_up.time), times, side="left")
    return KaplanMeier(times, survival, interval[0], interval[1], at_risk)


class LogRank(NamedTuple):
    """Chi-square statistic and p of a log-rank test; where they are NaN, `reason` says why."""

    statistic: float
    p: float
    reason: str = ""


def log_rank(time: ArrayLike, event: ArrayLike, group: ArrayLike) -> LogRank:
    """Test whether the groups share one survival curve.

    Parameters
    ----------
    time, event : array-like, shape (n,)
    group : array-like of str, shape (n,)
        One row a subject: a subject counted twice makes the test too sure.

    Notes
    -----
    Peto & Peto, JRSS A 135 (1972) 185-207.
    """
    follow_up = FollowUp(np.asarray(time), np.asarray(event))
    labels = np.asarray(group).astype(str)
    if labels.shape != follow_up.time.shape:
        raise UserError(f"there are {labels.size} group labels for {len(follow_up)} subjects")
    if len(np.unique(labels)) < 2:
        return LogRank(math.nan, math.nan, f"all subjects are in the group '{labels[0]}'")
    if follow_up.n_events == 0:
        return LogRank(math.nan, math.nan, "no subject had an event")
    try:
        statistic, p = compare_survival(follow_up.structured(), labels)
    except np.linalg.LinAlgError:
        return LogRank(math.nan, math.nan, "no event occurred while two groups were at risk")
    return LogRank(float(statistic), float(p))
