"""What imaging adds to the clinic: a nested likelihood-ratio test and the difference of two C-indices."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sparra.errors import UserError
from sparra.survival.clinical import Covariate, fit_clinical_design
from sparra.survival.concordance import mean_over_folds, weighted_c_by_fold
from sparra.survival.cox import LikelihoodRatio, fit_cox, likelihood_ratio
from sparra.survival.outcomes import FloatArray, FollowUp, RiskScores, require_risk

_Z_95 = float(stats.norm.ppf(0.975))
# A stream of its own: a bare seed would tie these draws to whatever else was drawn from it.
_STREAM = 7


@dataclass(frozen=True)
class AddedValue:
    """Imaging beside clinical covariates, each subject's risk predicted out of fold.

    Attributes
    ----------
    n_subjects, n_events : int
    columns : tuple of str
        Columns of the clinical model.
    likelihood_ratio : LikelihoodRatio
        Of clinical + imaging against clinical alone, one degree of freedom. Its own p takes the imaging risk for a
        covariate measured apart from the outcomes, which out-of-fold risks are not.
    p : float
        Corrected for what the folds share; NaN where the likelihood ratio is.
    hazard_ratio, lower, upper : float
        For one standard deviation of the imaging risk at equal covariates, with its plain 95 % Wald interval.
        Below 1 the imaging risk points the wrong way, and a small p is no added value.
    """

    n_subjects: int
    n_events: int
    columns: tuple[str, ...]
    likelihood_ratio: LikelihoodRatio
    p: float
    hazard_ratio: float
    lower: float
    upper: float


class CDifference(NamedTuple):
    """Difference of two methods' C-indices on the same subjects, `second` less `first`.

    Attributes
    ----------
    first, second, difference : float
        Means over folds of the C-index within the fold, and their difference.
    lower, upper : float
        95 % interval of the difference, paired bootstrap over subjects (percentile method).
    reason : str
        Why it is undefined (NaN); empty if it is not.
    """

    first: float
    second: float
    difference: float
    lower: float
    upper: float
    reason: str = ""


def added_value(
    subjects: pd.DataFrame,
    follow_up: FollowUp,
    imaging: RiskScores,
    *,
    fold: ArrayLike | None = None,
    covariates: list[Covariate] | None = None,
) -> AddedValue:
    """Test whether an out-of-fold imaging risk adds to clinical covariates.

    Both models are fitted to the same subjects with the same imputation, and the clinical one is the other
    with a coefficient of zero, so that they are nested. With `fold` both are stratified by it and the
    imaging risk is standardised within it: risks of different folds are not on one scale.

    Parameters
    ----------
    subjects : DataFrame
        One row a subject, with the clinical columns.
    follow_up : FollowUp
    imaging : RiskScores
        Out-of-fold. An in-sample risk would make the test meaningless.
    fold : array-like, shape (n,), optional
        The fold in which each subject was a test subject.
    covariates : list of Covariate, optional
        As for `fit_clinical_design`.

    Raises
    ------
    UserError
        If the numbers of rows disagree.

    Notes
    -----
    Pre-validation: Tibshirani & Efron, Stat Appl Genet Mol Biol 1 (2002). Its plain likelihood ratio is too sure
    (Höfling & Tibshirani, Ann Appl Stat 2 (2008)): two folds' training parts overlap and hold one another's test
    subjects, so that the evidence of the K folds is correlated. With a correlation of 1/K the statistic is
    inflated by ``1 + (K - 1) / K``, by which `p` divides it; see docs/evaluation.md for what that measured.
    """
    n = len(follow_up)
    risk = require_risk(imaging, n).values
    if len(subjects) != n:
        raise UserError(f"there are {len(subjects)} rows of covariates but follow-up of {n} subjects")
    strata = np.zeros(n) if fold is None else np.asarray(fold)
    design = fit_clinical_design(subjects, covariates)
    clinical = design.apply(subjects)
    standardised = standardised_within(risk, strata)
    nested = fit_cox(clinical, follow_up, strata=strata)
    full = fit_cox(np.column_stack([clinical, standardised]), follow_up, strata=strata)
    test = likelihood_ratio(nested, full)
    if test.reason:
        nan = math.nan
        return AddedValue(n, follow_up.n_events, design.columns, test, nan, nan, nan, nan)
    beta, half = float(full.coefficient[-1]), _Z_95 * float(full.standard_error[-1])
    p = float(stats.chi2.sf(test.statistic / (2.0 - 1.0 / len(np.unique(strata))), test.df))
    ratios = math.exp(beta), math.exp(beta - half), math.exp(beta + half)
    return AddedValue(n, follow_up.n_events, design.columns, test, p, *ratios)


def c_difference(
    follow_up: FollowUp,
    first: RiskScores,
    second: RiskScores,
    *,
    seed: int,
    fold: ArrayLike | None = None,
    n_resamples: int = 2000,
) -> CDifference:
    """Return the C-index of `second` less that of `first`, with a paired bootstrap interval.

    Subjects are drawn with replacement, the same draws for both methods. The C-index is taken within each
    fold and averaged; a fold in which a draw leaves no comparable pair takes no part in that draw.

    Parameters
    ----------
    follow_up : FollowUp
        One row a subject.
    first, second : RiskScores
        Out-of-fold risks of the same subjects, by methods judged on the same folds.
    seed : int
    fold : array-like, shape (n,), optional
        The fold in which each subject was a test subject.
    n_resamples : int
    """
    n = len(follow_up)
    labels = np.zeros(n) if fold is None else np.asarray(fold)
    counts = np.random.default_rng([_STREAM, seed]).multinomial(n, np.full(n, 1.0 / n), size=n_resamples)
    weights = np.vstack([np.ones(n), counts.astype(np.float64)])
    risks = [require_risk(risk, n).values for risk in (first, second)]
    values = [mean_over_folds(weighted_c_by_fold(follow_up, risk, labels, weights)) for risk in risks]
    if not np.isfinite(values[0][0]):
        nan = math.nan
        return CDifference(nan, nan, nan, nan, nan, "no two subjects of a fold can be compared")
    difference = values[1] - values[0]
    lower, upper = np.nanpercentile(difference[1:], (2.5, 97.5))
    return CDifference(float(values[0][0]), float(values[1][0]), float(difference[0]), float(lower), float(upper))


def standardised_within(values: FloatArray, group: NDArray[np.generic]) -> FloatArray:
    """Return values less their group's mean and divided by its standard deviation; 0 where they are equal."""
    table = pd.Series(values).groupby(np.asarray(group))
    spread = table.transform("std", ddof=0).to_numpy()
    centred = values - table.transform("mean").to_numpy()
    result: FloatArray = np.divide(centred, spread, out=np.zeros(len(values)), where=spread > 0)
    return result
