"""Embeddings of training subjects by models that never saw them."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from sparra.errors import UserError
from sparra.models.registry import aggregators
from sparra.models.settings import AggregatorSettings
from sparra.training.fit import fit_aggregator
from sparra.training.fitted import FittedAggregator, Predictions
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData

# Pull of the rotation towards the identity, as a share of the mean overlap of the two embeddings' columns.
IDENTITY_PULL = 1e-3


@dataclass(frozen=True)
class CrossFitted:
    """Out-of-fold embeddings of the training subjects; fields as in `Predictions`.

    Attributes
    ----------
    embedding : ndarray of float32, shape (n, n_embedding)
    present : ndarray of bool, shape (n, n_embedding)
    risk : ndarray of float64, shape (n,)
    """

    embedding: NDArray[np.float32]
    present: NDArray[np.bool_]
    risk: NDArray[np.float64]


def cross_fitted_embeddings(
    name: str,
    aggregator_settings: AggregatorSettings,
    training_settings: TrainingSettings,
    subjects: Sequence[SubjectData],
    seed: int,
    inner_folds: int = 3,
    outer: FittedAggregator | None = None,
) -> CrossFitted:
    """Embed each training subject by a model trained on the other inner folds.

    A second-stage model fitted on embeddings that the network learned from the same labels would trust them
    too much. The embeddings of separately trained networks are not comparable, though: any rotation of the
    hidden space serves the loss as well. So every inner model starts from the outer model's initial weights
    (the same seed), and its embedding is turned onto the outer model's, modality by modality, by the
    orthogonal Procrustes rotation that fits best on the subjects both were trained on; no label enters.
    Where those subjects do not determine the rotation, it stays at the identity. Risks are brought to the
    outer model's mean and standard deviation over the same subjects, since a Cox risk has no origin of its
    own. An embedding without parameters (``mean``) needs none of this: the outer model's is returned, with
    cross-fitted risks.

    Parameters
    ----------
    name, aggregator_settings, training_settings, subjects, seed
        As for :func:`sparra.training.fit.fit_aggregator`.
    inner_folds : int
        Stratified on the event.
    outer : FittedAggregator, optional
        The model trained on all `subjects` with the same arguments; trained here if not given.

    Raises
    ------
    UserError
        If fewer subjects had the event than there are folds.
    """
    event = np.array([subject.event for subject in subjects])
    if event.sum() < inner_folds:
        raise UserError(
            f"{inner_folds} inner folds need as many subjects with the event, there are {event.sum()}",
            mend="Use fewer folds, or collect more follow-up",
        )
    if outer is None:
        outer = fit_aggregator(name, aggregator_settings, training_settings, subjects, seed)
    target = outer.predict(subjects)
    embedding, risk = np.zeros_like(target.embedding), np.zeros_like(target.risk)
    for inside, held_out in _stratified(event, inner_folds, seed):
        training = [subjects[index] for index in inside]
        inner = fit_aggregator(name, aggregator_settings, training_settings, training, seed)
        _require_same_modalities(inner, outer)
        guess = inner.predict(subjects)
        embedding[held_out] = _aligned(guess, target, inside, held_out, outer.model.embedding_sizes)
        risk[held_out] = _on_scale_of(guess.risk, target.risk, inside)[held_out]
    if not aggregators[name].learned_embedding:
        embedding = target.embedding
    return CrossFitted(embedding, target.present, risk)


def _stratified(
    event: NDArray[np.bool_], n_folds: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    with warnings.catch_warnings():
        # Fewer censored subjects than folds is no harm: only events carry the Cox loss.
        warnings.filterwarnings("ignore", message="The least populated class")
        yield from StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(event, event)


def procrustes_rotation(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    r"""Return the orthogonal R that minimises :math:`\|A R - B\|` (Schönemann 1966), the identity where free.

    Parameters
    ----------
    source, target : ndarray, shape (n, h)
        Centred embeddings A and B of the same subjects.
    """
    overlap = source.T.astype(np.float64) @ target.astype(np.float64)
    pull = IDENTITY_PULL * np.linalg.norm(overlap, "nuc") / len(overlap)
    left, _, right = np.linalg.svd(overlap + max(pull, np.finfo(np.float64).tiny) * np.eye(len(overlap)))
    return np.asarray(left @ right)


def _require_same_modalities(inner: FittedAggregator, outer: FittedAggregator) -> None:
    if inner.feature_dims != outer.feature_dims:
        raise UserError(
            f"an inner fold has only {', '.join(inner.feature_dims)} of {', '.join(outer.feature_dims)}",
            mend="Too few subjects have the other modality: use fewer inner folds or leave that modality out",
        )


def _aligned(
    guess: Predictions,
    target: Predictions,
    inside: NDArray[np.intp],
    held_out: NDArray[np.intp],
    sizes: Mapping[str, int],
) -> NDArray[np.float32]:
    """Return the held-out embeddings in the outer model's space, zero where a modality is missing."""
    aligned = np.zeros((len(held_out), guess.embedding.shape[1]), dtype=np.float32)
    start = 0
    for size in sizes.values():
        columns = slice(start, start + size)
        start += size
        both = inside[target.present[inside, columns.start]]
        rows = target.present[held_out, columns.start]
        source = guess.embedding[both, columns]
        reference = target.embedding[both, columns]
        rotation = procrustes_rotation(source - source.mean(axis=0), reference - reference.mean(axis=0))
        moved = (guess.embedding[held_out, columns] - source.mean(axis=0)) @ rotation + reference.mean(axis=0)
        aligned[rows, columns] = moved[rows]
    return aligned


def _on_scale_of(
    risk: NDArray[np.float64], reference: NDArray[np.float64], inside: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Shift and stretch `risk` to the reference's mean and standard deviation over the subjects `inside`."""
    spread = risk[inside].std()
    stretch = reference[inside].std() / spread if spread > 0 else 1.0
    aligned: NDArray[np.float64] = (risk - risk[inside].mean()) * stretch + reference[inside].mean()
    return aligned
