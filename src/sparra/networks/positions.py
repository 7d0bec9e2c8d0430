"""Learnt position embeddings brought to another grid of patches."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

#: How a network's authors resample: ``timm`` with anti-aliasing to the size, ``dino`` without and by a scale
#: that is 0.1 patch too large (as DINO's code does, which changes the values a little).
Resampling = Literal["timm", "dino"]


def resample_positions(table: Tensor, prefix: int, grid: tuple[int, int], how: Resampling) -> Tensor:
    """Interpolate the patches' embeddings bicubically to another grid, row by row.

    Parameters
    ----------
    table : Tensor, shape (1, prefix + n², width)
        Of a square grid of n × n patches; the first `prefix` rows belong to no patch and stay as they are.
    prefix : int
    grid : tuple of int
        Rows and columns of patches wanted.
    how : {"timm", "dino"}

    Returns
    -------
    Tensor, shape (1, prefix + rows · columns, width)
    """
    side = math.isqrt(table.shape[1] - prefix)
    if grid == (side, side):
        return table
    kept, patches = table[:, :prefix], table[:, prefix:]
    image = patches.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if how == "timm":
        image = functional.interpolate(image, grid, mode="bicubic", antialias=True)
    else:
        scale = [(length + 0.1) / side for length in grid]
        image = functional.interpolate(image, scale_factor=scale, mode="bicubic")
    return torch.cat([kept, image.permute(0, 2, 3, 1).reshape(1, -1, table.shape[-1]).to(table.dtype)], dim=1)
