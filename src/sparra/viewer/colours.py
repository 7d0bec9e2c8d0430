"""Pixels as PNG: colour, grey through a window of HU, and importance in colours with the rest transparent."""

from functools import cache
from io import BytesIO

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparra.maps.pictures import COLOUR_MAP

TRANSPARENT = 0
#: Fast on a loopback, where a smaller file gains nothing.
COMPRESSION = 1


def rgb_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode colour, shape (height, width, 3), or grey, shape (height, width), without loss."""
    return _png(Image.fromarray(pixels))


def windowed(hu: NDArray[np.int16], level: float, width: float) -> NDArray[np.uint8]:
    """Map HU to grey: ``level - width / 2`` to 0 and ``level + width / 2`` to 255, rounded."""
    grey = (hu.astype(np.float32) - (level - width / 2)) * (255 / width)
    rounded: NDArray[np.uint8] = np.rint(grey.clip(0, 255)).astype(np.uint8)
    return rounded


def heat_png(values: NDArray[np.float64], low: float, high: float) -> bytes:
    """Encode values, shape (height, width), in colours from `low` to `high`; NaN is transparent."""
    span = high - low if high > low else 1.0
    covered = np.isfinite(values)
    steps = np.where(covered, (values - low) / span, 0.0).clip(0, 1)
    index = np.where(covered, 1 + np.rint(steps * 254), TRANSPARENT).astype(np.uint8)
    return _palette_png(index, palette())


def line_png(mask: NDArray[np.bool_]) -> bytes:
    """Encode a line as white, the rest transparent."""
    return _palette_png(mask.astype(np.uint8), bytes((0, 0, 0, 255, 255, 255)))


@cache
def palette() -> bytes:
    """Return 256 RGB triples: a colour that is never seen, then the map's 255."""
    colours = mpl.colormaps[COLOUR_MAP](np.linspace(0, 1, 255))[:, :3]
    return bytes(3) + bytes(np.rint(colours * 255).astype(np.uint8).ravel().tolist())


def _palette_png(index: NDArray[np.uint8], colours: bytes) -> bytes:
    image = Image.fromarray(index, "L").convert("P")
    image.putdata(index.ravel())
    image.putpalette(colours)
    return _png(image, transparency=TRANSPARENT)


def _png(image: Image.Image, **options: int) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "png", compress_level=COMPRESSION, **options)
    return buffer.getvalue()
