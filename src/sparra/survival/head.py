"""The last step of a model for new patients: from features to risk, risk group and survival, as arrays alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparra.errors import UserError
from sparra.survival.estimators.coxph import FittedCox, ridge_coefficient
from sparra.survival.estimators.fitting import FIT_ERRORS, BreslowBaseline, strict_warnings
from sparra.survival.groups import Cut, cut_of
from sparra.survival.models import FittedSurvivalModel
from sparra.survival.outcomes import FloatArray, FollowUp, RiskScores, SurvivalCurves, require_increasing, step_values
from sparra.survival.preparation import Preparation, fit_preparation
from sparra.survival.registry import survival_models

# A ridge of 1 on the one standardised risk keeps the slope finite where the risk separates those with the event.
_RISK_PENALTY = 1.0
_MOST_EXPONENT = 700.0
# A draw of patients may hold no event or break a fit down; so many draws a replicate are tried.
_TRIES = 10
_STREAM = 11


@dataclass(frozen=True)
class SurvivalHead:
    r"""Risk and survival of subjects whose features (or whose network's risk) are known.

    With z the standardised features, ``risk = z @ coefficient`` and
    :math:`S(t) = \exp(-H_0(t) \exp(z \cdot hazard\_coefficient))`, H0 by Breslow (1974).

    Attributes
    ----------
    preparation : Preparation
        Imputation and standardisation of the features.
    coefficient : ndarray, shape (k,)
        Of the risk.
    hazard_coefficient : ndarray, shape (k,)
        Of the log hazard: `coefficient` in a Cox model; for a network's risk times its calibrated slope.
    times, hazard : ndarray, shape (K,)
        Event times of the training subjects, and the cumulative baseline hazard H0 from each on.
    cut : float
        A risk above it is high.
    spread : float
        Standard deviation of the training risks; 1 where they are all equal.
    replicate_coefficients : ndarray, shape (B, k)
        Log-hazard coefficients of the same model fitted to patients drawn with replacement.
    replicate_hazards : ndarray, shape (B, K)
        Their H0 at `times`.
    """

    preparation: Preparation
    coefficient: FloatArray
    hazard_coefficient: FloatArray
    times: FloatArray
    hazard: FloatArray
    cut: float
    spread: float
    replicate_coefficients: FloatArray
    replicate_hazards: FloatArray

    def risk(self, features: ArrayLike) -> FloatArray:
        """Return one risk a row of `features`, shape (n, p), NaN where missing; higher is worse."""
        risk: FloatArray = self._prepared(features) @ self.coefficient
        return risk

    def standardised_risk(self, features: ArrayLike) -> FloatArray:
        """Return the risk in standard deviations of the training risks above the cut, shape (n,); high is above 0.

        On this scale the models of an ensemble can be averaged: penalties, and so log hazards, differ between them
        by orders of magnitude.
        """
        risk: FloatArray = (self.risk(features) - self.cut) / self.spread
        return risk

    def survival(self, features: ArrayLike, times: ArrayLike) -> SurvivalCurves:
        """Return S(t) at `times` (T,) for each row; beyond the last event the last value is carried on."""
        grid = require_increasing(times)
        predictor = self._prepared(features) @ self.hazard_coefficient
        return SurvivalCurves(grid, step_values(self.times, _survival(self.hazard, predictor), grid))

    def cumulative_hazard(self, features: ArrayLike) -> FloatArray:
        """Return the cumulative hazard at `times` for each row, shape (n, K)."""
        predictor = self._prepared(features) @ self.hazard_coefficient
        hazard: FloatArray = self.hazard[None, :] * np.exp(np.minimum(predictor, _MOST_EXPONENT))[:, None]
        return hazard

    def survival_replicates(self, features: ArrayLike, times: ArrayLike) -> FloatArray:
        """Return S(t) under every bootstrap replicate, shape (B, n, T)."""
        grid, prepared = require_increasing(times), self._prepared(features)
        parts = [
            step_values(self.times, _survival(hazard, prepared @ coefficient), grid)
            for coefficient, hazard in zip(self.replicate_coefficients, self.replicate_hazards, strict=True)
        ]
        return np.stack(parts) if parts else np.empty((0, len(prepared), len(grid)))

    def survival_draws(self, features: ArrayLike, times: ArrayLike) -> FloatArray:
        """Return S(t) of features that are not sure: draw j under bootstrap replicate j, both taken in turn.

        Parameters
        ----------
        features : array-like, shape (K, n, p)
            K draws of the features.
        times : array-like, shape (T,)

        Returns
        -------
        ndarray, shape (max(K, B), n, T)
            Where there are no replicates (B = 0), of the model itself.
        """
        grid, draws = require_increasing(times), np.asarray(features, dtype=np.float64)
        replicates = list(zip(self.replicate_coefficients, self.replicate_hazards, strict=True))
        models = replicates or [(self.hazard_coefficient, self.hazard)]
        curves = []
        for number in range(max(len(draws), len(models))):
            coefficient, hazard = models[number % len(models)]
            predictor = self._prepared(draws[number % len(draws)]) @ coefficient
            curves.append(step_values(self.times, _survival(hazard, predictor), grid))
        return np.stack(curves)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays."""
        return {
            "kept": self.preparation.kept.astype(np.int64),
            "mean": self.preparation.mean,
            "scale": self.preparation.scale,
            "n_features": np.array([self.preparation.n_features], dtype=np.int64),
            "coefficient": self.coefficient,
            "hazard_coefficient": self.hazard_coefficient,
            "times": self.times,
            "hazard": self.hazard,
            "cut": np.array([self.cut]),
            "spread": np.array([self.spread]),
            "replicate_coefficients": self.replicate_coefficients,
            "replicate_hazards": self.replicate_hazards,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "SurvivalHead":
        """Build what `arrays` gave.

        Raises
        ------
        UserError
            If an array is missing, of another shape, or holds what no such model can.
        """
        try:
            head = cls(
                Preparation(arrays["kept"], arrays["mean"], arrays["scale"], int(arrays["n_features"][0])),
                cut=float(arrays["cut"][0]),
                spread=float(arrays["spread"][0]),
                **{name: arrays[name] for name in _ARRAYS},
            )
            _check(head)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UserError(f"the survival model's arrays do not fit together ({error})") from None
        return head

    def _prepared(self, features: ArrayLike) -> FloatArray:
        return self.preparation.apply(np.asarray(features, dtype=np.float64))


_ARRAYS = ("coefficient", "hazard_coefficient", "times", "hazard", "replicate_coefficients", "replicate_hazards")


def _check(head: SurvivalHead) -> None:
    preparation = head.preparation
    k, n_times, n_replicates = len(preparation.kept), len(head.times), len(head.replicate_coefficients)
    shapes = {
        "mean": (preparation.mean.shape, (k,)),
        "scale": (preparation.scale.shape, (k,)),
        "coefficient": (head.coefficient.shape, (k,)),
        "hazard_coefficient": (head.hazard_coefficient.shape, (k,)),
        "hazard": (head.hazard.shape, (n_times,)),
        "replicate_coefficients": (head.replicate_coefficients.shape, (n_replicates, k if n_replicates else 0)),
        "replicate_hazards": (head.replicate_hazards.shape, (n_replicates, n_times)),
    }
    for name, (found, expected) in shapes.items():
        if found != expected:
            raise ValueError(f"{name} has shape {found}, not {expected}")
    if k == 0 or preparation.kept.min() < 0 or preparation.kept.max() >= preparation.n_features:
        raise ValueError("kept names columns that are not there")
    if not (preparation.scale > 0).all() or not head.spread > 0:
        raise ValueError("a scale is not above zero")
    falling = np.diff(head.replicate_hazards, axis=1, prepend=0.0).min(initial=0.0) < 0
    if n_times == 0 or (np.diff(head.times) <= 0).any() or (np.diff(head.hazard, prepend=0.0) < 0).any() or falling:
        raise ValueError("the baseline hazard does not rise with time")


def head_of_cox(
    fitted: FittedSurvivalModel,
    features: ArrayLike,
    follow_up: FollowUp,
    *,
    cut: Cut = "median",
    replicates: int = 0,
    seed: int = 0,
) -> SurvivalHead:
    """Turn a fitted CoxPH or Coxnet into arrays.

    Parameters
    ----------
    fitted : FittedSurvivalModel
    features : array-like, shape (n, p)
        Those it was fitted to.
    follow_up : FollowUp
        Of the same n subjects.
    cut : {"median", "mean"}
        Of the training risks.
    replicates : int
        Fits to patients drawn with replacement, at the tuned penalty.
    seed : int
        Of those draws.

    Raises
    ------
    UserError
        If the model is not linear with a baseline hazard (RSF, GBM, FSVM).
    """
    if not isinstance(fitted.predictor, FittedCox):
        raise UserError(
            f"the survival model {fitted.name} cannot be written as coefficients with a baseline hazard",
            mend="Use CoxPH, Coxnet or network",
        )
    prepared = fitted.preparation.apply(np.asarray(features, dtype=np.float64))
    model, penalty = survival_models[fitted.name], next(iter(fitted.chosen.values()))

    def refit(rows: NDArray[np.intp]) -> FittedCox:
        again = model.fit(prepared[rows], follow_up[rows], penalty, seed)
        assert isinstance(again, FittedCox)
        return again

    drawn = _bootstrap(refit, follow_up, fitted.predictor.baseline.times, replicates, seed)
    coefficient = fitted.predictor.coefficient
    scale = _scale(RiskScores(prepared @ coefficient), cut)
    return _head(fitted.preparation, (coefficient, coefficient), fitted.predictor.baseline, scale, drawn)


def head_of_network(
    risk: ArrayLike, follow_up: FollowUp, *, cut: Cut = "median", replicates: int = 0, seed: int = 0
) -> SurvivalHead:
    """Give a network's own risk a survival curve: a Cox model of that risk alone.

    A network's risk has no unit (that of an ensemble is standardised), so its slope is fitted, with a ridge of 1 on
    the standardised risk, and with it Breslow's baseline. The training risks must be cross-fitted: those of
    subjects that the network has seen are too good, and the curves would spread too far. A negative slope, a risk
    that ranks the training subjects the wrong way round, is set to zero: everyone then has the cohort's curve.

    Parameters
    ----------
    risk : array-like, shape (n,)
        Cross-fitted risks of the training subjects.
    follow_up, cut, replicates, seed
        As for `head_of_cox`.

    Raises
    ------
    UserError
        If all risks are equal, or no subject had the event.
    """
    column = np.asarray(risk, dtype=np.float64)[:, None]
    if follow_up.n_events == 0:
        raise UserError("a survival model needs at least one event")
    preparation = fit_preparation(column, follow_up)
    prepared = preparation.apply(column)

    def refit(rows: NDArray[np.intp]) -> FittedCox:
        part, outcome = prepared[rows], follow_up[rows]
        slope = np.maximum(ridge_coefficient(part, outcome, _RISK_PENALTY), 0.0)
        return FittedCox(slope, BreslowBaseline(part @ slope, outcome))

    whole = refit(np.arange(len(column)))
    drawn = _bootstrap(refit, follow_up, whole.baseline.times, replicates, seed)
    scale = _scale(RiskScores(prepared[:, 0]), cut)
    return _head(preparation, (np.ones(1), whole.coefficient), whole.baseline, scale, drawn)


def _scale(risk: RiskScores, cut: Cut) -> tuple[float, float]:
    """Return cut and spread of the training risks."""
    spread = float(risk.values.std())
    return cut_of(risk, cut), spread if spread > 0 else 1.0


def _head(
    preparation: Preparation,
    coefficients: tuple[FloatArray, FloatArray],
    baseline: BreslowBaseline,
    scale: tuple[float, float],
    drawn: tuple[FloatArray, FloatArray],
) -> SurvivalHead:
    if not np.isfinite(baseline.hazard).all():
        raise UserError("the baseline hazard is beyond measure: the risks lie too far apart")
    return SurvivalHead(preparation, *coefficients, baseline.times, baseline.hazard, *scale, *drawn)


def _bootstrap(
    refit: Callable[[NDArray[np.intp]], FittedCox], follow_up: FollowUp, times: FloatArray, replicates: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Return log-hazard coefficients (B, k) and baseline hazards at `times` (B, K) of fits to drawn patients."""
    generator = np.random.default_rng([_STREAM, seed])
    n = len(follow_up)
    coefficients: list[FloatArray] = []
    hazards: list[FloatArray] = []
    for _ in range(_TRIES * replicates):
        if len(hazards) == replicates:
            break
        rows = generator.integers(n, size=n)
        if not follow_up.event[rows].any():
            continue
        try:
            with strict_warnings():
                fitted = refit(rows)
        except FIT_ERRORS:
            continue
        if not np.isfinite(fitted.baseline.hazard).all():
            continue
        coefficients.append(fitted.coefficient)
        steps = np.concatenate([[0.0], fitted.baseline.hazard])
        hazards.append(steps[np.searchsorted(fitted.baseline.times, times, side="right")])
    if len(hazards) < replicates:
        raise UserError(f"only {len(hazards)} of {replicates} bootstrap replicates could be fitted")
    # The first axis is given, as no replicate at all is (0, k).
    width = len(coefficients[0]) if coefficients else 0
    return np.reshape(coefficients, (replicates, width)), np.reshape(hazards, (replicates, len(times)))


def _survival(hazard: FloatArray, predictor: FloatArray) -> FloatArray:
    """Return S at the knots, shape (n, K)."""
    curves: FloatArray = np.exp(-hazard[None, :] * np.exp(np.minimum(predictor, _MOST_EXPONENT))[:, None])
    return curves
