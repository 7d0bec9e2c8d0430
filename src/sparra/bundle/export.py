"""From a study to a bundle of one of its methods."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file

from sparra import RESEARCH_USE_ONLY, __version__
from sparra.bundle.bundle import Bundle, mean_features
from sparra.bundle.content import BundleContent, Figure, MapVerdict, MemberDescription, Preprocessing
from sparra.bundle.facts import C_INDEX, CALIBRATION_SLOPE, cohort_summary, input_kind, performance
from sparra.bundle.likeness import FEWEST_SUBJECTS, Likeness
from sparra.bundle.member import Member, fit_head, head_features
from sparra.bundle.store import is_path_option
from sparra.cohort.splits import Folds, read_folds
from sparra.errors import UserError
from sparra.files import read_json
from sparra.modality import Modality
from sparra.study.arms import Arm
from sparra.study.judge import follow_up_of, time_grid_of
from sparra.study.layout import StudyLayout
from sparra.study.learn import (
    Method,
    inner_folds,
    is_trained,
    load_subject,
    modalities_of,
    read_follow_up,
    subjects_with_graph,
    training_key,
)
from sparra.study.records import horizons_of
from sparra.study.resume import forget, states_in
from sparra.study.rules import rules_of
from sparra.study.settings import MethodModality, StudySettings
from sparra.study.stages import GraphIndex
from sparra.study.trust import current_label
from sparra.survival.outcomes import FollowUp
from sparra.survival.summary import NETWORK
from sparra.survival.time_grid import TimeGrid
from sparra.training.crossfit import cross_fitted_embeddings
from sparra.training.fit import fit_aggregator
from sparra.training.fitted import FittedAggregator
from sparra.training.subjects import SubjectData

Weights = Literal["folds", "refit"]
WRITABLE = ("CoxPH", "Coxnet", NETWORK)
PACKAGES = ("numpy", "torch", "scikit-learn", "scikit-survival", "safetensors")
# Place of the refit among a method's folds, so that its seed is its own.
_REFIT = 10_000
INTENDED_USE = (
    "Research on the prognosis of patients like those of the training cohort, imaged and followed as they were. "
    f"{RESEARCH_USE_ONLY} It must not guide the care of a patient."
)


@dataclass(frozen=True)
class Choice:
    """What to export.

    Attributes
    ----------
    modality : {"ct", "slide", "joint"}
    aggregator : str
    model : {"CoxPH", "Coxnet", "network"}
    weights : {"folds", "refit"}
        The study's fold models as an ensemble, or one model fitted to all subjects.
    replicates : int
        Bootstrap replicates of each survival model.
    """

    modality: MethodModality = "joint"
    aggregator: str = "sparra"
    model: str = "CoxPH"
    weights: Weights = "folds"
    replicates: int = 100


def export_bundle(settings: StudySettings, choice: Choice) -> Bundle:
    """Make a bundle of a finished study.

    Of ``folds``, each member is the network of a fold as it lies in the study, with a survival model fitted anew, as
    the evaluation did, to the cross-fitted embeddings (or risks) of the fold's training part: members and their risk
    groups are those that were evaluated. Of ``refit``, one network is fitted to all subjects and the survival model
    to their cross-fitted embeddings. In neither is a baseline or a cut made from what a network says of patients that
    it was fitted to, except in the protocol ``paper``, which has no cross-fitting.

    Raises
    ------
    UserError
        If the study is not finished or not up to date, the method is not part of it, or its survival model cannot be
        written without pickle.
    """
    source = _Source(settings, choice)
    source.check()
    members = source.fold_members() if choice.weights == "folds" else [source.refit_member()]
    subjects = source.subjects(source.folds.subject_ids)
    inputs = {modality: input_kind(source.layout, subjects, modality) for modality in _modalities(subjects)}
    figures = performance(source.layout, choice.modality, choice.aggregator, choice.model)
    content = BundleContent(
        study=settings.name,
        modality=choice.modality,
        aggregator=choice.aggregator,
        model=_writable(choice.model),
        weights=choice.weights,
        protocol=settings.protocol,
        time_unit=settings.cohort.time_unit,
        horizons=tuple(map(float, horizons_of(settings.evaluation, settings.cohort.time_unit, source.grid))),
        cut=settings.evaluation.cut,
        replicates=choice.replicates,
        preprocessing=_preprocessing(settings),
        inputs=inputs,
        members=tuple(description for _, description in members),
        cohort=cohort_summary(source.layout, subjects),
        performance=figures,
        maps={modality: source.map_verdict(modality) for modality in inputs},
        intended_use=INTENDED_USE,
        limitations=_limitations(settings, choice, subjects, figures),
        versions={"sparra": __version__, **{name: version(name) for name in PACKAGES}},
        made_on=date.today().isoformat(),
    )
    likeness = {modality: _likeness(subjects, modality, settings.seed) for modality in inputs}
    return Bundle(
        content, tuple(member for member, _ in members), {name: like for name, like in likeness.items() if like}
    )


class _Source:
    """A finished study, as the export looks at it."""

    def __init__(self, settings: StudySettings, choice: Choice) -> None:
        self.settings, self.choice = settings, choice
        self.layout = StudyLayout(settings.output)
        self.index_path = self.layout.root / "graphs" / "index.json"

    def check(self) -> None:
        """Refuse what is no method of the study, or is not up to date."""
        _writable(self.choice.model)
        for path in (self.index_path, self.layout.folds, self.layout.metrics, self.layout.intervals):
            if not path.exists():
                raise UserError("the study is not finished", path, "Run: sparra run STUDY")
        methods, available = self.settings.methods, {name for graphs in self.index.values() for name in graphs}
        for given, known, told in (
            (self.choice.modality, modalities_of(self.settings, available), "modality"),
            (self.choice.aggregator, methods.aggregators, "aggregator"),
            (self.choice.model, (*self.settings.evaluation.survival_models, NETWORK), "model"),
        ):
            if given not in known:
                what = f"the study has no {told} '{given}'"
                raise UserError(what, mend=f"Give --{told} {' or '.join(n for n in known if _can_be(told, n))}")
        stale = [m for m in self.methods if not is_trained(self.settings, self.layout, self.index_path, m)]
        if stale:
            raise UserError(f"{stale[0]} is not trained or not up to date", self.layout.root, "Run: sparra run STUDY")

    @cached_property
    def index(self) -> GraphIndex:
        """Paths of all graphs."""
        index: GraphIndex = read_json(self.index_path)["paths"]
        return index

    @cached_property
    def folds(self) -> Folds:
        """The study's folds."""
        return read_folds(self.layout.folds)

    @cached_property
    def grid(self) -> TimeGrid:
        """The study's time grid."""
        return time_grid_of(self.settings, self.layout, self.folds)

    @cached_property
    def methods(self) -> list[Method]:
        """The method in every fold."""
        return [Method(self.choice.modality, self.choice.aggregator, fold) for fold in range(len(self.folds))]

    def subjects(self, names: Sequence[str]) -> list[SubjectData]:
        """Load those of `names` that have an image of the method's modalities."""
        table, method = read_follow_up(self.layout), self.methods[0]
        kept = subjects_with_graph(self.index, method, names)
        return [load_subject(self.layout, self.index, method, name, table) for name in kept]

    def map_verdict(self, modality: Modality) -> MapVerdict:
        """Return what the study's checks of this method's maps came to; untested where they are not up to date."""
        folders = [self.layout.model(method.modality, method.aggregator, method.fold) for method in self.methods]
        arm = Arm(self.choice.modality, self.choice.aggregator, tuple(folders))
        label = current_label(self.settings, self.layout, arm, modality)
        return MapVerdict(verdict=label.verdict, sentence=label.sentence)

    def fold_members(self) -> list[tuple[Member, MemberDescription]]:
        """Return the network of each fold with its survival model."""
        table = read_follow_up(self.layout)
        found = []
        for method, fold in zip(self.methods, self.folds, strict=True):
            folder = self.layout.model(method.modality, method.aggregator, method.fold)
            stored = load_file(folder / "embeddings.safetensors")
            follow_up = follow_up_of(table.loc[subjects_with_graph(self.index, method, fold.train)])
            features = stored["train_risk"][:, None] if self.choice.model == NETWORK else stored["train"]
            found.append(self._member(FittedAggregator.load(folder), features, follow_up, method))
        return found

    def refit_member(self) -> tuple[Member, MemberDescription]:
        """Fit the method to all subjects; a fit that was cut off goes on from the last states of its networks."""
        settings, method = self.settings, Method(self.choice.modality, self.choice.aggregator, _REFIT)
        subjects = self.subjects(self.folds.subject_ids)
        follow_up = FollowUp(np.array([s.time for s in subjects]), np.array([s.event for s in subjects]))
        own, seed = settings.aggregator_settings(method.aggregator), method.seed(settings.seed)
        folder = self.layout.root / "models" / method.modality / method.aggregator / "refit-checkpoint"
        # A finished study may lie where it can only be read: then nothing is kept on the way.
        kept = os.access(folder.parent, os.W_OK)
        states = states_in(folder, training_key(settings, self.layout, self.index_path, method)) if kept else None
        name, training = method.aggregator, settings.training
        network = fit_aggregator(name, own, training, subjects, seed, states and states.of("outer"))
        n_folds = inner_folds(subjects, settings.methods.cross_fit_folds)
        crossed = cross_fitted_embeddings(name, own, training, subjects, seed, n_folds, network, states)
        features = head_features(self.choice.model, crossed.embedding, crossed.present, crossed.risk)
        if states:
            forget(states)
        return self._member(network, features, follow_up, method)

    def _member(
        self, network: FittedAggregator, features: Any, follow_up: FollowUp, method: Method
    ) -> tuple[Member, MemberDescription]:
        model, seed = self.choice.model, method.seed(self.settings.seed)
        fitted = None
        if model != NETWORK:
            fitted = rules_of(self.settings, self.grid).fit(model, features, follow_up, method)
        head = fit_head(
            model,
            np.asarray(features, dtype=np.float64),
            follow_up,
            fitted,
            cut=self.settings.evaluation.cut,
            replicates=self.choice.replicates,
            seed=seed,
        )
        tuned = {} if fitted is None else {name: float(value) for name, value in fitted.chosen.items()}
        description = MemberDescription(
            network=network.description(), tuned=tuned, n_subjects=len(follow_up), n_events=follow_up.n_events
        )
        return Member(network, head, model), description


def _writable(model: str) -> Any:
    if model not in WRITABLE:
        raise UserError(
            f"the survival model '{model}' cannot be written without pickle, or has no survival curve",
            mend=f"Give --model {', '.join(WRITABLE[:-1])} or {WRITABLE[-1]}",
        )
    return model


def _can_be(told: str, name: str) -> bool:
    return told != "model" or name in WRITABLE


def _modalities(subjects: Sequence[SubjectData]) -> list[Modality]:
    names: tuple[Modality, ...] = ("ct", "slide")
    return [name for name in names if any(name in subject.graphs for subject in subjects)]


def _preprocessing(settings: StudySettings) -> Preprocessing:
    """Return the settings of the stages before training, without the paths of this machine."""
    return Preprocessing(
        ct=settings.ct.model_copy(update={"encoder_options": _without_paths(settings.ct.encoder_options)}),
        slide=settings.slide.model_copy(
            update={"encoder_options": _without_paths(settings.slide.encoder_options), "tissue_folder": None}
        ),
        # An encoder's name that the user vouched for holds for the training files only.
        imports=settings.bags.imports.model_copy(update={"patches": None, "encoder": None}),
        bag_dtype=settings.bags.dtype,
        ct_graph=settings.graphs.ct,
        slide_graph=settings.graphs.slide,
        graph_dtype=settings.graphs.dtype,
    )


def _without_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if is_path_option(name) else value for name, value in options.items()}


def _likeness(subjects: Sequence[SubjectData], modality: Modality, seed: int) -> Likeness | None:
    having = [subject for subject in subjects if modality in subject.graphs]
    means = mean_features(having, modality)
    # Without a measure of likeness a bundle is still of use; the shares are then empty.
    differ = len(having) >= FEWEST_SUBJECTS and np.ptp(means, axis=0).max() > 0
    return Likeness.of(means, seed) if differ else None


def _limitations(
    settings: StudySettings, choice: Choice, subjects: Sequence[SubjectData], figures: Sequence[Figure]
) -> tuple[str, ...]:
    events = sum(subject.event for subject in subjects)
    found = [
        f"Fitted to {len(subjects)} patients with {events} events of one study, and validated inside it alone.",
        "Survival probabilities hold for a cohort whose survival is that of the training cohort.",
    ]
    if events < 100:
        found.append("Fewer than 100 events: survival probabilities and the order of risks are uncertain.")
    found += _limits_of_performance(figures)
    if settings.protocol == "paper":
        found.append(
            "In the protocol 'paper' survival models see embeddings of patients that the network was fitted to: "
            "survival probabilities and the cut are too sure."
        )
    if choice.weights == "refit":
        found.append(
            "Intervals hold the sampling of patients in the survival model and the network's posterior, not the "
            "sampling of patients in the network's training."
        )
    return tuple(found)


def _limits_of_performance(figures: Sequence[Figure]) -> list[str]:
    found = []
    c_index = next((figure for figure in figures if figure.name == C_INDEX), None)
    if c_index is not None and c_index.value is not None and c_index.lower is not None and c_index.lower <= 0.5:
        found.append(
            "It was not shown to rank patients better than chance does (a C-index of 0.5): it has "
            f"{c_index.value:.3f}, with a 95 % interval from {c_index.lower:.3f}."
        )
    slopes = [figure for figure in figures if figure.name.startswith(CALIBRATION_SLOPE)]
    if any(figure.upper is not None and figure.upper < 1 for figure in slopes):
        found.append(
            "The calibration slope is below 1: survival probabilities are too extreme, out-of-fold as well. Rely on "
            "the order of risks and the groups alone, or export the model 'network', whose slope is fitted."
        )
    return found
