"""Fitting an aggregator to survival, end to end."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedShuffleSplit

from sparra.errors import UserError
from sparra.memory import held_bytes
from sparra.models.aggregator import Aggregator
from sparra.models.registry import aggregators
from sparra.models.settings import AggregatorSettings
from sparra.models.threads import small_work_alone
from sparra.training.allocator import freed_memory_kept
from sparra.training.batching import PreparedCohort, training_batches
from sparra.training.checkpoint import Checkpoint, FitState, fit_key
from sparra.training.fitted import FittedAggregator, Member
from sparra.training.gradients import Objective, accumulate_gradients
from sparra.training.prediction import risk_spread
from sparra.training.scaling import FeatureScaler
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData, check_training_subjects, feature_dimensions


def fit_aggregator(
    name: str,
    aggregator_settings: AggregatorSettings,
    training_settings: TrainingSettings,
    subjects: Sequence[SubjectData],
    seed: int,
    checkpoint: Checkpoint | None = None,
) -> FittedAggregator:
    """Train one aggregator on `subjects`; scalers are fitted on them too.

    On the CPU equal seed, subjects, machine and thread count give equal weights; a GPU adds in no fixed order.
    torch's global generator is left as it was.

    Parameters
    ----------
    name : str
        Name in `sparra.models.registry.aggregators`.
    aggregator_settings : AggregatorSettings
        Of the class that the entry names.
    training_settings : TrainingSettings
    subjects : sequence of SubjectData
        Training subjects only. Modalities are those that any of them has.
    seed : int
        Of the initial weights, the shuffling, the dropout and the part kept back.
    checkpoint : Checkpoint, optional
        Where states are kept on the way. A fit that was cut off goes on from the last, and ends with the weights, bit
        for bit, of one that was not.

    Raises
    ------
    UserError
        If the subjects cannot be trained on, the loss stops being a number (names the epoch), or the checkpoint is
        another fit's.
    """
    check_training_subjects(subjects)
    entry = aggregators[name]
    dimensions = feature_dimensions(subjects)
    scalers = {modality: _scaler(subjects, modality) for modality in dimensions}
    dtype = torch.bfloat16 if training_settings.precision == "bfloat16" else torch.float32
    device = _device(training_settings.device)
    objective = _Data(
        PreparedCohort(subjects, scalers, dtype, _budget(training_settings)),
        torch.tensor([subject.time for subject in subjects], dtype=torch.float64, device=device),
        torch.tensor([subject.event for subject in subjects], dtype=torch.bool, device=device),
        dtype,
    )
    settings = _with_own_values(training_settings, aggregator_settings)
    if checkpoint is not None and not checkpoint.key:
        checkpoint = replace(checkpoint, key=_key(name, aggregator_settings, settings, seed, subjects))
    members = []
    for index in range(settings.ensemble or 1):
        member_seed = seed if index == 0 else int(np.random.SeedSequence([index, seed]).generate_state(1)[0])
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(member_seed)
            model = entry.build(dimensions, aggregator_settings).to(device)
            kept = None if checkpoint is None else checkpoint.of(f"member-{index}")
            with freed_memory_kept(), small_work_alone() if device.type == "cpu" else nullcontext():
                curve = _train(model, objective, settings, member_seed, kept)
        members.append(_member(model.eval(), objective, curve))
    first, *others = members
    return FittedAggregator(
        name,
        aggregator_settings,
        training_settings,
        seed,
        first.model,
        scalers,
        first.curve,
        tuple(others),
        first.scale,
    )


@dataclass(frozen=True)
class _Features(Iterable[NDArray[np.floating[Any]]]):
    """Node features of one modality, subject after subject, read anew each time they are gone through."""

    subjects: Sequence[SubjectData]
    modality: str

    def __iter__(self) -> Iterator[NDArray[np.floating[Any]]]:
        return (item.graphs[self.modality].features for item in self.subjects if self.modality in item.graphs)


def _scaler(subjects: Sequence[SubjectData], modality: str) -> FeatureScaler:
    """Fit a scaler; a value that is not finite, which would spoil everyone's features, is blamed on who has it."""
    with np.errstate(invalid="ignore"):
        scaler = FeatureScaler.fit(_Features(subjects, modality))
    if not np.isfinite(scaler.mean).all():
        for subject in subjects:
            if subject.has(modality) and not np.isfinite(subject.graphs[modality].features).all():
                where = f"{modality} graph of subject {subject.subject_id}"
                raise UserError("a node feature is NaN or infinite", where, "Extract the features again")
    return scaler


@dataclass(frozen=True)
class _Data:
    """The training subjects as tensors."""

    cohort: PreparedCohort
    time: torch.Tensor
    event: torch.Tensor
    dtype: torch.dtype


def _key(
    name: str,
    aggregator: AggregatorSettings,
    training: TrainingSettings,
    seed: int,
    subjects: Sequence[SubjectData],
) -> str:
    description = {
        "aggregator": name,
        "settings": aggregator.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "seed": seed,
        "subjects": [
            [
                item.subject_id,
                item.time,
                bool(item.event),
                {modality: list(item.size(modality)) for modality in item.graphs},
            ]
            for item in subjects
        ],
    }
    return fit_key(description, {"graphs": _digest_of_graphs(subjects)})


def _digest_of_graphs(subjects: Sequence[SubjectData]) -> bytes:
    """Digest what sizes do not tell: each node's features, and which nodes are joined."""
    digest = hashlib.sha256()
    for subject in subjects:
        for modality in subject.graphs:
            graph = subject.graphs[modality]
            digest.update(graph.features.tobytes())
            digest.update(graph.edge_index.tobytes())
    return digest.digest()


def _budget(training: TrainingSettings) -> int:
    return held_bytes(None if training.memory_gib is None else int(training.memory_gib * 2**30))


def _device(choice: str) -> torch.device:
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    if choice == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was asked for but there is none", mend="Set training.device to 'auto'")
    return torch.device(choice)


def _with_own_values(training: TrainingSettings, aggregator: AggregatorSettings) -> TrainingSettings:
    """Fill in what the aggregator decides itself: its weight decay, and its ensemble where none is asked for."""
    own: dict[str, float] = {"ensemble": training.ensemble or aggregator.ensemble}
    if aggregator.weight_decay is not None:
        own["weight_decay"] = aggregator.weight_decay
    return training.model_copy(update=own)


def _train(
    model: Aggregator, data: _Data, settings: TrainingSettings, seed: int, checkpoint: Checkpoint | None
) -> pd.DataFrame:
    """Train `model` in place and return its curve."""
    objective = Objective(model, data.cohort, data.time, data.event, settings.ties, data.dtype)
    training, kept_back = _parts(data.event.cpu(), settings.validation_share, seed)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
    )
    state = FitState(model, optimiser, torch.Generator().manual_seed(seed))
    saved = perf_counter()
    if checkpoint is not None:
        state.restore(checkpoint.folder, checkpoint.key)
    while len(state.rows) < settings.epochs and not _has_waited(state, settings.patience):
        _train_epoch(state, objective, settings, training)
        if kept_back:
            _judge_epoch(state, objective, settings, kept_back)
        if checkpoint is not None and perf_counter() - saved >= checkpoint.seconds:
            state.save(checkpoint.folder, checkpoint.key)
            saved = perf_counter()
    if kept_back:
        model.load_state_dict(state.best)
    return pd.DataFrame(state.rows)


def _parts(event: torch.Tensor, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the subjects to learn from and those kept back, stratified on the event."""
    everyone = list(range(len(event)))
    if share == 0:
        return everyone, []
    splitter = StratifiedShuffleSplit(1, test_size=share, random_state=seed % 2**32)
    try:
        training, kept_back = next(splitter.split(everyone, event.numpy()))
    except ValueError as error:
        raise UserError(
            f"no share of {share} of {len(event)} subjects can be kept back ({error})",
            mend="Change training.validation_share, or set it to 0",
        ) from None
    if not bool(event[kept_back].any()) or not bool(event[training].any()) or len(training) < 2:
        raise UserError(
            "the subjects kept back, or those left to learn from, had no event",
            mend="Change training.validation_share, or set it to 0",
        )
    return sorted(training.tolist()), sorted(kept_back.tolist())


def _has_waited(state: FitState, patience: int | None) -> bool:
    return patience is not None and state.best_epoch >= 0 and len(state.rows) - 1 - state.best_epoch >= patience


def _batches(
    event: torch.Tensor, training: Sequence[int], settings: TrainingSettings, shuffle: torch.Generator
) -> Iterator[list[int]]:
    if settings.risk_set == "cohort":
        yield list(training)
        return
    for batch in training_batches(event[list(training)], settings.batch_size, shuffle):
        yield [training[index] for index in batch]


def learning_rate(settings: TrainingSettings, epoch: int) -> float:
    """Return the cosine schedule's rate in an epoch counted from 0."""
    share = 0.5 * (1.0 + math.cos(math.pi * epoch / settings.epochs))
    return settings.minimum_learning_rate + (settings.learning_rate - settings.minimum_learning_rate) * share


def _train_epoch(state: FitState, objective: Objective, settings: TrainingSettings, training: Sequence[int]) -> None:
    epoch = len(state.rows)
    rate = learning_rate(settings, epoch)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    objective.model.train()
    totals: dict[str, list[float]] = defaultdict(list)
    for batch in _batches(objective.event.cpu(), training, settings, state.shuffle):
        state.optimiser.zero_grad(set_to_none=True)
        losses = accumulate_gradients(objective, batch, settings.chunk_size or settings.batch_size)
        _require_finite(losses, epoch)
        if settings.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(objective.model.parameters(), settings.gradient_clip)
        state.optimiser.step()
        for term, value in losses.items():
            totals[term].append(value)
    means = {term: sum(values) / len(values) for term, values in totals.items()}
    state.rows.append({"epoch": epoch, "learning_rate": rate, **means})


def _require_finite(losses: Mapping[str, float], epoch: int) -> None:
    bad = [term for term, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise UserError(
            f"the loss or risk is no longer finite in epoch {epoch} ({', '.join(bad)})",
            mend="Lower training.learning_rate, or set training.gradient_clip",
        )


def _risks(objective: Objective, indices: Sequence[int], chunk_size: int) -> torch.Tensor:
    objective.model.eval()
    chunks = [indices[start : start + chunk_size] for start in range(0, len(indices), chunk_size)]
    with torch.no_grad():
        return torch.cat([objective.forward(chunk, chunk).risk for chunk in chunks])


def _judge_epoch(state: FitState, objective: Objective, settings: TrainingSettings, kept_back: Sequence[int]) -> None:
    """Note the loss of the subjects kept back, and the weights where it is the lowest so far."""
    risk = _risks(objective, kept_back, settings.chunk_size or settings.batch_size)
    loss = float(objective.cox(risk, kept_back))
    _require_finite({"validation": loss}, len(state.rows) - 1)
    state.rows[-1]["validation"] = loss
    if loss < state.best_loss:
        state.best_loss, state.best_epoch = loss, len(state.rows) - 1
        state.best = {name: value.detach().clone() for name, value in state.model.state_dict().items()}


def _member(model: Aggregator, data: _Data, curve: pd.DataFrame) -> Member:
    """Return a trained model with mean and spread of its risk over the training subjects."""
    objective = Objective(model, data.cohort, data.time, data.event, "efron", data.dtype)
    risk = _risks(objective, range(data.cohort.n_subjects), 32).double()
    # The losses are those before each step: what the last one spoilt shows nowhere else.
    _require_finite({"risk": float(risk.sum())}, len(curve) - 1)
    return Member(model, curve, (float(risk.mean()), risk_spread(risk.cpu().numpy())))
