"""Embeddings of training subjects by models that never saw them."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from sparra.errors import UserError
from sparra.models.registry import aggregators
from sparra.models.settings import AggregatorSettings
from sparra.training.checkpoint import Checkpoint
from sparra.training.fit import fit_aggregator
from sparra.training.fitted import FittedAggregator, Predictions
from sparra.training.prediction import risk_spread
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
    checkpoint: Checkpoint | None = None,
) -> CrossFitted:
    """Embed each training subject by a model trained on the other inner folds.

    A second-stage model fitted on embeddings that the network learned from the same labels would trust them
    too much. The embeddings of separately trained networks are not comparable, though: any rotation of the
    hidden space serves the loss as well. So every inner model starts from the outer model's initial weights
    (the same seed), and its embedding is turned onto the outer model's, modality by modality, by the
    orthogonal Procrustes rotation that fits best on the subjects both were trained on; no label enters.
    Where those subjects do not determine the rotation, it stays at the identity. Risks are brought to the
    outer model's mean and standard deviation over the same subjects, since a Cox risk has no origin of its
    own. Inner models are single ones even where the outer model is an ensemble. An embedding without
    parameters (``mean``) needs none of this: the outer model's is returned, with cross-fitted risks.

    Parameters
    ----------
    name, aggregator_settings, training_settings, subjects, seed
        As for :func:`sparra.training.fit.fit_aggregator`.
    inner_folds : int
        Stratified on the event and the modalities that a subject has.
    outer : FittedAggregator, optional
        The model trained on all `subjects` with the same arguments; trained here if not given.
    checkpoint : Checkpoint, optional
        Where states of the inner fits, each in a folder of its own, are kept on the way.

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
    # The embedding is the first model's, so an inner ensemble would cost much and serve the scaled risk alone.
    single = training_settings.model_copy(update={"ensemble": 1})
    target = outer.predict(subjects, with_importance=False)
    embedding, present = target.embedding.copy(), target.present.copy()
    risk = np.full(len(subjects), target.risk.mean())
    for fold, (inside, held_out) in enumerate(_stratified(_strata(subjects, inner_folds), inner_folds, seed)):
        training = [subjects[index] for index in inside]
        kept = None if checkpoint is None else checkpoint.of(f"inner-{fold}")
        inner = fit_aggregator(name, aggregator_settings, single, training, seed, kept)
        # A rare modality may be absent from an inner training part: whoever has no other cannot be predicted.
        known = np.array([any(subject.has(m) for m in inner.scalers) for subject in subjects])
        rows = np.flatnonzero(known)
        guess = inner.predict([subjects[int(index)] for index in rows], with_importance=False)
        place = np.cumsum(known) - 1
        learnt, seen = place[inside], place[held_out[known[held_out]]]
        risk[rows[seen]] = _on_scale_of(guess.risk, target.risk[rows], learnt)[seen]
        if aggregators[name].learned_embedding:
            of_known = Predictions(target.embedding[rows], target.present[rows], target.risk[rows], [])
            present[held_out] = False
            moved, there = _aligned(guess, of_known, learnt, seen, inner, outer)
            embedding[rows[seen]], present[rows[seen]] = moved, there
    return CrossFitted(np.where(present, embedding, 0).astype(np.float32), present, risk)


def _strata(subjects: Sequence[SubjectData], n_folds: int) -> NDArray[np.str_]:
    """Return event and modalities of each subject; strata too rare to share out are joined by event alone."""
    full = [f"{subject.event} {sorted(filter(subject.has, subject.graphs))}" for subject in subjects]
    counts = Counter(full)
    by_event = [str(subject.event) for subject in subjects]
    names = [name if counts[name] > 1 else event for name, event in zip(full, by_event, strict=True)]
    # scikit-learn refuses strata of which none has a member for every fold; of the events there are enough.
    return np.array(names if max(Counter(names).values()) >= n_folds else by_event)


def _stratified(
    strata: NDArray[np.str_], n_folds: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    with warnings.catch_warnings():
        # Fewer censored subjects than folds is no harm: only events carry the Cox loss.
        warnings.filterwarnings("ignore", message="The least populated class")
        yield from StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(strata, strata)


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


def _aligned(
    guess: Predictions,
    target: Predictions,
    learnt: NDArray[np.intp],
    held_out: NDArray[np.intp],
    inner: FittedAggregator,
    outer: FittedAggregator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the held-out embeddings in the outer model's space and which of their columns are known."""
    width = target.embedding.shape[1]
    aligned = np.zeros((len(held_out), width), dtype=np.float32)
    present = np.zeros((len(held_out), width), dtype=bool)
    inner_columns, outer_columns = _columns(inner), _columns(outer)
    for modality, there in outer_columns.items():
        if modality not in inner_columns:
            continue
        here = inner_columns[modality]
        both = learnt[target.present[learnt, there.start]]
        rows = target.present[held_out, there.start]
        source, reference = guess.embedding[both, here], target.embedding[both, there]
        rotation = procrustes_rotation(source - source.mean(axis=0), reference - reference.mean(axis=0))
        moved = (guess.embedding[held_out, here] - source.mean(axis=0)) @ rotation + reference.mean(axis=0)
        aligned[rows, there] = moved[rows]
        present[rows, there] = True
    return aligned, present


def _columns(model: FittedAggregator) -> dict[str, slice]:
    """Return the columns of the embedding that each modality fills."""
    ends = np.cumsum(list(model.model.embedding_sizes.values()))
    return {
        modality: slice(int(end) - size, int(end))
        for (modality, size), end in zip(model.model.embedding_sizes.items(), ends, strict=True)
    }


def _on_scale_of(
    risk: NDArray[np.float64], reference: NDArray[np.float64], inside: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Shift and stretch `risk` to the reference's mean and standard deviation over the subjects `inside`."""
    stretch = reference[inside].std() / risk_spread(risk[inside])
    aligned: NDArray[np.float64] = (risk - risk[inside].mean()) * stretch + reference[inside].mean()
    return aligned
