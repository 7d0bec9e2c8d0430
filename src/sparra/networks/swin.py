"""Swin transformer (Liu et al. 2021) with the convolutional stem of CTransPath (Wang et al. 2022).

Parameters are named as in timm 0.5's checkpoints, in which a stage ends with its downsampling.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparra.networks.attention import Perceptron

#: Added to the attention between patches that a cyclic shift made neighbours.
_APART = -100.0


class WindowAttention(nn.Module):
    """Self-attention inside windows, with a learnt bias for each relative position of two patches."""

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, windows: Tensor, apart: Tensor | None) -> Tensor:
        """Mix patches inside windows.

        Parameters
        ----------
        windows : Tensor, shape (images · n_windows, window², width)
        apart : Tensor, shape (n_windows, window², window²), or None
            0 between patches that may see one another, a large negative number elsewhere.
        """
        total, n, width = windows.shape
        parts = self.qkv(windows).reshape(total, n, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        index = relative_positions(self.window).to(windows.device)
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)[None].to(query.dtype)
        if apart is not None:
            bias = bias + apart[:, None].to(query)
            bias = bias.repeat(total // len(apart), 1, 1, 1)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        result: Tensor = self.proj(mixed.transpose(1, 2).reshape(total, n, width))
        return result


class SwinBlock(nn.Module):
    """Window attention, shifted by half a window in every second block, then a perceptron."""

    def __init__(self, width: int, window: int, heads: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, window, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, 4 * width)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, rows, columns, width) to the same shape."""
        image = image + self._attend(self.norm1(image))
        result: Tensor = image + self.mlp(self.norm2(image))
        return result

    def _attend(self, image: Tensor) -> Tensor:
        batch, rows, columns, width = image.shape
        window, shift = self.window, self.shift
        # A window as large as the image has nothing to shift.
        apart = windows_apart(rows, columns, window, shift).to(image.device) if shift else None
        if shift:
            image = image.roll((-shift, -shift), (1, 2))
        split = image.reshape(batch, rows // window, window, columns // window, window, width)
        windows = split.transpose(2, 3).reshape(-1, window * window, width)
        mixed = self.attn(windows, apart).reshape(batch, rows // window, columns // window, window, window, width)
        image = mixed.transpose(2, 3).reshape(batch, rows, columns, width)
        return image.roll((shift, shift), (1, 2)) if shift else image


class Downsampling(nn.Module):
    """Four neighbouring patches become one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, rows, columns, width) to (batch, rows / 2, columns / 2, 2 · width)."""
        corners = [image[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        result: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return result


class Stage(nn.Module):
    """Blocks at one resolution, and the step to the next."""

    def __init__(self, width: int, depth: int, heads: int, window: int, side: int, last: bool) -> None:
        super().__init__()
        shift = 0 if side <= window else window // 2
        self.blocks = nn.ModuleList(SwinBlock(width, window, heads, shift * (i % 2)) for i in range(depth))
        self.downsample = nn.Identity() if last else Downsampling(width)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, rows, columns, width) to the next stage's input."""
        for block in self.blocks:
            image = block(image)
        result: Tensor = self.downsample(image)
        return result


class ConvolutionalStem(nn.Module):
    """Two convolutions of stride 2 and one of kernel 1 in place of the patch embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = width // 8, width // 4
        self.proj = nn.Sequential(
            nn.Conv2d(3, first, 3, 2, 1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, 2, 1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.Conv2d(second, width, 1),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, height / 4, width / 4, channels)."""
        result: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))
        return result


class SwinTransformer(nn.Module):
    """Swin with a convolutional stem; the output is the mean over the last stage's patches.

    Parameters
    ----------
    image_px : int
        Side of the images; a multiple of 32 windows' worth of patches (224 for windows of 7).
    width : int
        Of the first stage.
    depths, heads : tuple of int
        Of each stage.
    window : int
        Side of a window in patches.
    """

    def __init__(
        self,
        image_px: int = 224,
        width: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        window: int = 7,
    ) -> None:
        super().__init__()
        self.patch_embed = ConvolutionalStem(width)
        last = len(depths) - 1
        self.layers = nn.ModuleList(
            Stage(width * 2**i, depths[i], heads[i], window, image_px // 4 // 2**i, i == last)
            for i in range(len(depths))
        )
        self.norm = nn.LayerNorm(width * 2**last)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images, shape (batch, 3, image_px, image_px), to (batch, width · 2^(stages - 1))."""
        image = self.patch_embed(images)
        for stage in self.layers:
            image = stage(image)
        result: Tensor = self.norm(image).mean(dim=(1, 2))
        return result


@lru_cache
def relative_positions(window: int) -> Tensor:
    """Row of the bias table for each pair of patches of a window, shape (window², window²)."""
    places = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    steps = places[:, :, None] - places[:, None, :] + window - 1
    return steps[0] * (2 * window - 1) + steps[1]


@lru_cache
def windows_apart(rows: int, columns: int, window: int, shift: int) -> Tensor:
    """Attention bias of a shifted image: 0 between patches that were neighbours, else -100.

    Returns
    -------
    Tensor, shape (n_windows, window², window²)
    """
    part = torch.zeros(rows, columns)
    for axis, length in enumerate((rows, columns)):
        place = torch.arange(length)
        of_axis = (place >= length - window).float() + (place >= length - shift).float()
        part = part * 3 + (of_axis[:, None] if axis == 0 else of_axis[None, :])
    split = part.reshape(rows // window, window, columns // window, window)
    windows = split.transpose(1, 2).reshape(-1, window * window)
    return torch.where(windows[:, :, None] == windows[:, None, :], 0.0, _APART)
