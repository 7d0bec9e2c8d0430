"""Late fusion of unimodal risks, and the cross-fitted risks that it is fitted to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sparra.errors import UserError
from sparra.survival.cox import CoxFit, fit_cox
from sparra.survival.models import fit_survival_model
from sparra.survival.outcomes import BoolArray, FloatArray, FollowUp, RiskScores, SurvivalCurves
from sparra.survival.tuning import heldout_parts


@dataclass(frozen=True)
class LateFusion:
    """A Cox model of one risk a modality, as fitted on a training part.

    Attributes
    ----------
    modalities : tuple of str
    mean, scale : ndarray, shape (m,)
        Training mean and standard deviation of each risk; a missing risk counts as the mean.
    cox : CoxFit
        Of the standardised risks: its coefficients are the weights.
    """

    modalities: tuple[str, ...]
    mean: FloatArray
    scale: FloatArray
    cox: CoxFit

    def predict_risk(self, risks: dict[str, ArrayLike]) -> RiskScores:
        """Return the fused risk, shape (n,), of one risk a modality; NaN where a modality is missing."""
        return self.cox.predict_risk(self._standardised(risks))

    def predict_survival(self, risks: dict[str, ArrayLike], times: ArrayLike) -> SurvivalCurves:
        """Return S(t) at `times` for each subject."""
        return self.cox.predict_survival(self._standardised(risks), times)

    def _standardised(self, risks: dict[str, ArrayLike]) -> FloatArray:
        if set(risks) != set(self.modalities):
            raise UserError(f"the fusion was fitted to {list(self.modalities)} but got {list(risks)}")
        table = np.column_stack([np.asarray(risks[name], dtype=np.float64) for name in self.modalities])
        standardised: FloatArray = np.where(np.isnan(table), 0.0, (table - self.mean) / self.scale)
        return standardised


def fit_late_fusion(risks: dict[str, ArrayLike], follow_up: FollowUp) -> LateFusion:
    """Fit the weights of unimodal risks on a training part.

    Parameters
    ----------
    risks : dict of str to array-like, shape (n,)
        Cross-fitted risk of each training subject by modality, NaN where the modality is missing.
    follow_up : FollowUp
        Of the same subjects.

    Raises
    ------
    UserError
        If there are fewer than two modalities, a risk does not vary, or the likelihood has no maximum.
    """
    if len(risks) < 2:
        raise UserError(f"late fusion needs at least two modalities, got {list(risks)}")
    table = np.column_stack([np.asarray(values, dtype=np.float64) for values in risks.values()])
    known = ~np.isnan(table)
    n_known = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, table, 0.0).sum(axis=0) / n_known
    centred = np.where(known, table - mean, 0.0)
    scale = np.sqrt((centred**2).sum(axis=0) / n_known)
    for name, spread in zip(risks, scale, strict=True):
        if not spread > 0:
            raise UserError(f"the risks of modality '{name}' do not vary between the training subjects")
    cox = fit_cox(centred / scale, follow_up)
    if cox.reason:
        raise UserError(f"the late fusion could not be fitted: {cox.reason}")
    return LateFusion(tuple(risks), mean, scale, cox)


def cross_fitted_risks(
    name: str,
    features: ArrayLike,
    follow_up: FollowUp,
    test_features: ArrayLike,
    *,
    seed: int,
    folds: int = 5,
    inner_folds: int = 5,
    screening_p: float | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return risks of the training and of the test part, none by a model that saw the subject.

    For the training part a survival model is tuned and fitted anew without each of its folds; the test part
    is predicted by the model of the whole training part. Each fit's risks are put on one scale: less their
    mean and divided by their spread among the subjects that it was fitted to.

    Parameters
    ----------
    name : str
        A name of `survival_models`.
    features : array-like, shape (n, p)
    follow_up : FollowUp
        Of the same n training subjects.
    test_features : array-like, shape (m, p)
    seed, inner_folds, screening_p
        As for `fit_survival_model`.
    folds : int
        Of the cross-fitting; fewer are used where there are fewer events.

    Returns
    -------
    train, test : ndarray, shape (n,) and (m,)
    """
    table, test = (np.asarray(part, dtype=np.float64) for part in (features, test_features))

    def predicted(rows: BoolArray, others: FloatArray) -> FloatArray:
        part = follow_up[rows]
        model = fit_survival_model(
            name, table[rows], part.time, part.event, seed=seed, inner_folds=inner_folds, screening_p=screening_p
        )
        seen = model.predict_risk(table[rows]).values
        spread = float(seen.std())
        risk: FloatArray = (model.predict_risk(others).values - seen.mean()) / (spread if spread > 0 else 1.0)
        return risk

    train_risk = np.full(len(follow_up), np.nan)
    for heldout in heldout_parts(follow_up, min(folds, follow_up.n_events), seed):
        train_risk[heldout] = predicted(~heldout, table[heldout])
    return train_risk, predicted(np.ones(len(follow_up), dtype=np.bool_), test)
