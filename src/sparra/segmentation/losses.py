"""Dice and cross entropy of overlapping regions, at several resolutions."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_SMALL = 1e-5


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    r"""Return the soft Dice loss with squared denominators, averaged over batch and regions.

    .. math:: 1 - \frac{2 \sum_v p_v y_v}{\sum_v p_v^2 + \sum_v y_v^2 + 10^{-5}}

    Parameters
    ----------
    logits, target : Tensor, shape (batch, regions, x, y, z)
    """
    axes = (2, 3, 4)
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum(axes)
    size = (probability**2).sum(axes) + (target**2).sum(axes)
    return (1 - 2 * overlap / (size + _SMALL)).mean()


def dice_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return Dice loss plus binary cross entropy, each region being its own yes or no.

    MONAI's ``DiceCELoss`` would take a softmax over the regions for its second term, which overlapping regions
    do not have.
    """
    logits = logits.float()
    return dice_loss(logits, target) + functional.binary_cross_entropy_with_logits(logits, target)


def deep_supervision(outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
    """Sum the loss over the decoder's levels, finest first, each weighing half of the one before.

    Coarser levels are compared with the target at their own resolution (nearest voxel).
    """
    levels = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    total = torch.zeros((), device=target.device)
    for index, logits in enumerate(levels):
        size = tuple(logits.shape[2:])
        wanted = target if size == target.shape[2:] else functional.interpolate(target, size, mode="nearest-exact")
        total = total + 0.5**index * dice_cross_entropy(logits, wanted)
    return total
