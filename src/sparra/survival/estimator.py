"""The survival models as estimators in the manner of scikit-learn and scikit-survival."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from sparra.errors import UserError
from sparra.survival.concordance import concordant_of_comparable
from sparra.survival.models import FittedSurvivalModel, fit_survival_model
from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.screening import Adjustment


class SurvivalEstimator(BaseEstimator):  # type: ignore[misc]
    """A survival model, tuned on the data it is fitted to; every feature step is fitted with it.

    Parameters
    ----------
    name : str
        A name of `sparra.survival.models.survival_models`: RSF, CoxPH, Coxnet, FSVM, GBM.
    seed : int
        Of the inner folds and the model's own draws.
    inner_folds : int
        Folds of the tuning.
    screening_p : float, optional
        Univariate Cox Wald p (or false discovery rate) below which a feature is kept; None keeps all.
    screening_adjustment : {"none", "benjamini-hochberg"}

    Attributes
    ----------
    fitted_ : FittedSurvivalModel
        After `fit`.

    Examples
    --------
    >>> from sksurv.datasets import load_whas500
    >>> features, outcome = load_whas500()
    >>> model = SurvivalEstimator("CoxPH", seed=0).fit(features.astype(float), outcome)
    >>> bool(model.score(features.astype(float), outcome) > 0.75)
    True
    """

    def __init__(
        self,
        name: str = "CoxPH",
        *,
        seed: int = 0,
        inner_folds: int = 5,
        screening_p: float | None = None,
        screening_adjustment: Adjustment = "none",
    ) -> None:
        self.name = name
        self.seed = seed
        self.inner_folds = inner_folds
        self.screening_p = screening_p
        self.screening_adjustment = screening_adjustment

    def fit(self, X: ArrayLike, y: FollowUp | NDArray[np.void]) -> "SurvivalEstimator":
        """Fit to features, shape (n, p), NaN where missing, and follow-up.

        `y` is a `FollowUp`, or scikit-survival's structured array of an event indicator and a time.

        Raises
        ------
        UserError
            If the name is unknown, the input invalid or nothing could be fitted.
        """
        follow_up = as_follow_up(y)
        self.fitted_: FittedSurvivalModel = fit_survival_model(
            self.name,
            np.asarray(X, dtype=np.float64),
            follow_up.time,
            follow_up.event,
            seed=self.seed,
            inner_folds=self.inner_folds,
            screening_p=self.screening_p,
            screening_adjustment=self.screening_adjustment,
        )
        return self

    def predict(self, X: ArrayLike) -> FloatArray:
        """Return one risk a row, shape (n,); higher is worse for every model."""
        return self.fitted_.predict_risk(X).values

    def predict_survival_function(self, X: ArrayLike, times: ArrayLike) -> FloatArray:
        """Return S(t) at `times` (T,), sorted and unique, for each row; shape (n, T).

        Raises
        ------
        UserError
            If the model has no survival function (FSVM).
        """
        curves = self.fitted_.predict_survival(X, times)
        if curves is None:
            raise UserError(f"{self.name} ranks patients and has no survival function", mend="use another model")
        return curves.values

    def score(self, X: ArrayLike, y: FollowUp | NDArray[np.void]) -> float:
        """Return Harrell's C-index; NaN if no two subjects can be compared."""
        concordant, comparable = concordant_of_comparable(as_follow_up(y), self.predict(X))
        return concordant / comparable if comparable else float("nan")


def as_follow_up(y: FollowUp | NDArray[Any]) -> FollowUp:
    """Return the follow-up in `y`: a `FollowUp`, or a structured array of event (bool) and time."""
    if isinstance(y, FollowUp):
        return y
    names = getattr(getattr(y, "dtype", None), "names", None)
    if names is None or len(names) != 2:
        raise UserError(
            "follow-up must be a FollowUp or a structured array of event and time",
            mend="use FollowUp(time, event) or sksurv.util.Surv.from_arrays(event, time)",
        )
    event, time = names
    return FollowUp(np.asarray(y[time], dtype=np.float64), np.asarray(y[event]))
