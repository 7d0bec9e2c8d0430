"""Deep zoom of a slide: which square of tissue a tile is, its pixels, and the importance over it."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparra.bags.preview import Preview
from sparra.maps.paint import paint
from sparra.pathology.slide import LARGEST_BLOCK_PX, Slide

TILE_PX = 256


class SlidePicture(Protocol):
    """A slide, or the thumbnail that stands in for one."""

    @property
    def size_um(self) -> tuple[float, float]:
        """(width, height) in µm."""

    def read_um(self, x_um: float, y_um: float, size_um: float, size_px: int) -> NDArray[np.uint8]:
        """Read a square, see `sparra.pathology.slide.Slide.read_um`."""

    def level_mpp(self, mpp: float) -> float:
        """Return the µm per pixel of what is read for `mpp`."""


class Thumbnail:
    """The small picture that is kept with the features, read like a slide."""

    def __init__(self, preview: Preview) -> None:
        self._picture = Image.fromarray(preview.pixels)
        self._mpp = (preview.spacing[0], preview.spacing[1])

    @property
    def size_um(self) -> tuple[float, float]:
        """(width, height) in µm."""
        return self._picture.width * self._mpp[0], self._picture.height * self._mpp[1]

    def level_mpp(self, mpp: float) -> float:
        """Return its µm per pixel, whatever is asked for."""
        return self._mpp[0]

    def read_um(self, x_um: float, y_um: float, size_um: float, size_px: int) -> NDArray[np.uint8]:
        """Read a square, white beyond the border."""
        scale = (size_um / size_px / self._mpp[0], size_um / size_px / self._mpp[1])
        matrix = (scale[0], 0.0, x_um / self._mpp[0], 0.0, scale[1], y_um / self._mpp[1])
        square = self._picture.transform(
            (size_px, size_px), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=(255, 255, 255)
        )
        return np.asarray(square, dtype=np.uint8)


@dataclass(frozen=True)
class Tile:
    """One tile of a level.

    Attributes
    ----------
    x_um, y_um : float
        Its top-left corner from the slide's.
    mpp : float
        µm a pixel.
    width_px, height_px : int
        Smaller than `TILE_PX` at the right and lower border.
    """

    x_um: float
    y_um: float
    mpp: float
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Pyramid:
    """Levels of halved size, as deep zoom viewers count them: level 0 is one pixel, the last is the whole.

    Attributes
    ----------
    width_px, height_px : int
        Size of the last level.
    mpp : float
        µm a pixel of the last level; the same along both axes.
    """

    width_px: int
    height_px: int
    mpp: float

    @classmethod
    def of(cls, size_um: tuple[float, float], mpp: float) -> "Pyramid":
        """Cover a slide of this size."""
        width, height = (max(1, math.ceil(side / mpp - 1e-6)) for side in size_um)
        return cls(width, height, mpp)

    @property
    def last_level(self) -> int:
        """The level of full size."""
        return math.ceil(math.log2(max(self.width_px, self.height_px)))

    @property
    def first_level(self) -> int:
        """The finest level that is one tile; coarser ones are not needed."""
        return max(0, min(self.last_level, int(math.log2(TILE_PX))))

    def tile(self, level: int, column: int, row: int) -> Tile | None:
        """Return a tile, None where the level has none of that place."""
        if not self.first_level <= level <= self.last_level or column < 0 or row < 0:
            return None
        scale = 2 ** (self.last_level - level)
        left, top = column * TILE_PX, row * TILE_PX
        width = min(TILE_PX, math.ceil(self.width_px / scale) - left)
        height = min(TILE_PX, math.ceil(self.height_px / scale) - top)
        if width <= 0 or height <= 0:
            return None
        mpp = self.mpp * scale
        return Tile(left * mpp, top * mpp, mpp, width, height)


def pyramid_of(slide: Slide) -> Pyramid:
    """Return the pyramid of a slide at the finer of its two resolutions."""
    return Pyramid.of(slide.size_um, min(slide.resolution.x, slide.resolution.y))


def read_tile(slide: SlidePicture, tile: Tile) -> NDArray[np.uint8]:
    """Read a tile's pixels, shape (height_px, width_px, 3), just as the slide reader gives them.

    Where a slide has no coarse level, the tile is read in parts, so that memory stays bounded.
    """
    source_px = TILE_PX * tile.mpp / slide.level_mpp(tile.mpp)
    parts = 1
    while source_px / parts > LARGEST_BLOCK_PX and parts < TILE_PX:
        parts *= 2
    side = TILE_PX // parts
    pixels = np.empty((TILE_PX, TILE_PX, 3), dtype=np.uint8)
    for top in range(0, tile.height_px, side):
        for left in range(0, tile.width_px, side):
            corner = (tile.x_um + left * tile.mpp, tile.y_um + top * tile.mpp)
            pixels[top : top + side, left : left + side] = slide.read_um(*corner, side * tile.mpp, side)
    return pixels[: tile.height_px, : tile.width_px]


def paint_tile(
    tile: Tile, positions: NDArray[np.float64], patch_size: tuple[float, ...], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Paint the patches that lie on a tile; NaN where there is none.

    Parameters
    ----------
    tile : Tile
    positions : ndarray of float64, shape (n_patches, 2)
        Centres in µm.
    patch_size : tuple of float
        Sides in µm.
    values : ndarray of float64, shape (n_patches,)

    Returns
    -------
    ndarray of float64, shape (height_px, width_px)
    """
    half = np.asarray(patch_size[:2]) / 2
    low = np.asarray([tile.x_um, tile.y_um])
    high = low + np.asarray([tile.width_px, tile.height_px]) * tile.mpp
    near = ((positions + half > low) & (positions - half < high)).all(axis=1)
    centres = (positions[near] - low) / tile.mpp - 0.5
    size = (patch_size[0] / tile.mpp, patch_size[1] / tile.mpp)
    return paint(centres, size, values[near], (tile.height_px, tile.width_px))
