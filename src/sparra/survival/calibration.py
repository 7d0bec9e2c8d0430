"""Calibration: do as many patients have the event by a horizon as was predicted?"""

import math
from dataclasses import dataclass

import numpy as np

from sparra.errors import UserError
from sparra.survival.cox import CoxFit, fit_cox
from sparra.survival.groups import kaplan_meier
from sparra.survival.outcomes import (
    FloatArray,
    FollowUp,
    MetricValue,
    SurvivalCurves,
    defined,
    require_survival,
    step_values,
    undefined,
)

# Predicted risks of exactly 0 or 1, as forests give, have no complementary log-log: they count as these.
_LEAST_RISK, _LARGEST_RISK = 1e-5, 1.0 - 1e-12
# Of the predictor's distribution; the linear tails start there (Harrell, Regression Modeling Strategies, 2.4.6).
_KNOTS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Calibration:
    """Calibration at one horizon.

    Attributes
    ----------
    horizon : float
        In the study's time unit.
    n_subjects, n_events : int
        Events by the horizon.
    slope, slope_lower, slope_upper : float
        Of the observed hazard on the complementary log-log of the predicted risk, with its 95 % Wald
        interval; below 1 the predictions are too extreme.
    observed, predicted : float
        Kaplan–Meier risk by the horizon, and mean predicted risk (calibration in the large).
    ici, e50, e90 : float
        Mean, median and 90th percentile of the absolute difference of predicted and smoothed observed risk.
    curve_predicted, curve_observed : ndarray, shape (n,)
        The smooth calibration curve at each subject's predicted risk, increasing in it.
    reason : str
        Why the slope and the curve are undefined (NaN); empty if they are not.
    """

    horizon: float
    n_subjects: int
    n_events: int
    slope: float
    slope_lower: float
    slope_upper: float
    observed: float
    predicted: float
    ici: float
    e50: float
    e90: float
    curve_predicted: FloatArray
    curve_observed: FloatArray
    reason: str = ""


def risk_at(follow_up: FollowUp, survival: SurvivalCurves, horizon: float) -> FloatArray:
    """Return the predicted risk of the event by `horizon`, shape (n,).

    Raises
    ------
    UserError
        If the curves do not fit the subjects or were not predicted at the horizon.
    """
    curves = require_survival(survival, len(follow_up))
    place = np.flatnonzero(np.isclose(curves.times, horizon, rtol=1e-9, atol=0.0))
    if place.size == 0:
        raise UserError(
            f"there is no prediction at the horizon {horizon:g}", mend="predict survival at the horizon itself"
        )
    risk: FloatArray = 1.0 - curves.values[:, place[0]]
    return risk


def calibrate(follow_up: FollowUp, survival: SurvivalCurves, horizon: float) -> Calibration:
    """Judge the calibration of predicted risks at `horizon`.

    Parameters
    ----------
    follow_up : FollowUp
        Of subjects the model was not fitted to. Later follow-up than the horizon is not looked at.
    survival : SurvivalCurves
        Of the same subjects, with `horizon` among their times.
    horizon : float

    Notes
    -----
    The smooth curve is the risk by the horizon under a Cox model of a restricted cubic spline (three
    knots) of ``log(-log(S))``: Austin, Harrell & van Klaveren, Statistics in Medicine 39 (2020) 2714-2742,
    who also define ICI, E50 and E90. Slope: Crowson, Atkinson & Therneau, Stat Methods Med Res 25 (2016).
    """
    risk = risk_at(follow_up, survival, horizon)
    until = follow_up.censored_at(horizon)
    link = _cloglog(risk)
    observed = _observed(follow_up, horizon)
    reason = _obstacle(until, link, observed)
    if reason:
        return _unknown(until, risk, horizon, observed, reason)
    slope = fit_cox(link[:, None], until)
    smooth = fit_cox(spline_basis(link), until)
    reason = slope.reason or smooth.reason
    if reason:
        return _unknown(until, risk, horizon, observed, reason)
    smoothed = _risk_of(smooth, spline_basis(link), horizon)
    difference = np.abs(smoothed - risk)
    order = np.argsort(risk, kind="stable")
    half = 1.959963984540054 * float(slope.standard_error[0])
    return Calibration(
        horizon,
        len(until),
        until.n_events,
        float(slope.coefficient[0]),
        float(slope.coefficient[0]) - half,
        float(slope.coefficient[0]) + half,
        observed,
        float(risk.mean()),
        float(difference.mean()),
        float(np.median(difference)),
        float(np.quantile(difference, 0.9)),
        risk[order],
        smoothed[order],
    )


def calibration_in_groups(
    follow_up: FollowUp, survival: SurvivalCurves, horizon: float, groups: int = 5
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return mean predicted risk and Kaplan–Meier risk with its 95 % interval, by quantile of predicted risk.

    Returns
    -------
    predicted, observed, lower, upper : ndarray, shape (groups,)
        NaN where a group's follow-up ends before the horizon.
    """
    risk = risk_at(follow_up, survival, horizon)
    parts = np.array_split(np.argsort(risk, kind="stable"), groups)
    rows = [(risk[part].mean(), *_km_risk(follow_up[part], horizon)) for part in parts if part.size]
    predicted, observed, lower, upper = np.array(rows).T
    return predicted, observed, lower, upper


def metrics_of(calibration: Calibration) -> dict[str, MetricValue]:
    """Return slope, ICI, E50, E90 and observed/predicted as metrics with their reason where undefined."""
    values = {
        "slope": calibration.slope,
        "ici": calibration.ici,
        "e50": calibration.e50,
        "e90": calibration.e90,
    }
    named = {name: undefined(calibration.reason) if calibration.reason else defined(v) for name, v in values.items()}
    ratio = calibration.observed / calibration.predicted if calibration.predicted > 0 else math.nan
    return named | {"observed_to_predicted": defined(ratio)}


def spline_basis(values: FloatArray) -> FloatArray:
    """Return `values` and one restricted cubic spline term with knots at their 10th, 50th and 90th percentile.

    The term is left out where the percentiles coincide. Shape (n, 2) or (n, 1).
    """
    first, middle, last = np.quantile(values, _KNOTS)
    if not first < middle < last:
        return values[:, None]

    def cubed(knot: float) -> FloatArray:
        positive: FloatArray = np.maximum(values - knot, 0.0) ** 3
        return positive

    width = last - middle
    term = cubed(first) - cubed(middle) * (last - first) / width + cubed(last) * (middle - first) / width
    return np.column_stack([values, term / (last - first) ** 2])


def _cloglog(risk: FloatArray) -> FloatArray:
    clipped = np.clip(risk, _LEAST_RISK, _LARGEST_RISK)
    link: FloatArray = np.log(-np.log1p(-clipped))
    return link


def _risk_of(fit: CoxFit, basis: FloatArray, horizon: float) -> FloatArray:
    risk: FloatArray = 1.0 - fit.predict_survival(basis, [horizon]).values[:, 0]
    return risk


def _obstacle(until: FollowUp, link: FloatArray, observed: float) -> str:
    if until.n_events < 2:
        return f"{until.n_events} event(s) by the horizon; calibration needs at least 2"
    if not np.isfinite(observed):
        return "follow-up ends before the horizon"
    if np.ptp(link) == 0:
        return "all predicted risks are equal"
    return ""


def _unknown(until: FollowUp, risk: FloatArray, horizon: float, observed: float, reason: str) -> Calibration:
    nan = math.nan
    missing = np.full(len(risk), nan)
    return Calibration(
        horizon,
        len(until),
        until.n_events,
        nan,
        nan,
        nan,
        observed,
        float(risk.mean()),
        nan,
        nan,
        nan,
        np.sort(risk),
        missing,
        reason,
    )


def _observed(follow_up: FollowUp, horizon: float) -> float:
    return _km_risk(follow_up, horizon)[0]


def _km_risk(follow_up: FollowUp, horizon: float) -> tuple[float, float, float]:
    curve = kaplan_meier(follow_up.time, follow_up.event)
    if curve.times[-1] < horizon and curve.survival[-1] > 0:
        return math.nan, math.nan, math.nan
    at = np.array([horizon])
    estimate, low, high = (
        1.0 - float(step_values(curve.times, values[None, :], at)[0, 0])
        for values in (curve.survival, curve.upper, curve.lower)
    )
    return estimate, low, high
