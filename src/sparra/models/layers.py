"""Sparse pieces in plain torch: segment operations, GCN convolution, top-k pooling, gated attention."""

import math
import warnings
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from sparra.models.branch import FeatureBranch
from sparra.models.fused import gated_product, is_fast


def segment_sum(values: Tensor, segment: Tensor, n_segments: int) -> Tensor:
    """Sum rows of `values` (n, …) that share a value of `segment` (n,); shape (n_segments, …)."""
    return values.new_zeros((n_segments, *values.shape[1:])).index_add(0, segment, values)


def segment_softmax(logits: Tensor, segment: Tensor, n_segments: int) -> Tensor:
    """Softmax of `logits` (n,) within each segment, shifted by the segment's maximum."""
    highest = logits.new_full((n_segments,), -torch.inf).scatter_reduce(0, segment, logits.detach(), "amax")
    weights = torch.exp(logits - highest[segment])
    return weights / segment_sum(weights, segment, n_segments)[segment]


def centred(values: Tensor, segment: Tensor, n_segments: int) -> Tensor:
    """Subtract from each row of `values` (n, d) the mean over its segment; `segment` is (n,)."""
    counts = torch.bincount(segment, minlength=n_segments).clamp(min=1).unsqueeze(1)
    mean = segment_sum(values.float(), segment, n_segments) / counts
    return values - mean.to(values.dtype)[segment]


class _SymmetricProduct(torch.autograd.Function):
    """Product of a constant symmetric sparse matrix with a dense one; the gradient is the same product."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, features: Tensor) -> Tensor:
        ctx.matrix = matrix
        return cast(Tensor, torch.sparse.mm(matrix, features))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, torch.sparse.mm(ctx.matrix, gradients[0].contiguous())


@dataclass(frozen=True)
class NormalisedAdjacency:
    r""":math:`D^{-1/2} (A + I) D^{-1/2}`, D the degrees of A + I, A undirected (Kipf and Welling 2017).

    Attributes
    ----------
    off_diagonal : Tensor (sparse CSR), shape (n_nodes, n_nodes), or None where there is no edge
    diagonal : Tensor, shape (n_nodes, 1)
    """

    off_diagonal: Tensor | None
    diagonal: Tensor

    def __matmul__(self, features: Tensor) -> Tensor:
        own = self.diagonal * features
        if self.off_diagonal is None:
            return own
        return own + cast(Tensor, _SymmetricProduct.apply(self.off_diagonal, features))  # type: ignore[no-untyped-call]


def normalised_adjacency(edge_index: Tensor, n_nodes: int, dtype: torch.dtype) -> NormalisedAdjacency:
    """Build the symmetrically normalised adjacency with self-loops.

    Parameters
    ----------
    edge_index : Tensor of int64, shape (2, n_edges)
        Both directions of every edge, no self-loops: the product's gradient relies on the symmetry.
    n_nodes : int
    dtype : torch.dtype
        Type of the features it will be multiplied with.
    """
    source, target = edge_index
    degree = torch.bincount(source, minlength=n_nodes)
    root = (degree + 1).to(dtype).rsqrt()
    diagonal = (root * root).unsqueeze(1)
    if edge_index.shape[1] == 0:
        return NormalisedAdjacency(None, diagonal)
    if not bool((source[1:] >= source[:-1]).all()):
        order = torch.argsort(source, stable=True)
        source, target = source[order], target[order]
    row_starts = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        matrix = torch.sparse_csr_tensor(
            row_starts, target, root[source] * root[target], (n_nodes, n_nodes), check_invariants=False
        )
    return NormalisedAdjacency(matrix, diagonal)


class GraphConvolution(nn.Module):
    """GCN layer: normalised adjacency times features times weight, plus bias; no activation.

    Parameters
    ----------
    n_inputs, n_outputs : int
    """

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_inputs, n_outputs))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor, adjacency: NormalisedAdjacency) -> Tensor:
        """Map (n_nodes, n_inputs) to (n_nodes, n_outputs)."""
        return adjacency @ (features @ self.weight) + self.bias


def kept_counts(counts: Tensor, ratio: float, minimum_nodes: int) -> Tensor:
    r"""Return :math:`k = \min(n, \max(\lceil ratio \cdot n \rceil, minimum\_nodes))` for `counts` n of nodes."""
    # The small term undoes rounding such as 0.07 · 100 = 7.000000000000001.
    wanted = torch.ceil(ratio * counts.double() - 1e-6).long().clamp(min=minimum_nodes)
    return torch.minimum(wanted, counts)


def top_k_nodes(score: Tensor, subject: Tensor, n_subjects: int, ratio: float, minimum_nodes: int) -> Tensor:
    r"""Choose each subject's k best, :math:`k = \min(n, \max(\lceil ratio \cdot n \rceil, minimum\_nodes))`.

    Ties go to the node that comes first, so the choice does not depend on the sorting algorithm.

    Parameters
    ----------
    score : Tensor, shape (n_nodes,)
    subject : Tensor of int64, shape (n_nodes,)
        Non-decreasing.
    n_subjects : int
    ratio : float
    minimum_nodes : int

    Returns
    -------
    Tensor of int64, shape (n_kept,)
        Kept nodes in ascending order.
    """
    counts = torch.bincount(subject, minlength=n_subjects)
    keep = kept_counts(counts, ratio, minimum_nodes)
    by_score = torch.argsort(score, descending=True, stable=True)
    order = by_score[torch.argsort(subject[by_score], stable=True)]
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(score), device=score.device) - starts[subject]
    return order[place < keep[subject]].sort().values


def induced_edges(edge_index: Tensor, kept: Tensor, n_nodes: int) -> Tensor:
    """Keep the edges between kept nodes and number them anew; the order of edges stays."""
    new_index = torch.full((n_nodes,), -1, dtype=torch.int64, device=kept.device)
    new_index[kept] = torch.arange(len(kept), device=kept.device)
    renumbered = new_index[edge_index]
    return renumbered[:, (renumbered >= 0).all(dim=0)]


@dataclass(frozen=True)
class PooledNodes:
    """What top-k pooling leaves of a graph.

    Attributes
    ----------
    features : Tensor, shape (n_kept, n_features)
        Kept features times their score, which is how the score's projection learns.
    edge_index : Tensor of int64, shape (2, n_kept_edges)
    subject : Tensor of int64, shape (n_kept,)
    kept : Tensor of int64, shape (n_kept,)
        Indices of the kept nodes before pooling, ascending.
    score : Tensor, shape (n_nodes,)
        Pooling score in (-1, 1) of every node before pooling.
    """

    features: Tensor
    edge_index: Tensor
    subject: Tensor
    kept: Tensor
    score: Tensor


class TopKPooling(nn.Module):
    r"""Keep the nodes with the highest :math:`\tanh(X p / \|p\|)` of each subject (Gao and Ji 2019).

    Parameters
    ----------
    n_features : int
    ratio : float
        Share of nodes kept.
    minimum_nodes : int
        Floor of the number kept, for small graphs.
    soft_scores : bool
        Multiply kept features by 1 + score, which is about one at first, instead of by the score itself.
    """

    def __init__(self, n_features: int, ratio: float, minimum_nodes: int, soft_scores: bool = False) -> None:
        super().__init__()
        self.soft_scores = soft_scores
        self.ratio = ratio
        self.minimum_nodes = minimum_nodes
        self.projection = nn.Parameter(torch.empty(n_features))
        bound = 1.0 / math.sqrt(n_features)
        nn.init.uniform_(self.projection, -bound, bound)

    def forward(self, features: Tensor, edge_index: Tensor, subject: Tensor, n_subjects: int) -> PooledNodes:
        """Pool a batch of graphs."""
        score = torch.tanh(features @ self.projection / self.projection.norm())
        kept = top_k_nodes(score.detach(), subject, n_subjects, self.ratio, self.minimum_nodes)
        weight = 1.0 + score[kept] if self.soft_scores else score[kept]
        return PooledNodes(
            features=features[kept] * weight.unsqueeze(1),
            edge_index=induced_edges(edge_index, kept, len(features)),
            subject=subject[kept],
            kept=kept,
            score=score,
        )


class GatedAttention(nn.Module):
    r"""Gated attention network :math:`W [\tanh(A h) \odot \sigma(B h)]` (Ilse et al. 2018).

    Parameters
    ----------
    n_inputs, n_hidden, n_outputs : int
    dropout : float
        On both arms.
    """

    def __init__(self, n_inputs: int, n_hidden: int, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.tanh_arm = nn.Linear(n_inputs, n_hidden)
        self.sigmoid_arm = nn.Linear(n_inputs, n_hidden)
        self.output = nn.Linear(n_hidden, n_outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Map (n_nodes, n_inputs) to (n_nodes, n_outputs)."""
        if is_fast(features) and self.tanh_arm.weight.dtype == torch.float32:
            rate = self.dropout.p if self.training else 0.0
            return cast(Tensor, self.output(gated_product(features, self.tanh_arm, self.sigmoid_arm, rate)))
        first = self.dropout(torch.tanh(self.tanh_arm(features)))
        second = self.dropout(torch.sigmoid(self.sigmoid_arm(features)))
        return cast(Tensor, self.output(first * second))


def feature_branch(n_inputs: int, n_outputs: int, dropout: float) -> FeatureBranch:
    """Linear, ReLU, dropout: the first step of every learned aggregator."""
    return FeatureBranch(n_inputs, n_outputs, dropout)
