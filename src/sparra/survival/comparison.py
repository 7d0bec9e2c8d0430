"""Is one method better than another? Paired comparison of out-of-fold predictions, with a correction for many."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from sparra.errors import UserError
from sparra.survival.concordance import mean_over_folds, weighted_c_by_fold
from sparra.survival.outcomes import FloatArray, FollowUp

KEYS = ["fold", "subject_id"]
_PERCENTILES = (2.5, 97.5)
_ROUNDING = 1e-12
# A stream of its own: a bare seed would tie these draws to whatever else was drawn from it.
_STREAM = 8


@dataclass(frozen=True)
class PairedComparison:
    """C-index of a first method less that of a second, on the same test patients.

    Attributes
    ----------
    first, second, difference : float
        Means over folds of the C-index within the fold, and their difference.
    lower, upper : float
        95 % interval of the difference by a paired bootstrap over patients (percentile method); the fitted
        models are held fixed, so it holds the sampling of test patients.
    p_bootstrap : float
        Two-sided, from the same draws.
    t, p : float
        Corrected resampled t-test over folds, which also holds the sampling of training patients.
    n_patients, n_folds : int
        What both methods were tested on.
    reason : str
        Why the difference, or else the test, is undefined (NaN); empty if neither is.
    """

    first: float
    second: float
    difference: float
    lower: float
    upper: float
    p_bootstrap: float
    t: float
    p: float
    n_patients: int
    n_folds: int
    reason: str = ""


def compare_predictions(
    first: pd.DataFrame, second: pd.DataFrame, *, test_to_train: float, seed: int, n_resamples: int = 1000
) -> PairedComparison:
    """Compare two methods' out-of-fold risks by Harrell's C within the folds.

    Parameters
    ----------
    first, second : DataFrame
        Columns fold, subject_id, time, event, risk; one row a patient and fold. Only patients that both
        methods were tested on, in the same fold, take part. A patient tested in several folds (repeats, hold-outs) is
        one patient in the bootstrap.
    test_to_train : float
        Patients tested over patients trained on, in a fold.
    seed : int
        One seed gives one set of draws for one set of patients, whatever the methods.
    n_resamples : int

    Raises
    ------
    UserError
        If a table names a patient twice in a fold.
    """
    both = first[[*KEYS, "time", "event", "risk"]].merge(second[[*KEYS, "risk"]], on=KEYS, suffixes=("_1", "_2"))
    if both.duplicated(KEYS).any():
        raise UserError("a table of predictions names a patient twice in a fold")
    patients, place = np.unique(both["subject_id"].astype(str), return_inverse=True)
    n = len(patients)
    if n == 0:
        return _undefined(0, 0, "the methods were tested on no patient in common")
    draws = np.random.default_rng([_STREAM, seed]).multinomial(n, np.full(n, 1.0 / n), size=n_resamples)
    weights = np.vstack([np.ones(n), draws.astype(np.float64)])
    follow_up = FollowUp(both["time"].to_numpy(), both["event"].to_numpy())
    fold, risks = both["fold"].to_numpy(), [both[f"risk_{k}"].to_numpy(dtype=np.float64) for k in (1, 2)]
    by_method = [weighted_c_by_fold(follow_up, risk, fold, weights[:, place]) for risk in risks]
    values = np.stack(by_method, axis=1)  # (folds, 2, 1 + draws)
    values = values[np.isfinite(values[:, 0, 0])]
    if len(values) == 0:
        return _undefined(n, 0, "no two patients of a fold can be compared")
    return _compared(values, n, test_to_train)


def _compared(values: FloatArray, n_patients: int, test_to_train: float) -> PairedComparison:
    means = mean_over_folds(values)
    difference = means[0] - means[1]
    draws = difference[1:][np.isfinite(difference[1:])]
    lower, upper = np.percentile(draws, _PERCENTILES) if draws.size else (math.nan, math.nan)
    t, p, reason = corrected_resampled_t_test(values[:, 0, 0] - values[:, 1, 0], test_to_train)
    first, second = float(means[0, 0]), float(means[1, 0])
    return PairedComparison(
        first, second, first - second, float(lower), float(upper), _bootstrap_p(draws), t, p, n_patients, len(values),
        reason,
    )  # fmt: skip


def _undefined(n_patients: int, n_folds: int, reason: str) -> PairedComparison:
    nan = math.nan
    return PairedComparison(nan, nan, nan, nan, nan, nan, nan, nan, n_patients, n_folds, reason)


def _bootstrap_p(draws: FloatArray) -> float:
    """Return twice the smaller tail beyond zero, never below two in the number of draws."""
    if draws.size == 0:
        return math.nan
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    return float(min(1.0, 2.0 * (tail + 1) / (draws.size + 1)))


def corrected_resampled_t_test(differences: ArrayLike, test_to_train: float) -> tuple[float, float, str]:
    """Test whether the mean difference over resampled folds is zero.

    Folds share training patients, so their differences vary less than independent ones would; the plain paired
    t-test then finds differences where there are none. The variance of the mean is therefore taken as
    ``(1/J + n_test/n_train) s²`` instead of ``s²/J``, with J - 1 degrees of freedom.

    Parameters
    ----------
    differences : array-like, shape (J,)
        One a fold, over all repeats.
    test_to_train : float
        n_test / n_train of a fold.

    Returns
    -------
    t, p : float
        Two-sided; NaN where undefined.
    reason : str
        Why they are undefined.

    Notes
    -----
    Nadeau & Bengio, Machine Learning 52 (2003) 239-281; for repeated k-fold Bouckaert & Frank (2004).
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n < 2:
        return math.nan, math.nan, "the test over folds needs at least two"
    variance = values.var(ddof=1)
    # Equal differences differ by rounding, which would make t as large as one likes.
    if np.ptp(values) <= _ROUNDING:
        same = abs(values[0]) <= _ROUNDING
        return math.nan, math.nan, "the methods rank alike in every fold" if same else "the folds do not differ"
    t = float(values.mean() / math.sqrt((1.0 / n + test_to_train) * variance))
    return t, float(2.0 * stats.t.sf(abs(t), n - 1)), ""


def holm(p: ArrayLike) -> FloatArray:
    """Return p-values adjusted for their number by Holm's step-down method, shape (m,); NaN is not counted.

    Notes
    -----
    Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = (len(order) - np.arange(len(order))) * values[order]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return adjusted
