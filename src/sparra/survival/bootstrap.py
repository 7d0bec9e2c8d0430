"""Confidence intervals by resampling patients."""

import math
from collections.abc import Hashable

import numpy as np
import pandas as pd

from sparra.survival.concordance import mean_over_folds, weighted_c_by_fold
from sparra.survival.outcomes import FloatArray, FollowUp

METHOD = ["modality", "aggregator", "model"]
_PERCENTILES = (2.5, 97.5)
# A stream of its own: a bare seed would tie these draws to whatever else was drawn from it, such as
# a simulated cohort.
_STREAM = 3


def c_index_intervals(predictions: pd.DataFrame, seed: int, n_resamples: int = 1000) -> pd.DataFrame:
    """Bootstrap the C-index of each method over patients.

    The statistic is the mean over folds of Harrell's C within the fold, since risks of different folds are
    not on one scale. Patients are drawn with replacement from the whole cohort, the same draws for
    every method; a fold in which a draw leaves no comparable pair takes no part in that draw.

    Parameters
    ----------
    predictions : DataFrame
        Out-of-fold predictions with columns modality, aggregator, model, fold, subject_id, time, event,
        risk; as in ``evaluation/predictions.csv``.
    seed : int
    n_resamples : int

    Returns
    -------
    DataFrame
        Columns modality, aggregator, model, c_index, lower, upper (95 %, percentile method), reason.

    Notes
    -----
    The fitted models are held fixed, so the interval holds the sampling of test patients, not of training.
    """
    subjects = np.unique(predictions["subject_id"].astype(str))
    rng = np.random.default_rng([_STREAM, seed])
    n = len(subjects)
    counts = rng.multinomial(n, np.full(n, 1.0 / n), size=n_resamples).astype(np.float64)
    weights = np.vstack([np.ones(n), counts])
    rows = []
    for method, table in predictions.groupby(METHOD, sort=False, observed=True):
        rows.append([*_names(method), *_interval(table, subjects, weights)])
    return pd.DataFrame(rows, columns=[*METHOD, "c_index", "lower", "upper", "reason"])


def _names(method: Hashable) -> tuple[Hashable, ...]:
    return method if isinstance(method, tuple) else (method,)


def _interval(table: pd.DataFrame, subjects: np.ndarray, weights: FloatArray) -> tuple[float, float, float, str]:
    follow_up = FollowUp(table["time"].to_numpy(), table["event"].to_numpy())
    mine = weights[:, np.searchsorted(subjects, table["subject_id"].astype(str))]
    risk = table["risk"].to_numpy(dtype=np.float64)
    mean = mean_over_folds(weighted_c_by_fold(follow_up, risk, table["fold"].to_numpy(), mine))
    if not np.isfinite(mean[0]):
        return math.nan, math.nan, math.nan, "no two subjects of a fold can be compared"
    lower, upper = np.nanpercentile(mean[1:], _PERCENTILES)
    return float(mean[0]), float(lower), float(upper), ""
