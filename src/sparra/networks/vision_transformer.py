"""The plane vision transformer (Dosovitskiy et al. 2021), its parameters named as in timm's checkpoints."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparra.networks.attention import GatedPerceptron, LayerScale, Perceptron, SelfAttention
from sparra.networks.positions import Resampling, resample_positions


@dataclass(frozen=True)
class VitShape:
    """What tells one vision transformer from another.

    Attributes
    ----------
    image_px : int
        Side of the image that the position embeddings were learnt on.
    patch_px : int
    width, depth, heads : int
    hidden : int
        Width of the perceptron between its layers.
    gated : bool
        SwiGLU in place of GELU.
    scaled : bool
        LayerScale on both branches.
    registers : int
        Register tokens (Darcet et al. 2024) after the class token.
    positions_for_prefix : bool
        Whether class and register tokens have position embeddings too.
    resampling : {"timm", "dino"}
        How position embeddings are brought to another image size.
    """

    image_px: int
    patch_px: int
    width: int
    depth: int
    heads: int
    hidden: int
    gated: bool = False
    scaled: bool = False
    registers: int = 0
    positions_for_prefix: bool = True
    resampling: Resampling = "timm"


class Block(nn.Module):
    """Pre-normalised block: x + s1 · attention(norm1(x)), then x + s2 · perceptron(norm2(x))."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=1e-6)
        self.attn = SelfAttention(shape.width, shape.heads)
        self.ls1 = LayerScale(shape.width) if shape.scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-6)
        perceptron = GatedPerceptron if shape.gated else Perceptron
        self.mlp = perceptron(shape.width, shape.hidden)
        self.ls2 = LayerScale(shape.width) if shape.scaled else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, n, width) to the same shape."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        result: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return result


class PatchEmbedding(nn.Module):
    """A linear map of each patch, as a convolution with stride."""

    def __init__(self, patch_px: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_px, patch_px)

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, channels, rows, columns)."""
        result: Tensor = self.proj(images)
        return result


class VisionTransformer(nn.Module):
    """Images to normalised tokens: class token, registers, patches row by row."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.shape = shape
        self.prefix = 1 + shape.registers
        positions = (shape.image_px // shape.patch_px) ** 2 + (self.prefix if shape.positions_for_prefix else 0)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        if shape.registers:
            self.reg_token = nn.Parameter(torch.zeros(1, shape.registers, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, shape.width))
        self.patch_embed = PatchEmbedding(shape.patch_px, shape.width)
        self.blocks = nn.Sequential(*(Block(shape) for _ in range(shape.depth)))
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Parameters
        ----------
        images : Tensor, shape (batch, 3, height, width)
            Normalised; sides that are multiples of the patch.

        Returns
        -------
        Tensor, shape (batch, prefix + patches, width)
        """
        return self.encode(self.patch_embed(images))

    def encode(self, patches: Tensor) -> Tensor:
        """Run embedded patches, shape (batch, width, rows, columns), through the blocks."""
        grid = (patches.shape[2], patches.shape[3])
        tokens = patches.flatten(2).transpose(1, 2)
        first = (self.cls_token, self.reg_token) if self.shape.registers else (self.cls_token,)
        prefix = torch.cat(first, dim=1).expand(len(tokens), -1, -1)
        if self.shape.positions_for_prefix:
            tokens = torch.cat([prefix, tokens], dim=1)
            tokens = tokens + resample_positions(self.pos_embed, self.prefix, grid, self.shape.resampling)
        else:
            tokens = tokens + resample_positions(self.pos_embed, 0, grid, self.shape.resampling)
            tokens = torch.cat([prefix, tokens], dim=1)
        result: Tensor = self.norm(self.blocks(tokens))
        return result


class ClassToken(VisionTransformer):
    """A vision transformer whose output is the class token, shape (batch, width)."""

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, width)."""
        return super().forward(images)[:, 0]


class ClassTokenAndMean(VisionTransformer):
    """Class token and mean of the patches' tokens side by side, shape (batch, 2 · width)."""

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, 2 · width)."""
        tokens = super().forward(images)
        return torch.cat([tokens[:, 0], tokens[:, self.prefix :].mean(dim=1)], dim=-1)
