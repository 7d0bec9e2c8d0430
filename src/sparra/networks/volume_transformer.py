"""The vision transformer of volumes, its parameters named as in MONAI's checkpoints."""

import torch
from torch import Tensor, nn

from sparra.networks.attention import Perceptron, SelfAttention

Triple = tuple[int, int, int]


class PatchRows(nn.Module):
    """Cut volumes into patches, each patch one row; voxels run z, y, x, and channels fastest."""

    def __init__(self, patch: Triple) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, volumes: Tensor) -> Tensor:
        """Map (batch, channels, z, y, x) to (batch, patches, voxels of a patch · channels)."""
        batch, channels = volumes.shape[:2]
        counts = [length // side for length, side in zip(volumes.shape[2:], self.patch, strict=True)]
        pairs = [n for pair in zip(counts, self.patch, strict=True) for n in pair]
        split = volumes.reshape(batch, channels, *pairs)
        return split.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(batch, counts[0] * counts[1] * counts[2], -1)


class VolumePatches(nn.Module):
    """The "perceptron" embedding: each patch's voxels as one row, a linear map, learnt positions."""

    def __init__(self, size: Triple, patch: Triple, width: int) -> None:
        super().__init__()
        voxels = patch[0] * patch[1] * patch[2]
        patches = size[0] * size[1] * size[2] // voxels
        self.patch_embeddings = nn.Sequential(PatchRows(patch), nn.Linear(voxels, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, patches, width))

    def forward(self, volumes: Tensor) -> Tensor:
        """Map (batch, 1, z, y, x) to (batch, patches, width)."""
        result: Tensor = self.patch_embeddings(volumes) + self.position_embeddings
        return result


class VolumeBlock(nn.Module):
    """Pre-normalised block with GELU."""

    def __init__(self, width: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.mlp = Perceptron(width, hidden, ("linear1", "linear2"))
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads, bias=False, output="out_proj")
        self.norm2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (batch, n, width) to the same shape."""
        tokens = tokens + self.attn(self.norm1(tokens))
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result


class VolumeTransformer(nn.Module):
    """Volumes to normalised tokens.

    Parameters
    ----------
    size, patch : tuple of int
        Voxels of a volume and of a patch along z, y, x.
    width, hidden, depth, heads : int
    class_token : bool
        Whether a class token, without position, comes before the patches.
    """

    def __init__(
        self,
        size: Triple = (32, 256, 256),
        patch: Triple = (4, 16, 16),
        width: int = 768,
        hidden: int = 3072,
        depth: int = 12,
        heads: int = 12,
        class_token: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.patch = size, patch
        self.patch_embedding = VolumePatches(size, patch, width)
        self.blocks = nn.ModuleList(VolumeBlock(width, hidden, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None

    def forward(self, volumes: Tensor) -> Tensor:
        """Encode volumes.

        Parameters
        ----------
        volumes : Tensor, shape (batch, 1, z, y, x)
            Of just `size` voxels.

        Returns
        -------
        Tensor, shape (batch, patches, width), one token more with a class token, which is the first
        """
        tokens = self.patch_embedding(volumes)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        result: Tensor = self.norm(tokens)
        return result
