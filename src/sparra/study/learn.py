"""From graphs to embeddings: folds, and every aggregator trained on every fold."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sparra.cohort.problems import Problem
from sparra.cohort.splits import Folds, read_folds
from sparra.errors import UserError
from sparra.files import atomic_path
from sparra.graphs.store import GraphFiles
from sparra.maps.out_of_fold import importance_key, spread_key
from sparra.study.layout import StudyLayout
from sparra.study.pool import Item, Track, run_items
from sparra.study.resume import forget, states_in
from sparra.study.settings import MethodModality, StudySettings
from sparra.study.sidecar import Key, begin, is_current, make_key, mark_done
from sparra.study.stages import GraphIndex
from sparra.training.checkpoint import Checkpoint
from sparra.training.crossfit import CrossFitted, cross_fitted_embeddings
from sparra.training.fit import fit_aggregator
from sparra.training.fitted import FittedAggregator, Predictions
from sparra.training.subjects import SubjectData

# Draws of the posterior behind the standard deviations of importance, whose own error is then about 12 %.
SPREAD_DRAWS = 32


@dataclass(frozen=True)
class Method:
    """One aggregator on one choice of modalities, in one fold.

    Attributes
    ----------
    modality : {"ct", "slide", "joint"}
    aggregator : str
    fold : int
        Place among all folds of all repeats, from 0.
    """

    modality: MethodModality
    aggregator: str
    fold: int

    def __str__(self) -> str:
        return f"{self.aggregator} on {self.modality}, fold {self.fold}"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities whose graphs it takes."""
        return ("ct", "slide") if self.modality == "joint" else (self.modality,)

    def seed(self, study_seed: int) -> int:
        """Return this method's own seed, independent of the order in which methods run."""
        text = f"{study_seed}/{self.modality}/{self.aggregator}/{self.fold}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def modalities_of(settings: StudySettings, available: Collection[str]) -> list[MethodModality]:
    """Return the study's modalities that can be trained on: those with images, joint where both have some."""
    return [
        m
        for m in settings.methods.modalities
        if (set(available) >= {"ct", "slide"} if m == "joint" else m in available)
    ]


def methods_of(settings: StudySettings, index: GraphIndex, folds: Folds) -> list[Method]:
    """Return every method of a study in every fold.

    Raises
    ------
    UserError
        If the study asks only for modalities of which no subject has an image.
    """
    available = {modality for graphs in index.values() for modality in graphs}
    modalities = modalities_of(settings, available)
    if not modalities:
        asked, there = ", ".join(settings.methods.modalities), ", ".join(sorted(available))
        raise UserError(f"the study asks for {asked}, but has only {there}", "methods.modalities", f"Set [{there}]")
    return [
        Method(modality, aggregator, fold)
        for modality in modalities
        for aggregator in settings.methods.aggregators
        for fold in range(len(folds))
    ]


def train_methods(
    settings: StudySettings,
    layout: StudyLayout,
    index_path: Path,
    index: GraphIndex,
    folds: Folds,
    track: Track,
) -> list[Problem]:
    """Train every method in every fold that is not up to date."""
    items = [
        Item("", str(method), (settings, layout, index_path, index, method))
        for method in methods_of(settings, index, folds)
        if not is_trained(settings, layout, index_path, method)
    ]
    return run_items("train", train_method, items, settings.n_workers, track)


def is_trained(settings: StudySettings, layout: StudyLayout, index_path: Path, method: Method) -> bool:
    """Tell whether a method's model is complete and made from the present graphs, folds and settings."""
    folder = layout.model(method.modality, method.aggregator, method.fold)
    return is_current(folder, "train", _training_inputs(layout, index_path), _training_parameters(settings, method))


def training_key(settings: StudySettings, layout: StudyLayout, index_path: Path, method: Method) -> Key:
    """Return what a method's model is made from."""
    return make_key("train", _training_inputs(layout, index_path), _training_parameters(settings, method))


def _training_inputs(layout: StudyLayout, index_path: Path) -> dict[str, Path]:
    return {"graphs": index_path, "subjects": layout.subjects, "folds": layout.folds}


def _training_parameters(settings: StudySettings, method: Method) -> dict[str, Any]:
    return {
        "method": str(method),
        "aggregator": settings.aggregator_settings(method.aggregator).model_dump(mode="json"),
        "training": settings.training.model_dump(mode="json"),
        "cross_fit_folds": settings.methods.cross_fit_folds,
        "protocol": settings.protocol,
        "seed": settings.seed,
    }


def train_method(
    settings: StudySettings, layout: StudyLayout, index_path: Path, index: GraphIndex, method: Method
) -> None:
    """Train one method in one fold; write model, embeddings and importance, and the sidecar last.

    A training that was cut off goes on from the last states of its networks.
    """
    key = training_key(settings, layout, index_path, method)
    folder = layout.model(method.modality, method.aggregator, method.fold)
    begin(folder)
    states = states_in(folder / "checkpoint", key)
    train, test, in_network = _load_parts(layout, index, method)
    fitted, crossed = _fit(settings, method, train, in_network, states)
    predicted = fitted.predict(test, SPREAD_DRAWS if fitted.tells_spread else 0)
    fitted.save(folder)
    embeddings = {
        "train": np.where(crossed.present, crossed.embedding, np.nan).astype(np.float32),
        "test": np.where(predicted.present, predicted.embedding, np.nan).astype(np.float32),
        "train_risk": np.asarray(crossed.risk, dtype=np.float64),
        "test_risk": predicted.risk,
    }
    _write_tensors(folder / "embeddings.safetensors", embeddings)
    _write_tensors(folder / "importance.safetensors", _importance_by_key(test, predicted))
    forget(states)
    mark_done(folder, key)


def _fit(
    settings: StudySettings, method: Method, train: list[SubjectData], in_network: set[str], states: Checkpoint
) -> tuple[FittedAggregator, CrossFitted | Predictions]:
    """Return the network and what it, or networks that did not see them, say of the training part.

    In the protocol ``paper`` the network is fitted without the fold's ``valid`` share, and the survival models
    get its embeddings of the very patients that it was fitted to.
    """
    name, own, seed = method.aggregator, settings.aggregator_settings(method.aggregator), method.seed(settings.seed)
    outer = states.of("outer")
    if settings.protocol == "paper":
        learnt_from = [subject for subject in train if subject.subject_id in in_network]
        fitted = fit_aggregator(name, own, settings.training, learnt_from, seed, outer)
        return fitted, fitted.predict(train, with_importance=False)
    fitted = fit_aggregator(name, own, settings.training, train, seed, outer)
    n_folds = inner_folds(train, settings.methods.cross_fit_folds)
    return fitted, cross_fitted_embeddings(name, own, settings.training, train, seed, n_folds, fitted, states)


def inner_folds(subjects: Sequence[SubjectData], wanted: int) -> int:
    """Return how many folds the events allow, at least 2."""
    return max(2, min(wanted, sum(subject.event for subject in subjects)))


def _importance_by_key(subjects: Sequence[SubjectData], predicted: Predictions) -> dict[str, NDArray[np.float32]]:
    tensors = {
        importance_key(modality, subject.subject_id): weights
        for subject, importance in zip(subjects, predicted.importance, strict=True)
        for modality, weights in importance.items()
    }
    spreads = predicted.importance_sd or [{} for _ in subjects]
    tensors |= {
        spread_key(modality, subject.subject_id): deviations
        for subject, spread in zip(subjects, spreads, strict=True)
        for modality, deviations in spread.items()
    }
    return tensors


def _write_tensors(path: Path, tensors: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary))


def _load_parts(
    layout: StudyLayout, index: GraphIndex, method: Method
) -> tuple[list[SubjectData], list[SubjectData], set[str]]:
    """Return the training part, the test part and the ids that the network is fitted to."""
    fold = list(read_folds(layout.folds))[method.fold]
    follow_up = read_follow_up(layout)
    train, test = (
        [load_subject(layout, index, method, name, follow_up) for name in subjects_with_graph(index, method, part)]
        for part in (fold.train, fold.test)
    )
    if not train or not test:
        raise UserError(f"a part of the fold holds no subject with {method.modality}", str(method))
    return train, test, set(fold.network_train)


def subjects_with_graph(index: GraphIndex, method: Method, names: Sequence[str]) -> list[str]:
    """Return those of `names` that have a graph of any of the method's modalities."""
    return [name for name in names if any(modality in index.get(name, {}) for modality in method.modalities)]


def load_subject(
    layout: StudyLayout, index: GraphIndex, method: Method, name: str, follow_up: pd.DataFrame
) -> SubjectData:
    """Return one subject with its graphs of the method's modalities, which are read when they are used."""
    graphs = GraphFiles({m: layout.root / path for m, path in index[name].items() if m in method.modalities})
    return SubjectData(name, graphs, float(follow_up["time"][name]), bool(follow_up["event"][name]))


def read_follow_up(layout: StudyLayout) -> pd.DataFrame:
    """Return time and event of the study's subjects, indexed by subject_id."""
    table = pd.read_csv(layout.subjects, dtype={"subject_id": str}, keep_default_na=False)
    return table.set_index("subject_id")[["time", "event"]].astype({"time": float, "event": bool})
