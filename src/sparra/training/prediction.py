"""What trained models say of subjects, and how an ensemble's answers are joined."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.models.aggregator import Aggregator
from sparra.training.batching import PreparedCohort

PREDICTION_BATCH = 32
# Risks of float32 that differ by less, relative to the largest or to one, differ by rounding alone.
RISK_ROUNDING = 32 * float(np.finfo(np.float32).eps)
NodeValues = list[dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Predictions:
    """What a trained aggregator says of n subjects.

    Attributes
    ----------
    embedding : ndarray of float32, shape (n, n_embedding)
        Zero in the columns of a modality that a subject lacks.
    present : ndarray of bool, shape (n, n_embedding)
        False in those columns, so that a second stage can impute them.
    risk : ndarray of float64, shape (n,)
        Log partial hazard, higher = worse.
    importance : list of n mappings of modality to ndarray of float32, each of shape (n_nodes,)
        Weight of every node, summing to one over a subject's nodes of a modality.
    risk_sd : ndarray of float64, shape (n,), or None
        Standard deviation of the risk: under the posterior of s, and between the models of an ensemble; where the
        models have no posterior, between them alone.
    importance_sd : list as `importance`, or None
        That of every node's importance.
    """

    embedding: NDArray[np.float32]
    present: NDArray[np.bool_]
    risk: NDArray[np.float64]
    importance: NodeValues
    risk_sd: NDArray[np.float64] | None = None
    importance_sd: NodeValues | None = None


@dataclass(frozen=True)
class MemberPrediction:
    """What one model says of n subjects; fields as in `Predictions`."""

    embedding: NDArray[np.float32]
    risk: NDArray[np.float64]
    importance: NodeValues


def predict_member(model: Aggregator, cohort: PreparedCohort, with_importance: bool = True) -> MemberPrediction:
    """Run one model on all subjects; without importance its entries are empty."""
    device = next(model.parameters()).device
    model.eval()
    embeddings, risks = [], []
    importance: NodeValues = [{} for _ in range(cohort.n_subjects)]
    with torch.inference_mode():
        for start in range(0, cohort.n_subjects, PREDICTION_BATCH):
            indices = range(start, min(start + PREDICTION_BATCH, cohort.n_subjects))
            output = model(cohort.collate(indices, device))
            embeddings.append(output.embedding.float().cpu().numpy())
            risks.append(output.risk.double().cpu().numpy())
            for modality, weights in output.importance.items() if with_importance else ():
                counts = [cohort.counts[modality][index] for index in indices]
                for index, part in zip(indices, weights.float().cpu().split(counts), strict=True):
                    if len(part):
                        importance[index][modality] = part.numpy().copy()
    return MemberPrediction(np.concatenate(embeddings), np.concatenate(risks), importance)


def member_spread(
    model: Aggregator, cohort: PreparedCohort, seed: int, n_draws: int
) -> tuple[NDArray[np.float64], NodeValues]:
    """Return the posterior standard deviations of one model's risk and importance.

    Every subject is drawn for alone, with a generator of its own, so that its figures are its own.

    Raises
    ------
    UserError
        If the model has no posterior, or there are fewer than two draws.
    """
    if n_draws < 2:
        raise UserError(f"a standard deviation needs at least 2 draws, not {n_draws}")
    device = next(model.parameters()).device
    model.eval()
    risks = np.zeros(cohort.n_subjects)
    nodes: NodeValues = []
    with torch.inference_mode():
        for index in range(cohort.n_subjects):
            spread = model.spread(cohort.collate([index], device), torch.Generator().manual_seed(seed), n_draws)
            if spread is None:
                raise UserError(
                    "this aggregator has no posterior to draw from", mend="Leave uncertainty_draws at 0, or use sparra"
                )
            risks[index] = float(spread.risk)
            nodes.append({name: sd.float().cpu().numpy() for name, sd in spread.importance.items() if len(sd)})
    return risks, nodes


def member_draws(
    model: Aggregator, cohort: PreparedCohort, seed: int, n_draws: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
    """Return one model's embedding (K, n, n_embedding) and risk (K, n) at K posterior draws; None without a posterior.

    As in `member_spread` every subject is drawn for alone.
    """
    device = next(model.parameters()).device
    model.eval()
    embeddings, risks = [], []
    with torch.inference_mode():
        for index in range(cohort.n_subjects):
            drawn = model.draws(cohort.collate([index], device), torch.Generator().manual_seed(seed), n_draws)
            if drawn is None:
                return None
            embeddings.append(drawn.embedding.float().cpu().numpy())
            risks.append(drawn.risk.double().cpu().numpy())
    return np.concatenate(embeddings, axis=1), np.concatenate(risks, axis=1)


def combined(
    parts: Sequence[MemberPrediction],
    scales: Sequence[tuple[float, float]],
    spreads: Sequence[tuple[NDArray[np.float64], NodeValues]],
    present: NDArray[np.bool_],
    between_models: bool = False,
) -> Predictions:
    """Join the answers of an ensemble; a single model's risk stays on its own scale.

    Variances add: the mean of the models' posterior variances and the variance of their means. Without a posterior
    (`spreads` empty) the second alone is left, which `between_models` asks for.
    """
    if len(parts) == 1:
        risk_sd, importance_sd = spreads[0] if spreads else (None, None)
        return Predictions(parts[0].embedding, present, parts[0].risk, parts[0].importance, risk_sd, importance_sd)
    risks = np.stack([(part.risk - mean) / spread for part, (mean, spread) in zip(parts, scales, strict=True)])
    importance = [_mean_over_models([part.importance[index] for part in parts]) for index in range(len(present))]
    if not spreads and not between_models:
        return Predictions(parts[0].embedding, present, risks.mean(axis=0), importance)
    if not spreads:
        spreads = [_no_posterior(part) for part in parts]
    posterior = np.stack([sd / spread for (sd, _), (_, spread) in zip(spreads, scales, strict=True)])
    importance_sd = [
        _total_spread([part.importance[index] for part in parts], [nodes[index] for _, nodes in spreads])
        for index in range(len(present))
    ]
    risk_sd = np.sqrt((posterior**2).mean(axis=0) + risks.var(axis=0))
    return Predictions(parts[0].embedding, present, risks.mean(axis=0), importance, risk_sd, importance_sd)


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of one subject after the other."""
    first = parts[0]
    return Predictions(
        np.concatenate([part.embedding for part in parts]),
        np.concatenate([part.present for part in parts]),
        np.concatenate([part.risk for part in parts]),
        [nodes for part in parts for nodes in part.importance],
        None if first.risk_sd is None else np.concatenate([part.risk_sd for part in parts if part.risk_sd is not None]),
        None if first.importance_sd is None else [nodes for part in parts for nodes in part.importance_sd or []],
    )


def risk_spread(risk: NDArray[np.float64]) -> float:
    """Return the standard deviation of risks, by which others are scaled; 1 where they differ by rounding alone."""
    spread = float(risk.std())
    return spread if spread > RISK_ROUNDING * max(1.0, float(np.abs(risk).max())) else 1.0


def _no_posterior(part: MemberPrediction) -> tuple[NDArray[np.float64], NodeValues]:
    nodes = [{name: np.zeros_like(values) for name, values in subject.items()} for subject in part.importance]
    return np.zeros_like(part.risk), nodes


def _mean_over_models(values: Sequence[dict[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    return {name: np.mean([part[name] for part in values], axis=0, dtype=np.float32) for name in values[0]}


def _total_spread(
    means: Sequence[dict[str, NDArray[np.float32]]], deviations: Sequence[dict[str, NDArray[np.float32]]]
) -> dict[str, NDArray[np.float32]]:
    return {
        name: np.sqrt(
            np.mean([part[name].astype(np.float64) ** 2 for part in deviations], axis=0)
            + np.var([part[name].astype(np.float64) for part in means], axis=0)
        ).astype(np.float32)
        for name in means[0]
    }
