"""CONCH (Lu et al. 2024) and CONCH v1.5: the visual tower with its attentional pooler, before projection."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparra.encoders import EncoderCard
from sparra.networks.pooling import AttentionalPooler, BiasFreePooler
from sparra.networks.vision_transformer import VisionTransformer, VitShape
from sparra.pathology.encoders.network import IMAGENET, OPENAI, TileTransform, tile_network_entry
from sparra.weights import Layout, WeightsSource
from sparra.weights.layout import State

CONCH_SHAPE = VitShape(448, 16, 768, 12, 12, 3072)
CONCH_WIDTH = 512
CONCH_V15_SHAPE = VitShape(224, 16, 1024, 24, 16, 4096, scaled=True, resampling="dino")
CONCH_V15_WIDTH = 768
_HEADS = 8


class PooledTower(nn.Module):
    """A vision transformer, one query that attends to all its tokens, and a normalisation."""

    def __init__(self, shape: VitShape, pooler: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = VisionTransformer(shape)
        self.attn_pool_contrast = pooler
        self.ln_contrast = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, D)."""
        pooled = self.attn_pool_contrast(self.trunk(images))[:, 0]
        result: Tensor = self.ln_contrast(pooled)
        return result


def conch_tower(shape: VitShape, width: int) -> PooledTower:
    """Make CONCH's tower: ``encode_image(proj_contrast=False, normalize=False)`` of its authors."""
    return PooledTower(shape, AttentionalPooler(width, shape.width, _HEADS, 1), width)


def conch_v15_tower(shape: VitShape, width: int) -> PooledTower:
    """Make CONCH v1.5's tower."""
    return PooledTower(shape, BiasFreePooler(width, shape.width, _HEADS, 1), width)


def small_positions(state: State) -> State:
    """Bring CONCH v1.5's position embeddings to the 14 × 14 patches of its network, as its authors do.

    Bilinear and without anti-aliasing; for pictures of 448 pixels they are then enlarged again.
    """
    name, side = "trunk.pos_embed", CONCH_V15_SHAPE.image_px // CONCH_V15_SHAPE.patch_px
    table = state.get(name)
    if table is None or table.ndim != 3 or table.shape[1] == side * side + 1:
        return state
    found = math.isqrt(table.shape[1] - 1)
    if found * found != table.shape[1] - 1:
        return state
    image = table[:, 1:].float().reshape(1, found, found, -1).permute(0, 3, 1, 2)
    image = functional.interpolate(image, (side, side), mode="bilinear")
    patches = image.permute(0, 2, 3, 1).reshape(1, side * side, -1).to(table.dtype)
    return state | {name: torch.cat([table[:, :1], patches], dim=1)}


#: CoCa's whole model: of it the visual tower, without the captioning pooler and the projection.
CONCH_LAYOUT = Layout(
    ("state_dict",),
    ("module.",),
    scope="visual.",
    ignored=(r"attn_pool_caption\..+", r"ln_caption\..+", "proj_contrast"),
)
CONCH_V15_LAYOUT = Layout(convert=small_positions)
_SOURCE = WeightsSource.on_hub("conch", "MahmoodLab/CONCH", gated=True)
_V15_SOURCE = WeightsSource.on_hub("conch-v1.5", "MahmoodLab/conchv1_5", "pytorch_model_vision.bin", gated=True)

CONCH = tile_network_entry(
    EncoderCard(
        name="conch",
        modality="slide",
        dimension=CONCH_WIDTH,
        input_description="tile of 256, 448 or 512 pixels, RGB, resampled to 448 x 448",
        resolution="0.5 µm a pixel (20x)",
        intensity="CLIP's mean and SD of each colour",
        licence="CC-BY-NC-ND-4.0",
        weights=_SOURCE.address,
        weights_sha256=None,
        gated=True,
        pretraining="in-house tiles, iBOT; 1.17 million image-caption pairs of publications, CoCa",
        reference="Lu et al., Nature Medicine 2024;30:863-874, ViT-B/16, pooled, not projected, not normalised",
        input_size=(448, 448),
        trained_at=(0.5,),
        tile_px=(256, 448, 512),
        files=(_SOURCE,),
        parameters_millions=87.5,
    ),
    lambda: conch_tower(CONCH_SHAPE, CONCH_WIDTH),
    CONCH_LAYOUT,
    TileTransform(OPENAI, 448, "bicubic", 448),
)

CONCH_V15 = tile_network_entry(
    EncoderCard(
        name="conch-v1.5",
        modality="slide",
        dimension=CONCH_V15_WIDTH,
        input_description="tile of 512 or 448 pixels, RGB, resampled to 448 x 448",
        resolution="0.5 µm a pixel (20x)",
        intensity="ImageNet mean and SD of each colour",
        licence="CC-BY-NC-ND-4.0",
        weights=_V15_SOURCE.address,
        weights_sha256=None,
        gated=True,
        pretraining="image-caption pairs, CoCa, from UNI's weights",
        reference="Ding et al., arXiv:2411.19666 (TITAN), ViT-L/16, pooled",
        input_size=(448, 448),
        trained_at=(0.5,),
        tile_px=(512, 448),
        files=(_V15_SOURCE,),
        parameters_millions=306.0,
    ),
    lambda: conch_v15_tower(CONCH_V15_SHAPE, CONCH_V15_WIDTH),
    CONCH_V15_LAYOUT,
    TileTransform(IMAGENET, 448, "bilinear", 448),
)
