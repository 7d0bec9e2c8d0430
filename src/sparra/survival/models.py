"""Fitting a survival model to features: one call for every model of the registry."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from sparra.errors import UserError
from sparra.survival.estimators import coxnet, coxph, fsvm, gbm, rsf
from sparra.survival.estimators.fitting import FIT_ERRORS, reason_of, strict_warnings
from sparra.survival.outcomes import (
    FloatArray,
    FollowUp,
    RiskScores,
    SurvivalCurves,
    require_increasing,
    step_values,
)
from sparra.survival.preparation import Preparation, fit_preparation
from sparra.survival.registry import Predictor, SurvivalModel, survival_models
from sparra.survival.screening import Adjustment
from sparra.survival.tuning import Tuning, tune

__all__ = ["FittedSurvivalModel", "fit_survival_model", "survival_models"]

survival_models.register("RSF")(rsf.RandomForest())
survival_models.register("CoxPH")(coxph.CoxRidge())
survival_models.register("Coxnet")(coxnet.CoxElasticNet())
survival_models.register("FSVM")(fsvm.FastSvm())
survival_models.register("GBM")(gbm.GradientBoosting())


@dataclass(frozen=True)
class FittedSurvivalModel:
    """A tuned survival model with the feature steps that were fitted with it.

    Attributes
    ----------
    name : str
        Its name in the registry.
    chosen : dict of str to float
        The tuned hyper-parameter and its value.
    tuning : Tuning
        Inner scores, and candidates that could not be fitted.
    preparation : Preparation
    predictor : Predictor
    """

    name: str
    chosen: dict[str, float]
    tuning: Tuning
    preparation: Preparation
    predictor: Predictor

    def predict_risk(self, features: ArrayLike) -> RiskScores:
        """Return one risk a row of `features`, shape (n, p); higher is worse for every model."""
        return RiskScores(self.predictor.risk(self._prepared(features)))

    def predict_survival(self, features: ArrayLike, times: ArrayLike) -> SurvivalCurves | None:
        """Return S(t) at `times` (T,) for each row, or None if the model has no survival function.

        Beyond the last training time the last value is carried on.
        """
        grid = require_increasing(times)
        curves = self.predictor.survival(self._prepared(features))
        return None if curves is None else SurvivalCurves(grid, step_values(*curves, grid))

    def _prepared(self, features: ArrayLike) -> FloatArray:
        return self.preparation.apply(np.asarray(features, dtype=np.float64))


def fit_survival_model(
    name: str,
    features: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    *,
    seed: int,
    inner_folds: int = 5,
    screening_p: float | None = None,
    screening_adjustment: Adjustment = "none",
) -> FittedSurvivalModel:
    """Tune a survival model on a training part and refit it to the whole of that part.

    Missing values are replaced by the training mean, constant features dropped, the rest standardised,
    all fitted here (and anew in each inner fold). How the hyper-parameter is chosen: `tuning.tune`.

    Parameters
    ----------
    name : str
        A name of `survival_models`: RSF, CoxPH, Coxnet, FSVM, GBM.
    features : array-like, shape (n, p)
        NaN where missing.
    time, event : array-like, shape (n,)
        Follow-up of the same subjects.
    seed : int
        Of the inner folds and of the model's own draws.
    inner_folds : int
        Folds of the tuning; fewer are used where there are fewer events.
    screening_p : float, optional
        Univariate Cox Wald p below which a feature is kept.
    screening_adjustment : {"none", "benjamini-hochberg"}
        With the latter, `screening_p` bounds the false discovery rate instead of p.

    Raises
    ------
    UserError
        If the name is unknown, the input invalid, or nothing could be fitted.
    """
    model = survival_models[name]
    table = np.asarray(features, dtype=np.float64)
    follow_up = FollowUp(np.asarray(time), np.asarray(event))
    if len(table) != len(follow_up):
        raise UserError(f"there are {len(table)} rows of features but follow-up of {len(follow_up)} subjects")
    preparation = fit_preparation(table, follow_up, screening_p, screening_adjustment)
    prepared = preparation.apply(table)
    grid = model.grid(prepared, follow_up)
    tuning = tune(
        model,
        grid,
        table,
        follow_up,
        seed=seed,
        inner_folds=inner_folds,
        screening_p=screening_p,
        screening_adjustment=screening_adjustment,
    )
    return fit_ranked(name, preparation, prepared, follow_up, tuning, seed)


def fit_ranked(
    name: str, preparation: Preparation, prepared: FloatArray, follow_up: FollowUp, tuning: Tuning, seed: int
) -> FittedSurvivalModel:
    """Fit the candidate that tuning ranks first to the whole training part, or the next where it breaks down.

    Raises
    ------
    UserError
        If none can be fitted.
    """
    model = survival_models[name]
    value, predictor, failures = _fit_best(model, prepared, follow_up, tuning.ranked(), seed)
    tuning = replace(tuning, best=value, skipped=tuning.skipped | failures)
    return FittedSurvivalModel(name, {model.parameter: value}, tuning, preparation, predictor)


def _fit_best(
    model: SurvivalModel, features: FloatArray, follow_up: FollowUp, ranked: list[float], seed: int
) -> tuple[float, Predictor, dict[float, str]]:
    """Fit the best candidate to the whole training part, or the next best where that breaks down."""
    failures: dict[float, str] = {}
    for value in ranked:
        try:
            with strict_warnings():
                return value, model.fit(features, follow_up, value, seed), failures
        except FIT_ERRORS as error:
            failures[value] = reason_of(error)
    raise UserError(f"no {model.parameter} could be fitted to the whole training part; the best: {failures[ranked[0]]}")
