"""Decision curves: is acting on a prediction better than treating everybody or nobody?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sparra.errors import UserError
from sparra.survival.calibration import risk_at
from sparra.survival.groups import kaplan_meier
from sparra.survival.outcomes import BoolArray, FloatArray, FollowUp, SurvivalCurves, require_increasing, step_values


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit by threshold probability, at one horizon.

    Attributes
    ----------
    horizon : float
        In the study's time unit.
    thresholds : ndarray, shape (K,)
        Predicted risk from which one would treat.
    model, treat_all : ndarray, shape (K,)
        True positives less weighted false positives, per subject; treating nobody has 0.
    reason : str
        Why the curve is undefined (all NaN); empty if it is not.
    """

    horizon: float
    thresholds: FloatArray
    model: FloatArray
    treat_all: FloatArray
    reason: str = ""


def decision_curve(
    follow_up: FollowUp, survival: SurvivalCurves, horizon: float, thresholds: ArrayLike | None = None
) -> DecisionCurve:
    """Return the net benefit of treating those whose predicted risk by `horizon` exceeds a threshold.

    Parameters
    ----------
    follow_up : FollowUp
        Of subjects the model was not fitted to.
    survival : SurvivalCurves
        Of the same subjects, with `horizon` among their times.
    horizon : float
    thresholds : array-like, shape (K,), optional
        Increasing, in (0, 1); 0.01 to 0.99 by default.

    Notes
    -----
    With x the risk of the event by the horizon among those above the threshold p, by Kaplan–Meier, and q
    their share: net benefit ``q (x - (1 - x) p / (1 - p))``. Vickers, Cronin, Elkin & Gonen, BMC Med Inform
    Decis Mak 8:53 (2008). The group above a threshold may be censored before the horizon: NaN there.
    """
    grid = np.linspace(0.01, 0.99, 99) if thresholds is None else require_increasing(thresholds)
    if grid[0] <= 0 or grid[-1] >= 1:
        raise UserError("thresholds are probabilities: they must lie between 0 and 1")
    risk = risk_at(follow_up, survival, horizon)
    everybody = np.ones(len(follow_up), dtype=np.bool_)
    if not np.isfinite(_risk_by(follow_up, everybody, horizon)):
        missing = np.full(len(grid), np.nan)
        reason = f"all subjects are censored by {follow_up.time.max():g}, before the horizon"
        return DecisionCurve(horizon, grid, missing, missing, reason)
    model = np.array([_net_benefit(follow_up, risk > threshold, horizon, threshold) for threshold in grid])
    treat_all = np.array([_net_benefit(follow_up, everybody, horizon, threshold) for threshold in grid])
    return DecisionCurve(horizon, grid, model, treat_all)


def _net_benefit(follow_up: FollowUp, treated: BoolArray, horizon: float, threshold: float) -> float:
    if not treated.any():
        return 0.0
    events = _risk_by(follow_up, treated, horizon)
    odds = threshold / (1.0 - threshold)
    return float(treated.mean() * (events - (1.0 - events) * odds))


def _risk_by(follow_up: FollowUp, group: BoolArray, horizon: float) -> float:
    """Return 1 - S(horizon) of a group by Kaplan–Meier; NaN if its follow-up ends before with some alive."""
    curve = kaplan_meier(follow_up.time[group], follow_up.event[group])
    if curve.times[-1] < horizon and curve.survival[-1] > 0:
        return float("nan")
    return float(1.0 - step_values(curve.times, curve.survival[None, :], np.array([horizon]))[0, 0])
