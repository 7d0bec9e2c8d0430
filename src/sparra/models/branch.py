r"""Linear, ReLU, dropout: the layer that every learned aggregator begins with, and the costliest of a training step.

:math:`h = m \odot relu(X W^T + b) / (1-p)`. The factor goes into W and b; bias, ReLU and mask are applied in place to
rows that the product has just left in the cache. Since :math:`h > 0` exactly where the unit is active and kept, one bit
a value is all that the gradient needs: h itself is let go of as soon as nothing else uses it. Nodes out of reach of
every kept node have no gradient: gradients come as rows, and the weight gradient's product leaves the empty rows out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from sparra.models import relu_kernels
from sparra.models.fused import draw_keys, drop_in_place, dropout_lanes, is_fast
from sparra.models.kernels import BIT_MASKS, as_array, as_bits
from sparra.models.threads import JOINED_ROWS, PIECE_ROWS, consecutive, in_groups, on_every_thread

# Leaving rows without a gradient out pays only where fewer than this share remain.
SPARSE_SHARE = 0.65
GATHERED_ROWS = 1024


@dataclass(frozen=True)
class _Piece:
    """Consecutive rows of the features, the first of them row `start` of the batch."""

    features: Tensor
    start: int

    @property
    def stop(self) -> int:
        return self.start + len(self.features)


def _pieces(parts: Sequence[Tensor]) -> list[_Piece]:
    """Join small consecutive parts and cut large ones evenly, without copying these."""
    pieces: list[_Piece] = []
    start = 0
    for group in consecutive([len(part) for part in parts], JOINED_ROWS):
        whole = parts[group.start] if len(group) == 1 else torch.cat([parts[index] for index in group])
        n_pieces = max(1, -(-len(whole) // PIECE_ROWS))
        for first, last in pairwise(len(whole) * index // n_pieces for index in range(n_pieces + 1)):
            pieces.append(_Piece(whole[first:last], start + first))
        start += len(whole)
    return pieces


class _LinearReluDropout(torch.autograd.Function):
    """Linear, ReLU and dropout of features that need no gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, rate: float, *parts: Tensor) -> Tensor:
        pieces = _pieces(parts)
        bits, threshold = dropout_lanes(rate)
        ctx.scale = 1.0 / (1.0 - threshold / 2**bits)
        dtype = parts[0].dtype
        scaled, shift = (weight * ctx.scale).to(dtype), as_array(bias * ctx.scale)
        hidden = torch.empty((pieces[-1].stop, len(weight)), dtype=dtype)
        packed = torch.empty((len(hidden), -(-len(weight) // 8)), dtype=torch.uint8)
        keys = draw_keys(len(pieces)) if threshold else []
        finish = relu_kernels.add_bias_relu_bits if dtype == torch.bfloat16 else relu_kernels.add_bias_relu

        def task(index: int) -> None:
            piece = pieces[index]
            rows = hidden[piece.start : piece.stop]
            torch.mm(piece.features, scaled.t(), out=rows)
            finish(as_array(rows), shift)
            if threshold:
                drop_in_place(rows, bits, threshold, keys[index])
            relu_kernels.pack_positive(as_bits(rows), packed[piece.start : piece.stop].numpy())

        on_every_thread(task, len(pieces))
        ctx.pieces = pieces
        ctx.dtype = dtype
        ctx.save_for_backward(packed)
        return hidden

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (packed,) = ctx.saved_tensors
        pieces: list[_Piece] = ctx.pieces
        rows, values = _rows_of(gradients[0])
        bounds = torch.searchsorted(rows, torch.tensor([0, *(piece.stop for piece in pieces)])).tolist()
        groups = in_groups(len(pieces))
        weight = torch.zeros((len(groups), values.shape[1], pieces[0].features.shape[1]))
        bias = torch.zeros((len(groups), values.shape[1]))
        pick = relu_kernels.where_packed_bits if ctx.dtype == torch.bfloat16 else relu_kernels.where_packed
        masks = BIT_MASKS.astype(as_bits(values).dtype)

        def task(group: int) -> None:
            for index in groups[group]:
                inside = slice(bounds[index], bounds[index + 1])
                active = torch.empty_like(values[inside])
                given, taken = as_bits(values[inside]), as_bits(active)
                pick(given, packed.numpy(), as_array(rows[inside]), masks, taken, as_array(bias[group]))
                _add_weight_gradient(weight[group], active, pieces[index].features, rows[inside] - pieces[index].start)

        on_every_thread(task, len(groups))
        rest = [None] * (len(ctx.needs_input_grad) - 3)
        return weight.sum(dim=0) * ctx.scale, bias.sum(dim=0) * ctx.scale, None, *rest


def _rows_of(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of a gradient that may differ from zero, ascending, and their values."""
    if gradient.is_sparse:
        if gradient.is_coalesced():
            return gradient.indices()[0], gradient.values().contiguous()
        gradient = gradient.to_dense()
    return torch.arange(len(gradient)), gradient.contiguous()


def _add_weight_gradient(total: Tensor, active: Tensor, features: Tensor, rows: Tensor) -> None:
    """Add activeᵀ times the rows of `features` to `total`, which is float32."""
    if len(rows) < SPARSE_SHARE * len(features):
        # Some at a time: every thread keeps the memory of what it gathers.
        for start in range(0, len(rows), GATHERED_ROWS):
            few = slice(start, start + GATHERED_ROWS)
            _add_product(total, active[few], features[rows[few]])
        return
    if len(rows) < len(features):
        active = active.new_zeros((len(features), active.shape[1])).index_copy_(0, rows, active)
    _add_product(total, active, features)


def _add_product(total: Tensor, active: Tensor, features: Tensor) -> None:
    if features.dtype == total.dtype:
        total.addmm_(active.t(), features)
    else:
        total += torch.mm(active.t(), features)


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
