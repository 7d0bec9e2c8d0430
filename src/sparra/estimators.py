"""SPARRA, ABMIL and Mean in the manner of scikit-learn, on lists of bags or graphs.

A sample is one subject: a `Bag`, a `SpatialGraph`, a sequence of them, or a mapping of ``ct`` and ``slide`` to
those. `y` is scikit-survival's structured array of an event indicator and a time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from sksurv.functions import StepFunction

from sparra.bundle.member import Member, fit_head, head_features
from sparra.bundle.subjects import SubjectInput, as_subjects
from sparra.errors import UserError
from sparra.graphs.settings import GraphSettings, default_graph_settings
from sparra.modality import MODALITIES, Modality
from sparra.models.registry import aggregators
from sparra.survival.concordance import concordant_of_comparable
from sparra.survival.estimator import as_follow_up
from sparra.survival.models import fit_survival_model
from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.summary import NETWORK
from sparra.training.crossfit import cross_fitted_embeddings
from sparra.training.fit import fit_aggregator
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData


class BagSurvival(BaseEstimator):  # type: ignore[misc]
    """Base of the three estimators; they differ in the aggregator alone.

    Parameters
    ----------
    options : mapping, optional
        Settings of the aggregator, as ``methods.options`` of a study, such as ``{"preset": "paper"}``.
    epochs, batch_size, learning_rate
        Of the training.
    training : mapping, optional
        Further settings of the training, see `sparra.training.settings.TrainingSettings`.
    survival_model : {"network", "CoxPH", "Coxnet"}
        What gives risk and survival: the network itself, or a Cox model of its embeddings.
    cross_fit_folds : int
        Inner folds by whose networks the training subjects are embedded for the survival model.
    inner_folds : int
        Folds by which a Cox model's penalty is tuned.
    ct_graph, slide_graph : GraphSettings, optional
        How bags become graphs; graphs are taken as they are.
    random_state : int, RandomState or None
        Seeds everything; with an int, equal data give equal predictions.

    Attributes
    ----------
    member_ : Member
        The trained network with its survival model.
    n_subjects_, n_events_ : int
    event_times_ : ndarray
        Times at which survival functions fall; `unique_times_` is the same.
    """

    _aggregator = ""

    def __init__(
        self,
        *,
        options: Mapping[str, Any] | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 3e-4,
        training: Mapping[str, Any] | None = None,
        survival_model: str = NETWORK,
        cross_fit_folds: int = 3,
        inner_folds: int = 5,
        ct_graph: GraphSettings | None = None,
        slide_graph: GraphSettings | None = None,
        random_state: "int | np.random.RandomState | None" = None,
    ) -> None:
        self.options = options
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.training = training
        self.survival_model = survival_model
        self.cross_fit_folds = cross_fit_folds
        self.inner_folds = inner_folds
        self.ct_graph = ct_graph
        self.slide_graph = slide_graph
        self.random_state = random_state

    def fit(self, X: Sequence[SubjectInput], y: "FollowUp | NDArray[np.void]") -> Self:
        """Train on n subjects and their follow-up.

        Parameters
        ----------
        X : sequence of Bag, SpatialGraph, or of sequences or mappings of them, length n
        y : structured array of (event, time), shape (n,), or FollowUp

        Raises
        ------
        UserError
            If a parameter or an input is not valid, or the subjects cannot be trained on.
        """
        follow_up = as_follow_up(y)
        if len(X) != len(follow_up):
            raise UserError(f"there are {len(X)} subjects but follow-up of {len(follow_up)}")
        if self.survival_model not in (NETWORK, "CoxPH", "Coxnet"):
            raise UserError(f"survival_model is '{self.survival_model}'", mend="Use network, CoxPH or Coxnet")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        subjects = [
            SubjectData(subject.subject_id, subject.graphs, float(time), bool(event))
            for subject, time, event in zip(self._subjects(X), follow_up.time, follow_up.event, strict=True)
        ]
        self.member_ = self._fitted(subjects, follow_up, seed)
        self.n_subjects_, self.n_events_ = len(follow_up), follow_up.n_events
        self.event_times_ = self.unique_times_ = self.member_.head.times
        self._last_time = float(follow_up.time.max())
        return self

    def _fitted(self, subjects: list[SubjectData], follow_up: FollowUp, seed: int) -> Member:
        own = aggregators[self._aggregator].settings.from_mapping(dict(self.options or {}), "options")
        values = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        training = TrainingSettings.from_mapping({**values, **(self.training or {})}, "training")
        network = fit_aggregator(self._aggregator, own, training, subjects, seed)
        n_folds = max(2, min(self.cross_fit_folds, follow_up.n_events))
        crossed = cross_fitted_embeddings(self._aggregator, own, training, subjects, seed, n_folds, network)
        model = self.survival_model
        features = head_features(model, crossed.embedding, crossed.present, crossed.risk)
        fitted = None
        if model != NETWORK:
            fitted = fit_survival_model(
                model, features, follow_up.time, follow_up.event, seed=seed, inner_folds=self.inner_folds
            )
        head = fit_head(model, features, follow_up, fitted, cut="median", replicates=0, seed=seed)
        return Member(network, head, model)

    def _subjects(self, X: Sequence[SubjectInput]) -> list[SubjectData]:
        given = {"ct": self.ct_graph, "slide": self.slide_graph}

        def settings(modality: Modality) -> GraphSettings:
            return given[modality] or default_graph_settings(modality)

        return as_subjects({f"subject {row}": subject for row, subject in enumerate(X)}, settings, MODALITIES)

    def _features(self, X: Sequence[SubjectInput]) -> FloatArray:
        check_is_fitted(self, "member_")
        return self.member_.output(self._subjects(X))[0]

    def predict(self, X: Sequence[SubjectInput]) -> FloatArray:
        """Return one risk a subject, shape (n,); higher is worse. Not a survival probability."""
        features = self._features(X)
        return self.member_.head.risk(features)

    def predict_survival_function(
        self, X: Sequence[SubjectInput], return_array: bool = False
    ) -> "NDArray[np.object_] | FloatArray":
        """Return survival functions.

        Parameters
        ----------
        X : sequence, length n
        return_array : bool
            Whether to return S(t) at `unique_times_`, shape (n, K), instead of n `StepFunction`.
        """
        features = self._features(X)
        curves = self.member_.head.survival(features, self.event_times_).values
        return curves if return_array else self._steps(curves, before=1.0)

    def predict_cumulative_hazard_function(
        self, X: Sequence[SubjectInput], return_array: bool = False
    ) -> "NDArray[np.object_] | FloatArray":
        """Return cumulative hazard functions; parameters as of `predict_survival_function`."""
        features = self._features(X)
        hazards = self.member_.head.cumulative_hazard(features)
        return hazards if return_array else self._steps(hazards, before=0.0)

    def score(self, X: Sequence[SubjectInput], y: "FollowUp | NDArray[np.void]") -> float:
        """Return Harrell's C-index; NaN if no two subjects can be compared."""
        concordant, comparable = concordant_of_comparable(as_follow_up(y), self.predict(X))
        return concordant / comparable if comparable else float("nan")

    def _steps(self, values: FloatArray, before: float) -> NDArray[np.object_]:
        """Return step functions on 0 to the last follow-up."""
        times, last = self.event_times_, self._last_time
        # scikit-survival's step functions know no value before their first or after their last knot.
        start = times[:0] if times[0] == 0 else np.zeros(1)
        end = times[:0] if times[-1] >= last else np.array([last])
        knots = np.concatenate([start, times, end])
        functions = np.empty(len(values), dtype=object)
        for row, curve in enumerate(values):
            steps = np.concatenate([np.full(len(start), before), curve, np.full(len(end), curve[-1])])
            functions[row] = StepFunction(knots, steps)
        return functions


class MeanSurvival(BagSurvival):
    """Survival from the mean of node features; parameters, attributes and methods as `BagSurvival`."""

    _aggregator = "mean"


class ABMILSurvival(BagSurvival):
    """Survival by attention-based multiple-instance learning; parameters as `BagSurvival`.

    Notes
    -----
    Ilse, Tomczak & Welling, ICML 2018.
    """

    _aggregator = "abmil"


class SparraSurvival(BagSurvival):
    """Survival by SPARRA's sparse node importance on spatial graphs; parameters as `BagSurvival`.

    Notes
    -----
    Gao et al., MICCAI 2025; see docs/method.md.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score  # doctest: +SKIP
    >>> cross_val_score(SparraSurvival(random_state=0), bags, y, cv=3)  # doctest: +SKIP
    """

    _aggregator = "sparra"
