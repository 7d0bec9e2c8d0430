"""Importance of every node, those that were pooled away included."""

import torch
from torch import Tensor

from sparra.models.batch import GraphBatch
from sparra.models.layers import PooledNodes, segment_sum

# Nodes that were pooled away add nothing to the embedding: together they get at most this share of a subject.
DROPPED_SHARE = 0.01


def importance_of_all_nodes(
    gate: Tensor, kept: Tensor, stages: tuple[PooledNodes, PooledNodes], graph: GraphBatch
) -> Tensor:
    """Spread the gate over all nodes of a subject, ranking the pooled-away nodes by their pooling scores.

    A node kept by both poolings has its gate. A node dropped by the second pooling ranks below all kept
    nodes of its subject, a node dropped by the first below those, each by the score it was dropped with:
    ``rank = (stage + (score + 1) / 2) / 2`` in (0, 1), stage 0 or 1, times the smaller of the subject's
    lowest gate and `DROPPED_SHARE` divided by the number of dropped nodes. Then all are divided by the
    subject's sum.

    Parameters
    ----------
    gate : Tensor, shape (n_kept,)
    kept : Tensor of int64, shape (n_kept,)
        Indices of the kept nodes among all nodes of the batch.
    stages : tuple of PooledNodes
        First and second pooling.
    graph : GraphBatch

    Returns
    -------
    Tensor, shape (n_nodes,)
        Sums to one over the nodes of each subject.
    """
    first, second = stages
    n_nodes = graph.n_nodes
    stage_and_score = (first.score.detach() + 1.0) / 2.0
    stage_and_score[first.kept] = 1.0 + (second.score.detach() + 1.0) / 2.0
    # Strictly inside (0, 1), so that the best dropped node stays below the lowest kept one.
    rank = 0.001 + 0.998 * stage_and_score / 2.0
    is_kept = torch.zeros(n_nodes, dtype=torch.bool, device=gate.device)
    is_kept[kept] = True
    n_dropped = segment_sum((~is_kept).to(gate.dtype), graph.subject, graph.n_subjects)
    lowest = gate.new_full((graph.n_subjects,), torch.inf).scatter_reduce(0, graph.subject[kept], gate, "amin")
    ceiling = torch.minimum(lowest, DROPPED_SHARE / n_dropped.clamp(min=1.0))
    importance = rank * ceiling[graph.subject]
    importance[kept] = gate
    return importance / segment_sum(importance, graph.subject, graph.n_subjects)[graph.subject]


def smoothed_over_neighbours(importance: Tensor, graph: GraphBatch) -> Tensor:
    r"""Average over each node and its neighbours: :math:`(D + I)^{-1} (A + I) w`, then to a sum of one a subject.

    What carries a risk is larger than one node, while a single node's gate is noisy. A map for the eye and for
    localisation; the embedding uses the gate itself.

    Parameters
    ----------
    importance : Tensor, shape (n_nodes,)
    graph : GraphBatch

    Returns
    -------
    Tensor, shape (n_nodes,)
    """
    mean = neighbourhood_mean(importance, graph.edge_index)
    return mean / segment_sum(mean, graph.subject, graph.n_subjects)[graph.subject]


def neighbourhood_mean(values: Tensor, edge_index: Tensor) -> Tensor:
    r"""Return :math:`(D + I)^{-1} (A + I) x`: the mean over each node and its neighbours.

    Parameters
    ----------
    values : Tensor, shape (n_nodes,)
    edge_index : Tensor of int64, shape (2, n_edges)
        Both directions of every edge, no self-loops.
    """
    source, target = edge_index
    total = values.index_add(0, target, values[source])
    return total / (torch.bincount(target, minlength=len(values)) + 1)
