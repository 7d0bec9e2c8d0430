"""What every aggregator takes and gives."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from sparra.models.threads import consecutive


class GraphBatch:
    """Graphs of one modality for a batch of B subjects, as one disconnected graph.

    Parameters
    ----------
    features : Tensor, shape (n_nodes, n_features), or sequence of Tensor with n_nodes rows in all
        Standardised node features of all subjects that have this modality, one subject after the other. A
        sequence is joined only if an aggregator asks for ``features``.
    edge_index : Tensor of int64, shape (2, n_edges)
        Indices into the nodes of this batch; both directions, no self-loops.
    subject : Tensor of int64, shape (n_nodes,)
        Index in [0, B) of the subject each node belongs to, non-decreasing. A subject that lacks the modality
        owns no node.
    n_subjects : int
        B, the number of subjects of the whole batch, equal over modalities.
    whole : Tensor of int64, shape (n,), optional
        Where this batch is a chunk of a larger one: the number of nodes of each of that one's n subjects.
        Penalties of its chunks then add up to those of the larger batch.
    """

    def __init__(
        self,
        features: Tensor | Sequence[Tensor],
        edge_index: Tensor,
        subject: Tensor,
        n_subjects: int,
        whole: Tensor | None = None,
    ) -> None:
        self.parts = (features,) if isinstance(features, Tensor) else tuple(features)
        self.edge_index = edge_index
        self.subject = subject
        self.n_subjects = n_subjects
        self._whole = whole

    @cached_property
    def features(self) -> Tensor:
        """Features of all nodes as one tensor, shape (n_nodes, n_features)."""
        return self.parts[0] if len(self.parts) == 1 else torch.cat(self.parts)

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.subject)

    @property
    def n_features(self) -> int:
        """Number of features of a node."""
        return self.parts[0].shape[1]

    @property
    def counts(self) -> Tensor:
        """Nodes of each subject, shape (B,)."""
        return torch.bincount(self.subject, minlength=self.n_subjects)

    @property
    def whole(self) -> Tensor:
        """Nodes of each subject of the batch that this one is a chunk of; its own where it is none."""
        return self.counts if self._whole is None else self._whole

    def groups(self, most_nodes: int) -> Iterator["GraphBatch"]:
        """Cut the batch between subjects into groups of at most `most_nodes` nodes, or of one subject that has more.

        Features are not copied. Each group numbers its nodes from 0, and the subjects as the batch does.
        """
        counts = self.counts.tolist()
        ranges = consecutive(counts, most_nodes)
        if len(ranges) < 2:
            yield self
            return
        ends = list(accumulate(sum(counts[subject] for subject in members) for members in ranges))
        edges = self.edge_index
        if not bool((edges[0, 1:] >= edges[0, :-1]).all()):
            edges = edges[:, torch.argsort(edges[0], stable=True)]
        cuts = torch.searchsorted(edges[0].contiguous(), torch.tensor([0, *ends], device=edges.device)).tolist()
        for (start, end), (first, last) in zip(pairwise([0, *ends]), pairwise(cuts), strict=True):
            inside = edges[:, first:last] - start
            yield GraphBatch(self._rows(start, end), inside, self.subject[start:end], self.n_subjects)

    def _rows(self, start: int, end: int) -> list[Tensor]:
        """Return rows [start, end) of the features, in the parts that they come in."""
        rows, first = [], 0
        for part in self.parts:
            if first < end and first + len(part) > start:
                rows.append(part[max(0, start - first) : end - first])
            first += len(part)
        return rows or [self.parts[0][:0]]

    def parts_of(self, index: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return each part with the rows of it that `index` (ascending) names among all nodes."""
        ends = torch.tensor([len(part) for part in self.parts], device=index.device).cumsum(0)
        split = torch.searchsorted(index, ends).tolist()
        bounds = zip(self.parts, [0, *ends.tolist()[:-1]], [0, *split[:-1]], split, strict=True)
        return [(part, index[first:last] - start) for part, start, first, last in bounds if last > first]


@dataclass(frozen=True)
class Aggregation:
    """What an aggregator returns for a batch of B subjects.

    Attributes
    ----------
    embedding : Tensor, shape (B, n_embedding)
        Aggregated vector of each subject, modalities side by side; zero where a subject lacks a modality.
    risk : Tensor, shape (B,)
        Log partial hazard, higher = worse.
    importance : mapping of modality to Tensor, each of shape (n_nodes,)
        Weight of every node of that modality's batch, summing to one over the nodes of a subject.
    penalties : mapping of str to Tensor
        Named scalar terms to be added to the Cox loss, already weighted (e.g. ``kl``, ``reconstruction``). Where
        the batch is a chunk, its share of the larger batch's.
    """

    embedding: Tensor
    risk: Tensor
    importance: Mapping[str, Tensor]
    penalties: Mapping[str, Tensor] = field(default_factory=dict)
