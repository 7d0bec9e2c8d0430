"""Slides that OpenSlide opens."""

import math
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from sparra.compiled import compiled
from sparra.pathology.decoders.base import CACHE_BYTES, WHITE, Header, Region, as_number, damaged
from sparra.pathology.resampling import averaged


class OpenSlideDecoder:
    """Reads through OpenSlide (see `sparra.pathology.decoders.base.Decoder`).

    Raises
    ------
    openslide.OpenSlideError, OSError
        If OpenSlide cannot open the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = openslide.OpenSlide(path)
        self.level_dimensions: tuple[tuple[int, int], ...] = self._handle.level_dimensions
        self.header = _header(self._handle)

    def read(
        self,
        level: int,
        corner: tuple[int, int],
        size: tuple[int, int],
        factor: tuple[int, int] = (1, 1),
        into: NDArray[np.uint8] | None = None,
    ) -> Region:
        """Read a region; OpenSlide takes the corner in whole pixels of level 0."""
        downsample = self._handle.level_downsamples[level]
        start = (math.floor(corner[0] * downsample), math.floor(corner[1] * downsample))
        try:
            picture = self._handle.read_region(start, level, (size[0] * factor[0], size[1] * factor[1]))
        except (openslide.OpenSlideError, OSError) as error:
            raise damaged(error, self.path) from None
        return Region(averaged(_on_white(picture), factor), (start[0] / downsample, start[1] / downsample))

    def forget(self) -> None:
        """Begin with an empty cache."""
        self._handle.set_cache(openslide.OpenSlideCache(CACHE_BYTES))

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def _on_white(picture: Image.Image) -> NDArray[np.uint8]:
    pixels = np.empty((picture.height, picture.width, 3), dtype=np.uint8)
    _blend(np.asarray(picture).reshape(-1, 4), pixels.reshape(-1, 3))
    return pixels


@compiled
def _blend(rgba: NDArray[np.uint8], rgb: NDArray[np.uint8]) -> None:
    """Lay colours with their transparency on white, halves rounded up."""
    for pixel in range(np.uint64(len(rgba))):
        alpha = np.uint32(rgba[pixel, 3])
        for colour in range(3):
            value = np.uint32(rgba[pixel, colour])
            if alpha != 255:
                value = (value * alpha + np.uint32(WHITE) * (np.uint32(255) - alpha) + np.uint32(127)) // np.uint32(255)
            rgb[pixel, colour] = value


def _header(handle: openslide.OpenSlide) -> Header:
    properties = handle.properties
    x = as_number(properties.get(openslide.PROPERTY_NAME_MPP_X))
    y = as_number(properties.get(openslide.PROPERTY_NAME_MPP_Y))
    return Header(
        vendor=properties.get(openslide.PROPERTY_NAME_VENDOR),
        mpp=(x, y) if x is not None and y is not None else None,
        objective_power=as_number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
        quickhash=properties.get(openslide.PROPERTY_NAME_QUICKHASH1),
    )
