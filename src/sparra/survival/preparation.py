"""What is fitted before any survival model: imputation, dropping, screening, scaling."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.screening import Adjustment, univariate_cox

# A spread this far below a feature's size is rounding, not information.
_RELATIVE_SPREAD = 1e-12


@dataclass(frozen=True)
class Preparation:
    """Feature steps as fitted on one training part.

    Attributes
    ----------
    kept : ndarray of int, shape (k,)
        Columns used: not constant and, if asked for, passing the screening.
    mean, scale : ndarray, shape (k,)
        Training mean (also the imputed value) and population standard deviation.
    n_features : int
        Columns expected, p.
    """

    kept: NDArray[np.intp]
    mean: FloatArray
    scale: FloatArray
    n_features: int

    def apply(self, features: FloatArray) -> FloatArray:
        """Return standardised features, shape (n, k), from raw ones, shape (n, p), NaN where missing."""
        raw = _checked(features)
        if raw.shape[1] != self.n_features:
            raise UserError(f"the model was fitted to {self.n_features} features but got {raw.shape[1]}")
        chosen = raw[:, self.kept]
        standardised: FloatArray = np.where(np.isnan(chosen), 0.0, (chosen - self.mean) / self.scale)
        return standardised


def fit_preparation(
    features: FloatArray,
    follow_up: FollowUp,
    screening_p: float | None = None,
    screening_adjustment: Adjustment = "none",
) -> Preparation:
    """Learn the feature steps from a training part.

    Parameters
    ----------
    features : ndarray, shape (n, p)
        NaN marks a missing value, such as the embedding of an absent modality.
    follow_up : FollowUp
        Of the same n subjects; used by the screening only.
    screening_p : float, optional
        Univariate Cox Wald p below which a feature stays.
    screening_adjustment : {"none", "benjamini-hochberg"}
        With the latter, `screening_p` bounds the false discovery rate instead of p.

    Raises
    ------
    UserError
        If a feature is infinite, none varies, or none passes the screening.
    """
    raw = _checked(features)
    missing = np.isnan(raw)
    mean = np.where(missing, 0.0, raw).sum(axis=0) / np.maximum((~missing).sum(axis=0), 1)
    centred = np.where(missing, 0.0, raw - mean)
    scale = np.sqrt((centred**2).mean(axis=0))
    kept = np.flatnonzero(scale > _RELATIVE_SPREAD * np.abs(mean))
    if kept.size == 0:
        raise UserError(f"none of the {raw.shape[1]} features varies between the {len(raw)} training subjects")
    if screening_p is not None:
        fits = univariate_cox(centred[:, kept] / scale[kept], follow_up)
        passed = fits.selected(screening_p, screening_adjustment)
        if not passed.any():
            quantity = "p" if screening_adjustment == "none" else "false discovery rate"
            raise UserError(
                f"none of {kept.size} features has a univariate Cox {quantity} below {screening_p}",
                mend="raise 'screening_p' or leave it out",
            )
        kept = kept[passed]
    return Preparation(kept, mean[kept], scale[kept], raw.shape[1])


def _checked(features: FloatArray) -> FloatArray:
    raw = np.asarray(features, dtype=np.float64)
    if raw.ndim != 2:
        raise UserError(f"features must be a table of subjects by features, got an array of shape {raw.shape}")
    if np.isinf(raw).any():
        raise UserError(f"{int(np.isinf(raw).any(axis=0).sum())} features hold infinite values")
    return raw
