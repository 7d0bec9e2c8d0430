"""HIPT (Chen et al. 2022): the vision transformer of 256-pixel tiles, and the one of regions above it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparra.encoders import EncoderCard
from sparra.errors import UserError
from sparra.networks.vision_transformer import ClassToken, VisionTransformer, VitShape
from sparra.pathology.encoders.base import SlideEncoderEntry
from sparra.pathology.encoders.network import (
    HALF,
    TileNetwork,
    TileNetworkOptions,
    TileTransform,
    check_resolution,
    tile_network_entry,
)
from sparra.pathology.settings import SlideSettings
from sparra.weights import Layout, LoadedNetwork, WeightsSource, load_network

TILE_PX = 256
TILE_SHAPE = VitShape(224, 16, 384, 12, 6, 1536, resampling="dino")
#: Its "patches" are the tiles' vectors; positions were learnt on 14 × 14 of them.
REGION_SHAPE = VitShape(224, 16, 192, 6, 6, 768, resampling="dino")
#: The teacher of DINO's training, wrapped twice, with its projection head beside it.
HIPT_LAYOUT = Layout(("teacher",), ("module.", "backbone."), ignored=(r"head\.(mlp|last_layer)\..+",))
_ADDRESS = "https://github.com/mahmoodlab/HIPT (HIPT_4K/Checkpoints, Git LFS)"
_TILE_SOURCE = WeightsSource(
    "hipt",
    "vit256_small_dino.pth",
    _ADDRESS,
    sha256="6960cd5a8657dc8bb214671aa0c6dbd3f5b698e84386884955836487ddc89e24",
)
_REGION_SOURCE = WeightsSource(
    "hipt-4k",
    "vit4k_xs_dino.pth",
    _ADDRESS,
    sha256="2b0bd9e9a602a35f2bb3f76da39d2b53a91f23fc3f115dc59a63267d95ad2b7b",
    option="region_weights",
)
_TRANSFORM = TileTransform(HALF)
#: Bytes of pixels read at a time; twice as much is held.
_LARGEST_BATCH = 500_000_000
_OVERLAP = "Pre-trained on TCGA slides of 33 cancers, kidney among them: on TCGA it has seen your test slides."


class RegionTransformer(VisionTransformer):
    """ViT-4K: a transformer whose patches are the class tokens of tiles."""

    def __init__(self, shape: VitShape = REGION_SHAPE, tile_width: int = TILE_SHAPE.width) -> None:
        super().__init__(shape)
        del self.patch_embed
        self.phi = nn.Sequential(nn.Linear(tile_width, shape.width), nn.GELU())

    def forward(self, tiles: Tensor) -> Tensor:
        """Map the tiles' vectors of regions, shape (batch, rows, columns, tile_width), to (batch, width)."""
        return self.encode(self.phi(tiles).permute(0, 3, 1, 2))[:, 0]


class HiptOptions(TileNetworkOptions):
    """Options of ``hipt-4k``.

    Attributes
    ----------
    region_weights : str or None
        Weights of the transformer of regions; `weights` are those of the transformer of tiles.
    """

    region_weights: str | None = None


class RegionEncoder:
    """Encodes regions of whole 256-pixel tiles: tiles by ViT-256, then their grid by ViT-4K."""

    feature_names: tuple[str, ...] = ()

    def __init__(self, tiles: TileNetwork, regions: LoadedNetwork) -> None:
        self.tiles = tiles
        self.regions = regions

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What was loaded, of both networks."""
        return {**self.tiles.provenance, "regions": dict(self.regions.provenance)}

    def encode(self, tiles: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
        """Encode regions, shape (batch, side, side, 3) with a side of whole tiles, into (batch, 192)."""
        rows = [self._grid(region, mpp) for region in tiles]
        result: NDArray[np.float32] = self.regions.run(torch.from_numpy(np.stack(rows))).numpy()
        return result

    def _grid(self, region: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
        count = region.shape[0] // TILE_PX
        split = region[: count * TILE_PX, : count * TILE_PX].reshape(count, TILE_PX, count, TILE_PX, 3)
        tiles = split.swapaxes(1, 2).reshape(count * count, TILE_PX, TILE_PX, 3)
        return self.tiles.encode(tiles, mpp).reshape(count, count, -1)


HIPT = tile_network_entry(
    EncoderCard(
        name="hipt",
        modality="slide",
        dimension=384,
        input_description="tile of 256 x 256 pixels, RGB",
        resolution="0.5 µm a pixel (20x)",
        intensity="mean 0.5, SD 0.5 of each colour",
        licence="Commons Clause, non-commercial academic use",
        weights=_ADDRESS,
        weights_sha256=_TILE_SOURCE.sha256,
        gated=False,
        pretraining="10,678 TCGA slides, DINO",
        overlap=_OVERLAP,
        reference="Chen et al., CVPR 2022 (HIPT), ViT-256, class token of the teacher",
        input_size=(256, 256),
        trained_at=(0.5,),
        tile_px=(TILE_PX,),
        files=(_TILE_SOURCE,),
        parameters_millions=21.7,
    ),
    lambda: ClassToken(TILE_SHAPE),
    HIPT_LAYOUT,
    _TRANSFORM,
)

_REGION_CARD = EncoderCard(
    name="hipt-4k",
    modality="slide",
    dimension=192,
    input_description="region of 4096 x 4096 pixels, RGB, read as 16 x 16 tiles",
    resolution="0.5 µm a pixel (20x)",
    intensity="mean 0.5, SD 0.5 of each colour",
    licence="Commons Clause, non-commercial academic use",
    weights=_ADDRESS,
    weights_sha256=_TILE_SOURCE.sha256,
    gated=False,
    pretraining="10,678 TCGA slides, DINO in two stages",
    overlap=_OVERLAP,
    reference="Chen et al., CVPR 2022 (HIPT), ViT-4K on ViT-256, class token of the teacher",
    input_size=(4096, 4096),
    trained_at=(0.5,),
    tile_px=(4096,),
    files=(_TILE_SOURCE, _REGION_SOURCE),
    parameters_millions=24.5,
    notes="Set tile_um: 2048 and batch_size: 1 (a region is 50 MB of pixels).",
)


def _check(settings: SlideSettings) -> None:
    check_resolution(_REGION_CARD, settings, HIPT_4K.options_in(settings).allow_untrained)
    if settings.tile_px % TILE_PX:
        what = f"encoder 'hipt-4k' reads a region as tiles of {TILE_PX} pixels, and {settings.tile_px} are no multiple"
        raise UserError(what, "slide.tile_um", f"Set 'tile_um' to a multiple of {TILE_PX * settings.mpp:g}")
    size = settings.batch_size * settings.tile_px**2 * 3
    if size > _LARGEST_BATCH:
        what = f"{settings.batch_size} regions of {settings.tile_px} pixels at a time take {size / 1e9:.2g} GB"
        raise UserError(what, "slide.batch_size", "Set 'batch_size: 1'")


def _build(settings: SlideSettings) -> RegionEncoder:
    HIPT_4K.require(settings)
    options: HiptOptions = HIPT_4K.options_in(settings)
    tiles = load_network(lambda: ClassToken(TILE_SHAPE), _TILE_SOURCE, HIPT_LAYOUT, options)
    of_regions = options.model_copy(update={"weights": options.region_weights})
    regions = load_network(RegionTransformer, _REGION_SOURCE, HIPT_LAYOUT, of_regions)
    return RegionEncoder(TileNetwork(tiles, _TRANSFORM, options.network_batch), regions)


HIPT_4K = SlideEncoderEntry(_REGION_CARD, _build, HiptOptions, _check)
