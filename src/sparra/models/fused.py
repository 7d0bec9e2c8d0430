r"""The costly half of the learned aggregators, done with few passes over memory; exact, and only faster.

Linear, ReLU and dropout
    :math:`h = m \odot relu(X W^T + b) / (1-p)`. The factor goes into W and b, the mask is one pass in place, and
    since :math:`h > 0` exactly where the unit is active and kept, no mask is stored.
Convolution and pooling
    A node's pooling score :math:`\tanh(\hat A X W p / \|p\|)` needs only :math:`X (W p)`, one number a node;
    :math:`\hat A X W` itself is computed for the kept nodes alone.
Gradients
    Nodes out of reach of every kept node have no gradient: gradients travel as rows, and the weight gradient's product
    leaves the empty rows out.

On other devices and in other precisions than float32 and bfloat16 the plain layers do the work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from sparra.models import kernels
from sparra.models.kernels import BIT_MASKS, as_array, as_bits, in_threads

# Random bits spent on one value where the dropout rate is no smaller binary fraction.
MOST_LANE_BITS = 16
# Rows of small graphs are joined up to this many, to be multiplied at once.
BLOCK_ROWS = 2048
# Leaving rows without a gradient out pays only where fewer than this share remain.
SPARSE_SHARE = 0.65


def is_fast(tensor: Tensor) -> bool:
    """Whether the compiled path takes this tensor."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.bfloat16)


def dropout_lanes(rate: float) -> tuple[int, int]:
    """Return the random bits for each value and the threshold below which their number drops it.

    The rate is threshold / 2^bits: exact for 0.5, 0.25 and the like, else within 2^-17.
    """
    for bits in (1, 2, 4, 8, MOST_LANE_BITS):
        threshold = round(rate * 2**bits)
        if threshold == rate * 2**bits:
            break
    return bits, min(threshold, 2**bits - 1)


def drop_in_place(values: Tensor, bits: int, threshold: int) -> None:
    """Set each value to zero with probability threshold / 2^bits.

    The key comes from torch's default generator, as the mask of `torch.nn.Dropout` does.
    """
    key = int(torch.randint(2**62, ()))
    flat = as_bits(values).reshape(-1)
    in_threads(kernels.drop, -(-len(flat) // 64), flat, key, bits, threshold, BIT_MASKS.astype(flat.dtype))


def _blocks(parts: Sequence[Tensor]) -> list[Tensor]:
    """Join small consecutive parts."""
    blocks: list[list[Tensor]] = []
    rows = 0
    for part in parts:
        if not blocks or rows + len(part) > BLOCK_ROWS:
            blocks.append([])
            rows = 0
        blocks[-1].append(part)
        rows += len(part)
    return [block[0] if len(block) == 1 else torch.cat(block) for block in blocks]


class _LinearReluDropout(torch.autograd.Function):
    """Linear, ReLU and dropout of features that need no gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, rate: float, *parts: Tensor) -> Tensor:
        blocks = _blocks(parts)
        bits, threshold = dropout_lanes(rate)
        ctx.scale = 1.0 / (1.0 - threshold / 2**bits)
        dtype = blocks[0].dtype
        scaled, shift = (weight * ctx.scale).to(dtype), (bias * ctx.scale).to(dtype)
        hidden = torch.empty((sum(map(len, blocks)), len(weight)), dtype=dtype)
        start = 0
        for block in blocks:
            rows = hidden[start : start + len(block)]
            start += len(block)
            torch.mm(block, scaled.t(), out=rows)
            rows.add_(shift).relu_()
            if threshold:
                drop_in_place(rows, bits, threshold)
        ctx.blocks = blocks
        ctx.save_for_backward(hidden)
        return hidden

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (hidden,) = ctx.saved_tensors
        rows, values = _rows_of(gradients[0])
        width, n_features = hidden.shape[1], ctx.blocks[0].shape[1]
        weight, bias = torch.zeros((width, n_features)), torch.zeros(width)
        start = 0
        for block in ctx.blocks:
            stop = start + len(block)
            first, last = (int(index) for index in torch.searchsorted(rows, torch.tensor([start, stop])))
            active = torch.empty((last - first, width), dtype=hidden.dtype)
            in_threads(
                kernels.where_positive,
                last - first,
                as_bits(values[first:last]),
                as_bits(hidden),
                as_array(rows[first:last]),
                as_bits(active),
            )
            bias += active.sum(dim=0, dtype=torch.float32)
            weight += _weight_gradient(active, block, rows[first:last] - start)
            start = stop
        return weight * ctx.scale, bias * ctx.scale, None, *([None] * (len(ctx.needs_input_grad) - 3))


def _rows_of(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of a gradient that may differ from zero, ascending, and their values."""
    if gradient.is_sparse:
        if gradient.is_coalesced():
            return gradient.indices()[0], gradient.values().contiguous()
        gradient = gradient.to_dense()
    return torch.arange(len(gradient)), gradient.contiguous()


def _weight_gradient(active: Tensor, block: Tensor, rows: Tensor) -> Tensor:
    """Return activeᵀ times the rows of `block`, in float32."""
    if len(rows) < SPARSE_SHARE * len(block):
        return torch.mm(active.t(), block[rows]).float()
    if len(rows) < len(block):
        active = active.new_zeros((len(block), active.shape[1])).index_copy_(0, rows, active)
    return torch.mm(active.t(), block).float()


class _GatedProduct(torch.autograd.Function):
    r"""Both arms of a gated attention, :math:`m \odot \tanh(A h) \odot \sigma(B h)`, m the dropout of the two."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, tanh_w: Tensor, tanh_b: Tensor, gate_w: Tensor, gate_b: Tensor, rate: float
    ) -> Tensor:
        bits, threshold = dropout_lanes(rate)
        ctx.scale = (1.0 / (1.0 - threshold / 2**bits)) ** 2
        arm = torch.addmm(tanh_b, features, tanh_w.t()).tanh_()
        gate = torch.addmm(gate_b, features, gate_w.t()).sigmoid_()
        # A dropped gate of zero stops both gradients, so no mask is stored.
        for _ in range(2 if threshold else 0):
            drop_in_place(gate, bits, threshold)
        ctx.save_for_backward(features, tanh_w, gate_w, arm, gate)
        return (arm * gate).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features, tanh_w, gate_w, arm, gate = ctx.saved_tensors
        scaled = (gradients[0] * gate).mul_(ctx.scale)
        to_gate = torch.addcmul(scaled, scaled, gate, value=-1.0).mul_(arm)
        to_arm = scaled.addcmul_(scaled * arm, arm, value=-1.0)
        to_features = (to_arm @ tanh_w).addmm_(to_gate, gate_w)
        return (
            to_features,
            to_arm.t() @ features,
            to_arm.sum(dim=0),
            to_gate.t() @ features,
            to_gate.sum(dim=0),
            None,
        )


def gated_product(features: Tensor, tanh_arm: nn.Linear, sigmoid_arm: nn.Linear, rate: float) -> Tensor:
    """Return the dropped-out product of a gated attention's arms, shape (n_nodes, n_hidden)."""
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        arms = [value.to(dtype) for arm in (tanh_arm, sigmoid_arm) for value in (arm.weight, arm.bias)]
        features = features.to(dtype)
    else:
        arms = [tanh_arm.weight, tanh_arm.bias, sigmoid_arm.weight, sigmoid_arm.bias]
    return cast(Tensor, _GatedProduct.apply(features, *arms, rate))  # type: ignore[no-untyped-call]


class FeatureBranch(nn.Sequential):
    """Linear, ReLU, dropout: the first step of every learned aggregator.

    Parameters
    ----------
    n_inputs, n_outputs : int
    dropout : float
    """

    def __init__(self, n_inputs: int, n_outputs: int, dropout: float) -> None:
        super().__init__(nn.Linear(n_inputs, n_outputs), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, features: Tensor | Sequence[Tensor]) -> Tensor:
        """Map (n_nodes, n_inputs), perhaps given in parts, to (n_nodes, n_outputs)."""
        parts = (features,) if isinstance(features, Tensor) else tuple(features)
        linear, dropout = cast(nn.Linear, self[0]), cast(nn.Dropout, self[2])
        fast = linear.weight.dtype == torch.float32 and all(is_fast(part) for part in parts)
        if not fast or any(part.requires_grad for part in parts):
            return cast(Tensor, super().forward(torch.cat(parts)))  # type: ignore[no-untyped-call]
        rate = dropout.p if self.training else 0.0
        return cast(Tensor, _LinearReluDropout.apply(linear.weight, linear.bias, rate, *parts))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Neighbours:
    """Edges by their source node, with the degrees of A + I.

    Attributes
    ----------
    row_starts : Tensor of int64, shape (n_nodes + 1,)
    columns : Tensor of int64, shape (n_edges,)
    root : Tensor of float32, shape (n_nodes,)
        Degree to the power of -1/2; the normalised adjacency is root_i · root_j.
    """

    row_starts: Tensor
    columns: Tensor
    root: Tensor

    @classmethod
    def of(cls, edge_index: Tensor, n_nodes: int) -> "Neighbours":
        """Sort the edges by source where they are not."""
        source, target = edge_index
        if not bool((source[1:] >= source[:-1]).all()):
            order = torch.argsort(source, stable=True)
            source, target = source[order], target[order]
        row_starts = torch.searchsorted(source, torch.arange(n_nodes + 1))
        root = (row_starts.diff() + 1).float().rsqrt()
        return cls(row_starts, target.contiguous(), root)

    def arrays(self) -> tuple[Any, Any, Any]:
        """Return the three as arrays."""
        return as_array(self.row_starts), as_array(self.columns), as_array(self.root)


class _KeptRows(torch.autograd.Function):
    """Rows of the normalised adjacency times features; the gradient comes as rows too."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, neighbours: Neighbours, kept: Tensor) -> Tensor:
        out = torch.empty((len(kept), features.shape[1]), dtype=torch.float32)
        kernel = kernels.smooth_rows_bits if features.dtype == torch.bfloat16 else kernels.smooth_rows
        features = features.contiguous()
        in_threads(kernel, len(kept), as_array(features), *neighbours.arrays(), as_array(kept), as_array(out))
        ctx.neighbours, ctx.kept, ctx.dtype = neighbours, kept, features.dtype
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].float().contiguous()
        neighbours, kept = ctx.neighbours, ctx.kept
        n_nodes = len(neighbours.root)
        used = (gradient != 0).any(dim=1).nonzero().squeeze(1)
        place_of = torch.full((n_nodes,), -1)
        place_of[kept[used]] = used
        reached = torch.zeros(n_nodes, dtype=torch.bool)
        row_starts, columns, root = neighbours.arrays()
        kernels.mark_reached(as_array(place_of), row_starts, columns, as_array(reached))
        rows = reached.nonzero().squeeze(1)
        values = torch.empty((len(rows), gradient.shape[1]))
        in_threads(
            kernels.spread_rows,
            len(rows),
            as_array(gradient),
            row_starts,
            columns,
            root,
            as_array(place_of),
            as_array(rows),
            as_array(values),
        )
        shape = (n_nodes, gradient.shape[1])
        values = values.to(ctx.dtype)
        return (
            torch.sparse_coo_tensor(rows.unsqueeze(0), values, shape, check_invariants=False, is_coalesced=True),
            None,
            None,
        )


class _TakenRows(torch.autograd.Function):
    """Rows of features, with their gradient as rows."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, index: Tensor) -> Tensor:
        ctx.shape = features.shape
        ctx.save_for_backward(index)
        return features[index]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        gradient = torch.sparse_coo_tensor(
            index.unsqueeze(0), gradients[0], ctx.shape, check_invariants=False, is_coalesced=True
        )
        return gradient, None


def take_rows(features: Tensor, index: Tensor) -> Tensor:
    """Return the rows at `index` (ascending) of a `FeatureBranch`'s output."""
    if not is_fast(features):
        return features[index]
    return cast(Tensor, _TakenRows.apply(features, index))  # type: ignore[no-untyped-call]


def widened(values: Tensor) -> Tensor:
    """Return bfloat16 as float32, and other types as they are."""
    return values.float() if values.dtype == torch.bfloat16 else values


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context in which products on the tensor's device keep their precision."""
    return torch.autocast(tensor.device.type, enabled=False)


class _DenseGradient(torch.autograd.Function):
    """The identity; turns a gradient given as rows into a full one."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].to_dense() if gradients[0].is_sparse else gradients[0]


def kept_rows(features: Tensor, neighbours: Neighbours, kept: Tensor, sparse_gradient: bool) -> Tensor:
    """Return rows `kept` of the normalised adjacency times `features`, float32, shape (n_kept, width).

    `sparse_gradient` hands the gradient on as rows, which only `FeatureBranch` understands.
    """
    if not sparse_gradient:
        features = cast(Tensor, _DenseGradient.apply(features))  # type: ignore[no-untyped-call]
    return cast(Tensor, _KeptRows.apply(features, neighbours, kept))  # type: ignore[no-untyped-call]


def node_scores(features: Tensor, neighbours: Neighbours, weight: Tensor, bias: Tensor, direction: Tensor) -> Tensor:
    r"""Return :math:`\tanh((\hat A X W + b) p)` of every node without a gradient, p of length one; shape (n_nodes,)."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        projected = kernels.project(features.detach().contiguous(), weight @ direction)
        scores = torch.empty_like(projected)
        in_threads(kernels.smooth_scalars, len(projected), as_array(projected), *neighbours.arrays(), as_array(scores))
        return torch.tanh(scores + bias @ direction)
