"""Kept nodes of one modality with their q(s), and how those of groups of subjects are put together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparra.models.layers import PooledNodes


@dataclass(frozen=True)
class KeptNodes:
    """What the two poolings leave of one modality.

    Attributes
    ----------
    stages : tuple of PooledNodes
        First and second pooling; the first without its features, which would be held until the batch is done.
    kept : Tensor of int64, shape (n_kept,)
        Indices into the nodes of the batch.
    branch : Tensor, shape (n_kept, n_hidden), or None
        Their features before the graph, branch(X), where the model uses them.
    """

    stages: tuple[PooledNodes, PooledNodes]
    kept: Tensor
    branch: Tensor | None


@dataclass(frozen=True)
class ModalityPosterior:
    """Kept nodes of one modality and their posterior q(s) = N(mu, exp(log_variance)).

    Attributes
    ----------
    stages : tuple of PooledNodes
        First and second pooling; the first without its features.
    kept : Tensor of int64, shape (n_kept,)
        Indices into the nodes of the batch.
    values : Tensor, shape (n_kept, n_embedding)
        What the gate averages: f_pool(X) or branch(X).
    mu, log_variance : Tensor, shape (n_kept,)
    """

    stages: tuple[PooledNodes, PooledNodes]
    kept: Tensor
    values: Tensor
    mu: Tensor
    log_variance: Tensor

    @property
    def subject(self) -> Tensor:
        """Subject of each kept node."""
        return self.stages[1].subject


def joined(parts: Sequence[KeptNodes], sizes: Sequence[int]) -> KeptNodes:
    """Put the kept nodes of a batch's groups (`GraphBatch.groups`) of `sizes` nodes together, numbered as in it."""
    if len(parts) == 1:
        return parts[0]
    first = _joined_stage([part.stages[0] for part in parts], sizes)
    second = _joined_stage([part.stages[1] for part in parts], [len(part.stages[0].kept) for part in parts])
    rows = [part.branch for part in parts if part.branch is not None]
    return KeptNodes(
        (first, second), torch.cat(_shifted([part.kept for part in parts], sizes)), torch.cat(rows) if rows else None
    )


def _joined_stage(parts: Sequence[PooledNodes], sizes: Sequence[int]) -> PooledNodes:
    """Join what a pooling left of groups of `sizes` nodes."""
    return PooledNodes(
        torch.cat([part.features for part in parts]),
        torch.cat(_shifted([part.edge_index for part in parts], [len(part.kept) for part in parts]), dim=1),
        torch.cat([part.subject for part in parts]),
        torch.cat(_shifted([part.kept for part in parts], sizes)),
        torch.cat([part.score for part in parts]),
    )


def _shifted(indices: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """Add to each the sum of the sizes before it."""
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    return [index + start for index, start in zip(indices, starts, strict=False)]
