"""What encoders with a network share: the published transform, batches, mixed precision, trained resolutions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from sparra.encoders import EncoderCard
from sparra.errors import UserError
from sparra.memory import batch_within_memory
from sparra.pathology.encoders.base import SlideEncoderEntry
from sparra.pathology.settings import SlideSettings
from sparra.weights import Layout, LoadedNetwork, NetworkOptions, load_network

Colour = tuple[float, float, float]
IMAGENET: tuple[Colour, Colour] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI: tuple[Colour, Colour] = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
HALF: tuple[Colour, Colour] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

#: A resolution counts as trained on if it is this near (relative): scanners differ by as much.
MPP_TOLERANCE = 0.1
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class TileNetworkOptions(NetworkOptions):
    """Options of a tile encoder with a network.

    Attributes
    ----------
    allow_untrained : bool
        Go on at an mpp or a tile size that the encoder was not trained for.
    network_batch : int
        Tiles given to the network at a time; lower it where the GPU's memory does not do.
    """

    allow_untrained: bool = False
    network_batch: int = Field(64, ge=1)


@dataclass(frozen=True)
class TileTransform:
    """The published way from a tile's bytes to a network's input.

    Attributes
    ----------
    colours : tuple
        (mean, standard deviation) of red, green, blue in 0 to 1, subtracted and divided by.
    resize_px : int or None
        Side that tiles are resampled to (with Pillow, anti-aliased, as torchvision does with pictures).
    resampling : {"bilinear", "bicubic"}
    crop_px : int or None
        Side of the middle part that is kept.
    """

    colours: tuple[Colour, Colour]
    resize_px: int | None = None
    resampling: Literal["bilinear", "bicubic"] = "bilinear"
    crop_px: int | None = None

    def __call__(self, tiles: NDArray[np.uint8]) -> Tensor:
        """Map square tiles, shape (batch, side, side, 3), to float32 images, shape (batch, 3, side', side')."""
        if self.resize_px is not None and self.resize_px != tiles.shape[1]:
            size, kernel = (self.resize_px, self.resize_px), _FILTERS[self.resampling]
            tiles = np.stack([np.asarray(Image.fromarray(tile).resize(size, kernel)) for tile in tiles])
        if self.crop_px is not None:
            # Halves are rounded as torchvision rounds them.
            first = round((tiles.shape[1] - self.crop_px) / 2)
            tiles = tiles[:, first : first + self.crop_px, first : first + self.crop_px]
        images = torch.from_numpy(np.ascontiguousarray(tiles)).permute(0, 3, 1, 2).float() / 255
        mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in self.colours)
        return (images - mean) / deviation


class TileNetwork:
    """A slide encoder with one network.

    Parameters
    ----------
    loaded : LoadedNetwork
    transform : TileTransform
    batch : int
        Tiles given to the network at a time; fewer after memory ran out.
    """

    feature_names: tuple[str, ...] = ()

    def __init__(self, loaded: LoadedNetwork, transform: TileTransform, batch: int) -> None:
        self.loaded = loaded
        self.transform = transform
        self.batch = batch

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What was loaded; see `LoadedNetwork.provenance`."""
        return self.loaded.provenance

    def encode(self, tiles: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
        """Encode square tiles; the resolution was checked when the encoder was built.

        Raises
        ------
        UserError
            If a feature is not finite.
        """
        size = batch_within_memory(self.batch)
        blocks = [tiles[first : first + size] for first in range(0, len(tiles), size)]
        features: NDArray[np.float32] = np.concatenate([self._run(block) for block in blocks])
        return features

    def _run(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = self.loaded.run(self.transform(tiles)).numpy()
        return result


def check_resolution(card: EncoderCard, settings: SlideSettings, allowed: bool) -> None:
    """Refuse an mpp or a tile size that the encoder was not trained for, unless `allowed`.

    Raises
    ------
    UserError
        Naming the settings that fit.
    """
    if allowed:
        return
    mend = "or set 'allow_untrained: true' in encoder_options"
    near = [abs(settings.mpp / mpp - 1) <= MPP_TOLERANCE for mpp in card.trained_at]
    if card.trained_at and not any(near):
        fitting = " or ".join(f"{mpp:g}" for mpp in card.trained_at)
        what = f"encoder '{card.name}' was not trained at {settings.mpp:g} µm a pixel, but at {fitting}"
        raise UserError(what, "slide.mpp", f"Set 'mpp: {card.trained_at[0]:g}', {mend}")
    if card.tile_px and settings.tile_px not in card.tile_px:
        fitting = " or ".join(f"{side * settings.mpp:g}" for side in card.tile_px)
        sides = " or ".join(map(str, card.tile_px))
        what = f"encoder '{card.name}' takes tiles of {sides} pixels, not {settings.tile_px}"
        raise UserError(what, "slide.tile_um", f"Set 'tile_um' to {fitting}, {mend}")


def tile_network_entry(
    card: EncoderCard,
    network: Callable[[], nn.Module],
    layout: Layout,
    transform: TileTransform,
    options: type[TileNetworkOptions] = TileNetworkOptions,
) -> SlideEncoderEntry:
    """Make the registry's entry of an encoder with one network.

    Parameters
    ----------
    card : EncoderCard
        Its first file of weights is loaded.
    network : callable
        Makes the network, whose output is (batch, card.dimension).
    layout : Layout
    transform : TileTransform
    options : type of TileNetworkOptions
    """

    def check(settings: SlideSettings) -> None:
        check_resolution(card, settings, entry.options_in(settings).allow_untrained)

    def build(settings: SlideSettings) -> TileNetwork:
        entry.require(settings)
        chosen: TileNetworkOptions = entry.options_in(settings)
        loaded = load_network(network, card.files[0], layout, chosen)
        return TileNetwork(loaded, transform, chosen.network_batch)

    entry = SlideEncoderEntry(card, build, options, check)
    return entry
