r"""The costly half of the learned aggregators, done with few passes over memory; exact, and only faster.

Convolution and pooling
    A node's pooling score :math:`\tanh(\hat A X W p / \|p\|)` needs only :math:`X (W p)`, one number a node;
    :math:`\hat A X W` itself is computed for the kept nodes alone.
Gradients
    Nodes out of reach of every kept node have no gradient: gradients travel as rows, see `sparra.models.branch`.

On other devices and in other precisions than float32 and bfloat16 the plain layers do the work.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from sparra.models import kernels
from sparra.models.kernels import BIT_MASKS, as_array, as_bits
from sparra.models.threads import PIECE_ROWS, in_groups, in_threads, on_every_thread

# Random bits spent on one value where the dropout rate is no smaller binary fraction.
MOST_LANE_BITS = 16


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


def draw_keys(*shape: int) -> list[Any]:
    """Draw keys of masks from torch's default generator, as `torch.nn.Dropout` draws its masks."""
    return torch.randint(2**62, shape).tolist()


def drop_in_place(values: Tensor, bits: int, threshold: int, key: int) -> None:
    """Set each value of a contiguous tensor to zero with probability threshold / 2^bits; `key` decides which."""
    flat = as_bits(values).reshape(-1)
    kernels.drop(0, -(-len(flat) // 64), flat, key, bits, threshold, BIT_MASKS.astype(flat.dtype))


def pieces_of(n_rows: int) -> list[slice]:
    """Cut [0, n_rows) into pieces of `PIECE_ROWS`."""
    return [slice(start, min(n_rows, start + PIECE_ROWS)) for start in range(0, n_rows, PIECE_ROWS)]


class _GatedProduct(torch.autograd.Function):
    r"""Both arms of a gated attention, :math:`m \odot \tanh(A h) \odot \sigma(B h)`, m the dropout of the two."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, tanh_w: Tensor, tanh_b: Tensor, gate_w: Tensor, gate_b: Tensor, rate: float
    ) -> Tensor:
        bits, threshold = dropout_lanes(rate)
        ctx.scale = (1.0 / (1.0 - threshold / 2**bits)) ** 2
        arm, gate, product = (features.new_empty((len(features), len(tanh_w))) for _ in range(3))
        pieces = pieces_of(len(features))
        keys = draw_keys(len(pieces), 2) if threshold else [()] * len(pieces)

        def task(index: int) -> None:
            piece = pieces[index]
            torch.addmm(tanh_b, features[piece], tanh_w.t(), out=arm[piece]).tanh_()
            torch.addmm(gate_b, features[piece], gate_w.t(), out=gate[piece]).sigmoid_()
            # A dropped gate of zero stops both gradients, so no mask is stored.
            for key in keys[index]:
                drop_in_place(gate[piece], bits, threshold, key)
            torch.mul(arm[piece], gate[piece], out=product[piece]).mul_(ctx.scale)

        on_every_thread(task, len(pieces))
        ctx.save_for_backward(features, tanh_w, gate_w, arm, gate)
        return product

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features, tanh_w, gate_w, arm, gate = ctx.saved_tensors
        pieces = pieces_of(len(features))
        groups = in_groups(len(pieces))
        to_features = torch.empty_like(features)
        to_weights = torch.zeros((2, len(groups), *tanh_w.shape))
        to_biases = torch.zeros((2, len(groups), len(tanh_w)))

        def task(group: int) -> None:
            for piece in (pieces[index] for index in groups[group]):
                scaled = (gradients[0][piece] * gate[piece]).mul_(ctx.scale)
                to_gate = torch.addcmul(scaled, scaled, gate[piece], value=-1.0).mul_(arm[piece])
                to_arm = scaled.addcmul_(scaled * arm[piece], arm[piece], value=-1.0)
                torch.mm(to_arm, tanh_w, out=to_features[piece]).addmm_(to_gate, gate_w)
                for side, values in enumerate((to_arm, to_gate)):
                    to_weights[side, group] += values.t() @ features[piece]
                    to_biases[side, group] += values.sum(dim=0, dtype=torch.float32)

        on_every_thread(task, len(groups))
        weights, biases = to_weights.sum(dim=1).to(tanh_w.dtype), to_biases.sum(dim=1).to(tanh_w.dtype)
        return to_features, weights[0], biases[0], weights[1], biases[1], None


def gated_product(features: Tensor, tanh_arm: nn.Linear, sigmoid_arm: nn.Linear, rate: float) -> Tensor:
    """Return the dropped-out product of a gated attention's arms, shape (n_nodes, n_hidden)."""
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        arms = [value.to(dtype) for arm in (tanh_arm, sigmoid_arm) for value in (arm.weight, arm.bias)]
        features = features.to(dtype)
    else:
        arms = [tanh_arm.weight, tanh_arm.bias, sigmoid_arm.weight, sigmoid_arm.bias]
    return cast(Tensor, _GatedProduct.apply(features, *arms, rate))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Neighbours:
    """Edges by their source node, with the degrees of A + I.

    Attributes
    ----------
    row_starts : Tensor of int64, shape (n_nodes + 1,)
    columns : Tensor of int32, shape (n_edges,)
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
        # Held until the gradient is taken, and read for every row.
        return cls(row_starts, target.to(torch.int32), root)

    def arrays(self) -> tuple[Any, Any, Any]:
        """Return the three as arrays."""
        return as_array(self.row_starts), as_array(self.columns), as_array(self.root)


class _KeptRows(torch.autograd.Function):
    """Rows of the normalised adjacency times features, in their precision; the gradient comes as rows too."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, neighbours: Neighbours, kept: Tensor) -> Tensor:
        features = features.contiguous()
        out = torch.empty((len(kept), features.shape[1]), dtype=features.dtype)
        kernel = kernels.smooth_rows_bits if features.dtype == torch.bfloat16 else kernels.smooth_rows
        in_threads(kernel, len(kept), as_array(features), *neighbours.arrays(), as_array(kept), as_array(out))
        ctx.neighbours, ctx.kept = neighbours, kept
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].contiguous()
        used = _used_rows(gradient)
        return _spread(gradient, used, ctx.kept[used], ctx.neighbours), None, None


def _used_rows(gradient: Tensor) -> Tensor:
    """Return the rows that hold more than zeros."""
    marked = torch.zeros(len(gradient), dtype=torch.bool)
    bits = as_bits(gradient)
    kernels.mark_used(bits, int(np.iinfo(bits.dtype).max), as_array(marked))
    return marked.nonzero().squeeze(1)


def _spread(gradient: Tensor, rows: Tensor, nodes: Tensor, neighbours: Neighbours) -> Tensor:
    """Return the normalised adjacency's columns `nodes` times the `rows` of a gradient, as rows."""
    n_nodes = len(neighbours.root)
    place_of = torch.full((n_nodes,), -1)
    place_of[nodes] = rows
    reached = torch.zeros(n_nodes, dtype=torch.bool)
    row_starts, columns, root = neighbours.arrays()
    kernels.mark_reached(as_array(place_of), row_starts, columns, as_array(reached))
    index = reached.nonzero().squeeze(1)
    values = torch.empty((len(index), gradient.shape[1]), dtype=gradient.dtype)
    in_threads(
        kernels.spread_rows_bits if gradient.dtype == torch.bfloat16 else kernels.spread_rows,
        len(index),
        as_array(gradient),
        row_starts,
        columns,
        root,
        as_array(place_of),
        as_array(index),
        as_array(values),
    )
    shape = (n_nodes, gradient.shape[1])
    return torch.sparse_coo_tensor(index.unsqueeze(0), values, shape, check_invariants=False, is_coalesced=True)


class _ConvolvedRows(torch.autograd.Function):
    """Rows of the normalised adjacency times features, times a weight, plus a bias, piece by piece, in float32."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        neighbours: Neighbours,
        kept: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        features = features.contiguous()
        smooth = torch.empty((len(kept), features.shape[1]), dtype=features.dtype)
        kernel = kernels.smooth_rows_bits if features.dtype == torch.bfloat16 else kernels.smooth_rows
        arrays = (as_array(features), *neighbours.arrays(), as_array(kept), as_array(smooth))
        factor = weight.to(dtype)
        out = torch.empty((len(kept), weight.shape[1]))

        pieces = pieces_of(len(kept))

        def task(index: int) -> None:
            piece = pieces[index]
            kernel(piece.start, piece.stop, *arrays)
            torch.add(torch.mm(smooth[piece].to(dtype), factor), bias, out=out[piece])

        on_every_thread(task, len(pieces))
        ctx.neighbours, ctx.kept = neighbours, kept
        ctx.save_for_backward(smooth, factor)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        smooth, factor = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        used = _used_rows(gradient)
        pieces = pieces_of(len(used))
        groups = in_groups(len(pieces))
        to_weight = torch.zeros((len(groups), *factor.shape))
        to_bias = torch.zeros((len(groups), factor.shape[1]))
        to_smooth = torch.empty((len(used), smooth.shape[1]), dtype=smooth.dtype)

        def task(group: int) -> None:
            for piece in (pieces[index] for index in groups[group]):
                given = gradient[used[piece]]
                rows = given.to(factor.dtype)
                to_bias[group] += given.sum(dim=0)
                to_weight[group] += torch.mm(smooth[used[piece]].to(factor.dtype).t(), rows)
                to_smooth[piece] = torch.mm(rows, factor.t())

        on_every_thread(task, len(groups))
        to_features = _spread(to_smooth, torch.arange(len(used)), ctx.kept[used], ctx.neighbours)
        return to_features, to_weight.sum(dim=0), to_bias.sum(dim=0), None, None, None


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
    """Return rows `kept` of the normalised adjacency times `features`, shape (n_kept, width).

    They have the precision of `features`, or float32 where nothing asks for less; sums are taken in float32.
    `sparse_gradient` hands the gradient on as rows, which only `FeatureBranch` understands.
    """
    if not sparse_gradient:
        features = cast(Tensor, _DenseGradient.apply(features))  # type: ignore[no-untyped-call]
    rows = cast(Tensor, _KeptRows.apply(features, neighbours, kept))  # type: ignore[no-untyped-call]
    return rows if torch.is_autocast_enabled("cpu") else widened(rows)


def node_scores(features: Tensor, neighbours: Neighbours, weight: Tensor, bias: Tensor, direction: Tensor) -> Tensor:
    r"""Return :math:`\tanh((\hat A X W + b) p)` of every node without a gradient, p of length one; shape (n_nodes,)."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        projected = kernels.project(features.detach().contiguous(), weight @ direction)
        scores = torch.empty_like(projected)
        in_threads(kernels.smooth_scalars, len(projected), as_array(projected), *neighbours.arrays(), as_array(scores))
        return torch.tanh(scores + bias @ direction)


def convolved_rows(
    features: Tensor, neighbours: Neighbours, kept: Tensor, weight: Tensor, bias: Tensor, sparse_gradient: bool
) -> Tensor:
    """Return rows `kept` of a graph convolution, float32, shape (n_kept, n_outputs); else as `kept_rows`."""
    if not sparse_gradient:
        features = cast(Tensor, _DenseGradient.apply(features))  # type: ignore[no-untyped-call]
    low = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if low else torch.float32
    return cast(Tensor, _ConvolvedRows.apply(features, weight, bias, neighbours, kept, dtype))  # type: ignore[no-untyped-call]
