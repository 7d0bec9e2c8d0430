"""What every aggregator takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class GraphBatch:
    """Graphs of one modality for a batch of B subjects, as one disconnected graph.

    Attributes
    ----------
    features : Tensor, shape (n_nodes, n_features)
        Standardised node features of all subjects that have this modality, one subject after the other.
    edge_index : Tensor of int64, shape (2, n_edges)
        Indices into the nodes of this batch; both directions, no self-loops.
    subject : Tensor of int64, shape (n_nodes,)
        Index in [0, B) of the subject each node belongs to, non-decreasing. A subject that lacks the modality
        owns no node.
    n_subjects : int
        B, the number of subjects of the whole batch, equal over modalities.
    """

    features: Tensor
    edge_index: Tensor
    subject: Tensor
    n_subjects: int


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
        Named scalar terms to be added to the Cox loss, already weighted (e.g. ``kl``, ``reconstruction``).
    """

    embedding: Tensor
    risk: Tensor
    importance: Mapping[str, Tensor]
    penalties: Mapping[str, Tensor] = field(default_factory=dict)
