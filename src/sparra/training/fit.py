"""Fitting an aggregator to survival, end to end."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from sparra.errors import UserError
from sparra.models.aggregator import Aggregator
from sparra.models.cox import Ties, negative_log_partial_likelihood
from sparra.models.registry import aggregators
from sparra.models.settings import AggregatorSettings
from sparra.training.batching import PreparedCohort, training_batches
from sparra.training.fitted import FittedAggregator
from sparra.training.scaling import FeatureScaler
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData, check_training_subjects, feature_dimensions


def fit_aggregator(
    name: str,
    aggregator_settings: AggregatorSettings,
    training_settings: TrainingSettings,
    subjects: Sequence[SubjectData],
    seed: int,
) -> FittedAggregator:
    """Train one aggregator on `subjects`; scalers are fitted on them too.

    Equal seed, subjects, machine and thread count give equal weights; torch's global generator is left as it
    was.

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
        Of the initial weights, the shuffling and the dropout.

    Raises
    ------
    UserError
        If the subjects cannot be trained on, or the loss stops being a number (names the epoch).
    """
    check_training_subjects(subjects)
    entry = aggregators[name]
    dimensions = feature_dimensions(subjects)
    scalers = {
        modality: FeatureScaler.fit(item.graphs[modality].features for item in subjects if modality in item.graphs)
        for modality in dimensions
    }
    cohort = PreparedCohort.of(subjects, scalers)
    device = _device(training_settings.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = entry.build(dimensions, aggregator_settings).to(device)
        curve = _train(model, cohort, subjects, _with_weight_decay(training_settings, aggregator_settings), seed)
    model.eval()
    return FittedAggregator(name, aggregator_settings, training_settings, seed, model, scalers, curve)


def _device(choice: str) -> torch.device:
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    if choice == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was asked for but there is none", mend="Set training.device to 'auto'")
    return torch.device(choice)


def _with_weight_decay(training: TrainingSettings, aggregator: AggregatorSettings) -> TrainingSettings:
    if aggregator.weight_decay is None:
        return training
    return training.model_copy(update={"weight_decay": aggregator.weight_decay})


def _train(
    model: Aggregator,
    cohort: PreparedCohort,
    subjects: Sequence[SubjectData],
    settings: TrainingSettings,
    seed: int,
) -> pd.DataFrame:
    device = next(model.parameters()).device
    time = torch.tensor([subject.time for subject in subjects], dtype=torch.float64, device=device)
    event = torch.tensor([subject.event for subject in subjects], dtype=torch.bool)
    event_there = event.to(device)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, T_max=settings.epochs, eta_min=settings.minimum_learning_rate
    )
    generator = torch.Generator().manual_seed(seed)
    rows = []
    model.train()
    for epoch in range(settings.epochs):
        totals: dict[str, list[float]] = defaultdict(list)
        for batch in training_batches(event, settings.batch_size, generator):
            graphs = cohort.collate(batch, device)
            losses = _losses(model, graphs, time[batch], event_there[batch], settings.ties)
            _step(model, optimiser, losses, settings.gradient_clip, epoch)
            for term, value in losses.items():
                totals[term].append(float(value.detach()))
        means = {term: sum(values) / len(values) for term, values in totals.items()}
        rows.append({"epoch": epoch, "learning_rate": optimiser.param_groups[0]["lr"], **means})
        schedule.step()
    return pd.DataFrame(rows)


def _losses(
    model: Aggregator, graphs: Mapping[str, object], time: Tensor, event: Tensor, ties: Ties
) -> dict[str, Tensor]:
    """Return the Cox term a subject, the penalties, and their sum."""
    output = model(graphs)
    cox = negative_log_partial_likelihood(output.risk, time, event, ties) / len(time)
    terms = {"cox": cox, **output.penalties}
    return {"total": torch.stack(list(terms.values())).sum(), **terms}


def _step(
    model: Aggregator,
    optimiser: torch.optim.Optimizer,
    losses: Mapping[str, Tensor],
    gradient_clip: float | None,
    epoch: int,
) -> None:
    bad = [term for term, value in losses.items() if not bool(torch.isfinite(value))]
    if bad:
        raise UserError(
            f"the loss is no longer finite in epoch {epoch} ({', '.join(bad)})",
            mend="Lower training.learning_rate, or set training.gradient_clip",
        )
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(losses["total"])
    if gradient_clip is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
    optimiser.step()
