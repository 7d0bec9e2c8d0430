"""The steps of the protocol ``paper`` that differ from good practice, as the paper's released code does them.

Two things are not followed: a metric that is undefined is NaN with the reason (the released code stops, or prints
0), and features that vary with no patient are dropped. docs/evaluation.md lists what each step means for a result.
"""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import KFold
from sksurv.exceptions import NoComparablePairException
from sksurv.metrics import concordance_index_ipcw, cumulative_dynamic_auc

from sparra.errors import UserError
from sparra.survival.brier import brier_scores, censoring_obstacle, integral
from sparra.survival.metrics import c_index
from sparra.survival.models import FittedSurvivalModel, fit_ranked
from sparra.survival.outcomes import FloatArray, FollowUp, MetricValue, RiskScores, SurvivalCurves, defined, undefined
from sparra.survival.preparation import Preparation, fit_preparation
from sparra.survival.registry import SurvivalModel, survival_models
from sparra.survival.tuning import Tuning

DAYS_IN = {"days": 1.0, "months": 365.25 / 12, "years": 365.25}
SCREENING_P = 0.2
# "SPARRA does not require feature selection" (the paper); the released code has one switch for all methods.
UNSCREENED = ("sparra",)
_VARIANCE = 1e-4
_INNER_FOLDS, _INNER_SEED, _MODEL_SEED = 5, 0, 1
_TUNING_PERCENTILES, _TEST_PERCENTILES = (20, 80), (10, 90)
_METHOD = ["modality", "aggregator", "model"]


def screening_threshold(given: float | Literal["none"] | None, protocol: str, aggregator: str) -> float | None:
    """Return below which univariate Cox p a feature of an aggregator is kept; None where all are.

    Parameters
    ----------
    given : float, "none" or None
        What the study says, as its settings save it: a threshold, that all are kept, or nothing.
    protocol : {"sound", "paper"}
    aggregator : str
    """
    if given is not None:
        return None if given == "none" else given
    return SCREENING_P if protocol == "paper" and aggregator not in UNSCREENED else None


def fit_paper_model(
    name: str, features: ArrayLike, time: ArrayLike, event: ArrayLike, *, time_unit: str, screening_p: float | None
) -> FittedSurvivalModel:
    """Select features, tune by mean AUC and fit to the whole training part.

    Features whose variance *among the patients with the event* is 1e-4 or less go first, then those whose
    univariate Cox p is not below `screening_p`; both on the whole training part, so that the inner folds' held-out
    patients had a say in it. The hyper-parameter has the highest cumulative/dynamic AUC, meant over a daily grid
    between the 20th and 80th percentile of all training times and over the folds of ``KFold(5, shuffle, seed 0)``,
    not stratified. Features are standardised in each fold.

    Parameters
    ----------
    name : str
        A name of `survival_models`.
    features : array-like, shape (n, p)
    time, event : array-like, shape (n,)
    time_unit : {"days", "months", "years"}
    screening_p : float or None
        None screens nothing.

    Raises
    ------
    UserError
        If no feature is left, or nothing could be tuned or fitted.
    """
    model = survival_models[name]
    table = np.asarray(features, dtype=np.float64)
    follow_up = FollowUp(np.asarray(time), np.asarray(event))
    columns = paper_columns(table, follow_up, screening_p)
    chosen = table[:, columns]
    scaled = fit_preparation(chosen, follow_up)
    preparation = Preparation(columns[scaled.kept], scaled.mean, scaled.scale, table.shape[1])
    prepared = preparation.apply(table)
    grid = model.grid(prepared, follow_up)
    tuning = tune_by_auc(model, grid, chosen, follow_up, 1.0 / DAYS_IN[time_unit])
    return fit_ranked(name, preparation, prepared, follow_up, tuning, _MODEL_SEED)


def paper_columns(features: FloatArray, follow_up: FollowUp, screening_p: float | None) -> NDArray[np.intp]:
    """Return the columns that pass the variance filter and the univariate Cox screening."""
    of_events = features[follow_up.event]
    if len(of_events) == 0:
        raise UserError("the training part has no event, so no feature can be selected")
    missing = np.isnan(of_events)
    count = np.maximum((~missing).sum(axis=0), 1)
    centred = np.where(missing, 0.0, of_events - np.where(missing, 0.0, of_events).sum(axis=0) / count)
    varied = np.flatnonzero((centred**2).sum(axis=0) / count > _VARIANCE)
    if varied.size == 0:
        raise UserError(f"none of {features.shape[1]} features varies by more than {_VARIANCE:g} among the events")
    kept = fit_preparation(features[:, varied], follow_up, screening_p).kept
    return np.asarray(varied[kept], dtype=np.intp)


def tune_by_auc(
    model: SurvivalModel, grid: FloatArray, features: FloatArray, follow_up: FollowUp, day: float
) -> Tuning:
    """Choose the candidate of the highest mean AUC over five shuffled folds.

    A fold whose AUC is undefined (a time of the grid lies outside its follow-up, or before its first event) takes no
    part; it is so for all candidates. scikit-survival refuses the former and makes the latter NaN, which in the
    released code leaves the first candidate of the grid as the best.

    Parameters
    ----------
    features : ndarray, shape (n, p)
        Raw features of the training part.
    day : float
        One day in the unit of the follow-up.

    Raises
    ------
    UserError
        If the AUC is undefined in every fold, or no candidate could be fitted.
    """
    low, high = np.percentile(follow_up.time, _TUNING_PERCENTILES)
    times = np.arange(low, high, day)
    scores, failures, reason = [], dict[int, str](), "there are too few patients"
    if len(follow_up) >= _INNER_FOLDS:
        for inside, held_out in KFold(_INNER_FOLDS, shuffle=True, random_state=_INNER_SEED).split(features):
            scaling = fit_preparation(features[inside], follow_up[inside])
            training, heldout = scaling.apply(features[inside]), scaling.apply(features[held_out])
            risks = model.candidate_risks(training, follow_up[inside], heldout, grid, _MODEL_SEED)
            failures = risks.failures | failures
            try:
                aucs = _candidate_aucs(follow_up[inside], follow_up[held_out], risks.values, times)
            except ValueError as error:
                reason = str(error)
                continue
            if np.isnan(aucs).all():
                reason = _obstacle_to_auc(follow_up[held_out], times) or "no candidate could be fitted"
            else:
                scores.append(aucs)
    if not scores:
        raise UserError(f"the AUC that tunes the model is undefined in every inner fold: {reason}")
    means = np.mean(scores, axis=0)
    kept = {float(grid[place]): float(means[place]) for place in range(len(grid)) if place not in failures}
    if not kept:
        raise UserError(f"none of {len(grid)} hyper-parameters could be fitted; the first: {failures[min(failures)]}")
    skipped = {float(grid[place]): why for place, why in sorted(failures.items())}
    return Tuning(max(kept, key=lambda value: kept[value]), kept, skipped, len(scores))


def _candidate_aucs(train: FollowUp, test: FollowUp, risks: FloatArray, times: FloatArray) -> FloatArray:
    """Return the mean AUC of each column of `risks`, NaN for one that could not be fitted."""
    aucs = np.full(risks.shape[1], np.nan)
    for place, column in enumerate(risks.T):
        if np.isfinite(column).all():
            aucs[place] = _mean_auc(train, test, column, times)
    return aucs


def _mean_auc(train: FollowUp, test: FollowUp, risk: FloatArray, times: FloatArray) -> float:
    """Return scikit-survival's mean AUC; NaN, without its warning, where a time lies before the first event."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(cumulative_dynamic_auc(train.structured(), test.structured(), risk, times)[1])


def _obstacle_to_auc(test: FollowUp, times: FloatArray) -> str:
    first = test.time[test.event].min(initial=np.inf)
    return f"no event of the test part by the first evaluation time {times[0]:g}" if first > times[0] else ""


def paper_times(test: FollowUp, time_unit: str) -> FloatArray:
    """Return the times at which a hold-out is judged: weekly from its 10th to its 90th percentile of follow-up.

    They depend on the test part, so every hold-out has a grid of its own.
    """
    low, high = np.percentile(test.time, _TEST_PERCENTILES)
    week = 7.0 / DAYS_IN[time_unit]
    return np.arange(low, high, week) if high > low else np.array([low])


def evaluate_paper_fold(
    train: FollowUp, test: FollowUp, risk: RiskScores, survival: SurvivalCurves | None, times: FloatArray
) -> dict[str, MetricValue]:
    """Judge a hold-out: C-IPCW without a horizon, C-AUC and IBS on `times` from `paper_times`.

    Returns
    -------
    dict of str to MetricValue
        ``c_index``, ``c_ipcw``, ``c_auc``, ``ibs``.
    """
    values = {"c_index": c_index(test, risk)}
    known, asked = train.structured(), test.structured()
    try:
        values["c_ipcw"] = defined(concordance_index_ipcw(known, asked, risk.values)[0])
    except (NoComparablePairException, ValueError) as error:
        values["c_ipcw"] = undefined(str(error))
    try:
        auc = defined(_mean_auc(train, test, risk.values, times))
        values["c_auc"] = auc if np.isfinite(auc.value) else undefined(_obstacle_to_auc(test, times) or auc.reason)
    except ValueError as error:
        values["c_auc"] = undefined(str(error))
    values["ibs"] = _integrated_brier(train, test, survival)
    return values


def _integrated_brier(train: FollowUp, test: FollowUp, survival: SurvivalCurves | None) -> MetricValue:
    if survival is None:
        return undefined("the model has no survival function")
    if survival.times.size < 2:
        return undefined("the integral needs at least two evaluation times")
    try:
        scores = brier_scores(train, test, survival)
    except ValueError as error:
        return undefined(str(error))
    score = defined(integral(survival.times, scores))
    return score if np.isfinite(score.value) else undefined(censoring_obstacle(train, test, survival.times))


def pooled_mean_groups(predictions: pd.DataFrame) -> pd.Series:
    """Return ``high`` where a risk exceeds the mean of the method's risks pooled over all hold-outs, else ``low``.

    The pooled rows hold some patients several times and others never, and the risks of hold-outs are not on
    one scale; the cut has seen the test patients. Kept as published; the protocol ``sound`` cuts on training risks.

    Parameters
    ----------
    predictions : DataFrame
        Columns modality, aggregator, model, risk.
    """
    mean = predictions.groupby(_METHOD, observed=True)["risk"].transform("mean")
    return pd.Series(np.where(predictions["risk"] > mean, "high", "low"), index=predictions.index)
