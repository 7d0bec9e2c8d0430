"""Intraclass correlation: how much of a feature's variance lies between tumours, not between repeated measurements."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

#: A spread below this share of the values' size is rounding.
_RELATIVE_SPREAD = 1e-9


@dataclass(frozen=True)
class Agreement:
    """Intraclass correlations of one feature, each with its 95 % interval.

    Attributes
    ----------
    icc_2_1, icc_2_1_lower, icc_2_1_upper : float
        Two-way random effects, absolute agreement, single measurement: a shift by a perturbation counts as
        disagreement. NaN where undefined.
    icc_3_1, icc_3_1_lower, icc_3_1_upper : float
        Two-way mixed effects, consistency, single measurement: such a shift does not count.
    reason : str
        Why the values are NaN; empty if they are not.
    """

    icc_2_1: float
    icc_2_1_lower: float
    icc_2_1_upper: float
    icc_3_1: float
    icc_3_1_lower: float
    icc_3_1_upper: float
    reason: str = ""


def intraclass_correlation(values: NDArray[np.floating]) -> Agreement:
    """Compute ICC(2,1) and ICC(3,1) with 95 % intervals.

    Parameters
    ----------
    values : ndarray, shape (n_targets, n_measurements)
        Column j holds every target's measurement under condition j.

    Returns
    -------
    Agreement

    Notes
    -----
    Shrout & Fleiss, Intraclass correlations: uses in assessing rater reliability. Psychological Bulletin 86 (1979).
    """
    n, k = values.shape
    if n < 2 or k < 2:
        return _undefined(f"{n} tumours measured {k} times; it takes two of each")
    x = values.astype(np.float64)
    if not np.isfinite(x).all():
        return _undefined("a measurement is not finite")
    grand = x.mean()
    rows, columns = x.mean(axis=1), x.mean(axis=0)
    residual = x - rows[:, None] - columns + grand
    between = k * float(((rows - grand) ** 2).sum()) / (n - 1)
    conditions = n * float(((columns - grand) ** 2).sum()) / (k - 1)
    error = float((residual**2).sum()) / ((n - 1) * (k - 1))
    if np.sqrt(between + conditions + error) <= _RELATIVE_SPREAD * np.abs(x).max():
        return _undefined("all measurements are equal")
    lower_3, upper_3 = _consistency_interval(between, error, n, k)
    lower_2, upper_2 = _agreement_interval(between, conditions, error, n, k)
    return Agreement(
        (between - error) / (between + (k - 1) * error + k * (conditions - error) / n),
        lower_2,
        upper_2,
        (between - error) / (between + (k - 1) * error),
        lower_3,
        upper_3,
    )


def _undefined(reason: str) -> Agreement:
    nan = float("nan")
    return Agreement(nan, nan, nan, nan, nan, nan, reason)


def _consistency_interval(between: float, error: float, n: int, k: int) -> tuple[float, float]:
    if error == 0:
        return 1.0, 1.0
    ratio = between / error
    freedom = (n - 1, (n - 1) * (k - 1))
    low = ratio / stats.f.ppf(0.975, *freedom)
    high = ratio * stats.f.ppf(0.975, *reversed(freedom))
    return float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1))


def _agreement_interval(between: float, conditions: float, error: float, n: int, k: int) -> tuple[float, float]:
    if error == 0 and conditions == 0:
        return 1.0, 1.0
    icc = (between - error) / (between + (k - 1) * error + k * (conditions - error) / n)
    # Satterthwaite's degrees of freedom; with a = k icc / (n (1 - icc)), multiplied through by n (1 - icc).
    a = k * icc
    b = n * (1 - icc) + k * icc * (n - 1)
    freedom = (a * conditions + b * error) ** 2 / (
        (a * conditions) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    )
    upper_f = stats.f.ppf(0.975, n - 1, freedom)
    lower_f = stats.f.ppf(0.975, freedom, n - 1)
    noise = k * conditions + (k * n - k - n) * error
    low = n * (between - upper_f * error) / (upper_f * noise + n * between)
    high = n * (lower_f * between - error) / (noise + n * lower_f * between)
    return float(low), float(high)
