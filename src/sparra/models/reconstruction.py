"""Squared error of a linear decoder without its output: Gram matrices instead of one row of features a node."""

from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor

from sparra.models.batch import GraphBatch
from sparra.models.threads import PIECE_ROWS, consecutive, in_groups, on_every_thread


class _SquaredError(torch.autograd.Function):
    r""":math:`\sum_i \|x_i - W h_i - b\|^2` with its gradients to h, W and b.

    With :math:`C = X^T H` and :math:`G = H^T H` it is :math:`\|X\|^2 - 2\langle C, W\rangle + \langle G, W^T
    W\rangle` and the terms in b, and its gradient to W is :math:`2 (W G - C)`: two products as long as the nodes
    instead of three, and no array of the features' size.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, *rows: Any) -> Tensor:
        low = hidden.dtype
        wide = torch.float32 if low == torch.bfloat16 else low
        full_weight, full_bias = weight.to(wide), bias.to(wide)
        parts = list(zip(rows[::2], rows[1::2], strict=True))
        starts = [0, *accumulate(len(index) for _, index in parts)]
        pieces = consecutive([len(index) for _, index in parts], PIECE_ROWS)
        groups = in_groups(len(pieces))
        cross = full_weight.new_zeros((len(groups), *full_weight.shape))
        feature_sum = full_bias.new_zeros((len(groups), len(full_bias)))
        gram = full_weight.new_zeros((len(groups), hidden.shape[1], hidden.shape[1]))
        hidden_sum = full_weight.new_zeros((len(groups), hidden.shape[1]))
        squares = torch.zeros(len(groups), dtype=torch.float64, device=bias.device)
        gradient = torch.empty_like(hidden)
        square_weight = (full_weight.t() @ full_weight).to(low)
        low_weight, shift = full_weight.to(low), (full_bias @ full_weight).to(low)

        def task(group: int) -> None:
            for piece in groups[group]:
                inside = slice(starts[pieces[piece].start], starts[pieces[piece].stop])
                values = torch.empty((inside.stop - inside.start, weight.shape[0]), dtype=low, device=hidden.device)
                for part in pieces[piece]:
                    features, index = parts[part]
                    place = slice(starts[part] - inside.start, starts[part + 1] - inside.start)
                    torch.index_select(features, 0, index, out=values[place])
                rows = hidden[inside]
                cross[group] += torch.mm(values.t(), rows)
                gram[group] += torch.mm(rows.t(), rows)
                hidden_sum[group] += rows.sum(dim=0, dtype=wide)
                feature_sum[group] += values.sum(dim=0, dtype=wide)
                squares[group] += torch.linalg.vector_norm(values, dtype=wide).double() ** 2
                torch.addmm(shift, rows, square_weight, out=gradient[inside]).addmm_(values, low_weight, alpha=-1.0)

        on_every_thread(task, len(groups))
        cross, gram = cross.sum(dim=0), gram.sum(dim=0)
        hidden_sum, feature_sum = hidden_sum.sum(dim=0), feature_sum.sum(dim=0)
        through = full_weight @ gram
        outer = full_weight @ hidden_sum
        ctx.save_for_backward(
            gradient,
            through - cross + full_bias.unsqueeze(1) * hidden_sum,
            outer - feature_sum + len(hidden) * full_bias,
        )
        fit = ((through - 2.0 * cross) * full_weight).sum(dtype=torch.float64)
        shift_fit = (full_bias * (2.0 * (outer - feature_sum) + len(hidden) * full_bias)).sum(dtype=torch.float64)
        return (squares.sum() + fit + shift_fit).to(wide)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        factor = 2.0 * gradients[0]
        to_hidden, to_weight, to_bias = (value * factor.to(value.dtype) for value in ctx.saved_tensors)
        return to_hidden, to_weight, to_bias, *([None] * (len(ctx.needs_input_grad) - 3))


def squared_error(graph: GraphBatch, kept: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the sum over the kept nodes of the squared distance of ``hidden Wᵀ + b`` to their features.

    Parameters
    ----------
    graph : GraphBatch
    kept : Tensor of int64, shape (n_kept,)
        Ascending indices of nodes.
    hidden : Tensor, shape (n_kept, n_hidden)
    weight : Tensor, shape (n_features, n_hidden)
    bias : Tensor, shape (n_features,)

    Returns
    -------
    Tensor, scalar
    """
    rows = [item for pair in graph.parts_of(kept) for item in pair]
    with torch.autocast(hidden.device.type, enabled=False):
        return cast(Tensor, _SquaredError.apply(hidden, weight, bias, *rows))  # type: ignore[no-untyped-call]
