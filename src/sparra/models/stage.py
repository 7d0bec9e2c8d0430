"""One graph convolution followed by top-k pooling, computed for the nodes that stay."""

from typing import cast

import numpy as np
import torch
from torch import Tensor

from sparra.models.fused import Neighbours, convolved_rows, is_fast, kept_rows, node_scores
from sparra.models.kernels import induced_edges
from sparra.models.layers import GraphConvolution, PooledNodes, TopKPooling, kept_counts, normalised_adjacency


def pool_convolved(
    convolution: GraphConvolution,
    pooling: TopKPooling,
    features: Tensor,
    edge_index: Tensor,
    subject: Tensor,
    n_subjects: int,
    from_branch: bool,
) -> PooledNodes:
    """Return ``pooling(convolution(features))``; on the CPU only for the nodes that are kept.

    There the gradient of a dropped node's score is left out: nothing depends on it.

    Parameters
    ----------
    convolution : GraphConvolution
    pooling : TopKPooling
    features : Tensor, shape (n_nodes, n_features)
    edge_index : Tensor of int64, shape (2, n_edges)
    subject : Tensor of int64, shape (n_nodes,)
        Non-decreasing.
    n_subjects : int
    from_branch : bool
        Whether `features` are a `FeatureBranch`'s own output, which takes its gradient as rows.
    """
    if not is_fast(features) or convolution.weight.dtype != torch.float32:
        adjacency = normalised_adjacency(edge_index, len(features), features.dtype)
        return cast(PooledNodes, pooling(convolution(features, adjacency), edge_index, subject, n_subjects))
    neighbours = Neighbours.of(edge_index, len(features))
    direction = pooling.projection / pooling.projection.norm()
    score = node_scores(features, neighbours, convolution.weight, convolution.bias, direction)
    kept = best_nodes(score, subject, n_subjects, pooling.ratio, pooling.minimum_nodes)
    convolved = convolved_rows(
        features, neighbours, kept, convolution.weight, convolution.bias, sparse_gradient=from_branch
    )
    with torch.autocast("cpu", enabled=False):
        kept_score = torch.tanh(convolved @ direction)
        weight = 1.0 + kept_score if pooling.soft_scores else kept_score
        pooled = convolved * weight.unsqueeze(1)
    induced = induced_edges(neighbours.row_starts, neighbours.columns, kept) if len(kept) < len(score) else edge_index
    return PooledNodes(pooled, induced, subject[kept], kept, score)


def best_nodes(score: Tensor, subject: Tensor, n_subjects: int, ratio: float, minimum_nodes: int) -> Tensor:
    """Return what `sparra.models.layers.top_k_nodes` does, without sorting the scores."""
    counts = torch.bincount(subject, minlength=n_subjects)
    keep = kept_counts(counts, ratio, minimum_nodes).tolist()
    values = score.numpy()
    chosen = np.zeros(len(values), dtype=bool)
    start = 0
    for count, wanted in zip(counts.tolist(), keep, strict=True):
        part = values[start : start + count]
        inside = chosen[start : start + count]
        start += count
        if wanted == count:
            inside[:] = True
            continue
        threshold = np.partition(part, count - wanted)[count - wanted]
        np.greater(part, threshold, out=inside)
        ties = np.flatnonzero(part == threshold)
        inside[ties[: wanted - int(inside.sum())]] = True
    return torch.from_numpy(np.flatnonzero(chosen))


def smoothed(features: Tensor, edge_index: Tensor) -> Tensor:
    """Return the normalised adjacency times `features` (n_nodes, width)."""
    if not is_fast(features):
        return normalised_adjacency(edge_index, len(features), features.dtype) @ features
    return kept_rows(features, Neighbours.of(edge_index, len(features)), torch.arange(len(features)), False)
