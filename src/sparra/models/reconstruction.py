"""Squared error of a linear decoder without its output: Gram matrices instead of one row of features a node."""

from typing import Any, cast

import torch
from torch import Tensor

from sparra.models.batch import GraphBatch


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
        cross = torch.zeros_like(full_weight)
        feature_sum, squares = torch.zeros_like(full_bias), torch.zeros((), dtype=torch.float64, device=bias.device)
        gradient = torch.empty_like(hidden)
        square_weight = (full_weight.t() @ full_weight).to(low)
        first = 0
        for features, index in zip(rows[::2], rows[1::2], strict=True):
            values = features[index].to(low)
            last = first + len(values)
            part = hidden[first:last]
            cross += torch.mm(values.t(), part)
            feature_sum += values.sum(dim=0, dtype=wide)
            squares += torch.linalg.vector_norm(values, dtype=wide).double() ** 2
            torch.mm(part, square_weight, out=gradient[first:last])
            gradient[first:last].addmm_(values, weight.to(low), alpha=-1.0)
            first = last
        gradient += (full_bias @ full_weight).to(low)
        gram = (hidden.t() @ hidden).to(wide)
        hidden_sum = hidden.sum(dim=0, dtype=wide)
        through = full_weight @ gram
        outer = full_weight @ hidden_sum
        ctx.save_for_backward(
            gradient,
            through - cross + full_bias.unsqueeze(1) * hidden_sum,
            outer - feature_sum + len(hidden) * full_bias,
        )
        fit = ((through - 2.0 * cross) * full_weight).sum(dtype=torch.float64)
        shift = (full_bias * (2.0 * (outer - feature_sum) + len(hidden) * full_bias)).sum(dtype=torch.float64)
        return (squares + fit + shift).to(wide)

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
