"""The survival models by name, and what a model must offer to be one."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sparra.registry import Registry
from sparra.survival.outcomes import FloatArray, FollowUp


class Predictor(Protocol):
    """A model fitted to standardised features."""

    def risk(self, features: FloatArray) -> FloatArray:
        """Return risks, shape (n,); higher is worse."""
        ...

    def survival(self, features: FloatArray) -> tuple[FloatArray, FloatArray] | None:
        """Return the times (K,) at which curves fall and the curves (n, K); None if there are none."""
        ...


@dataclass
class CandidateRisks:
    """Risks of held-out subjects under every candidate of a grid.

    Attributes
    ----------
    values : ndarray, shape (n_heldout, G)
        A column of NaN where the candidate could not be fitted.
    failures : dict of int to str
        Why, by the candidate's place in the grid.
    """

    values: FloatArray
    failures: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, n_heldout: int, n_candidates: int) -> "CandidateRisks":
        """Return risks that are all still missing."""
        return cls(np.full((n_heldout, n_candidates), np.nan))


class SurvivalModel(Protocol):
    """A survival model with one tuned hyper-parameter; features come imputed and standardised."""

    @property
    def parameter(self) -> str:
        """Name of the tuned hyper-parameter."""
        ...

    def grid(self, features: FloatArray, follow_up: FollowUp) -> FloatArray:
        """Return the candidates, the simplest (most regularised) first: ties go to the first."""
        ...

    def candidate_risks(
        self, features: FloatArray, follow_up: FollowUp, heldout: FloatArray, grid: FloatArray, seed: int
    ) -> CandidateRisks:
        """Fit every candidate to `features` and return the risks of `heldout`."""
        ...

    def fit(self, features: FloatArray, follow_up: FollowUp, value: float, seed: int) -> Predictor:
        """Fit with the hyper-parameter at `value`; raises one of `estimators.fitting.FIT_ERRORS`."""
        ...


survival_models: Registry[SurvivalModel] = Registry("survival model", "sparra.survival_models")
