"""Scores as colours, and as a transparent picture to lay over a slide."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sparra.bags.preview import Preview
from sparra.files import PNG_COMPRESSION, atomic_path
from sparra.maps.label import MapLabel
from sparra.maps.paint import paint
from sparra.maps.scores import ImageScores

COLOUR_MAP = "viridis"


def colours_of(values: NDArray[Any], largest: float | None = None) -> NDArray[np.uint8]:
    """Return RGB of values between 0 and the largest, shape (..., 3).

    Parameters
    ----------
    values : ndarray, shape (...)
        At least 0; NaN is drawn as 0.
    largest : float, optional
        Upper end of the scale; default the largest value.
    """
    top = float(np.nanmax(values)) if largest is None else largest
    scaled = np.nan_to_num(np.asarray(values, dtype=np.float64)) / (top if top > 0 else 1.0)
    colours: NDArray[np.uint8] = mpl.colormaps[COLOUR_MAP](np.clip(scaled, 0, 1), bytes=True)[..., :3]
    return colours


def overlay(scores: ImageScores, preview: Preview) -> NDArray[np.uint8]:
    """Return a slide's map as RGBA on the pixels of its preview: opaque where there is a patch, else transparent."""
    height, width = preview.pixels.shape[:2]
    size = (scores.patch_size[0] / preview.spacing[0], scores.patch_size[1] / preview.spacing[1])
    painted = paint(preview.to_pixels(scores.positions), size, scores.score, (height, width))
    rgba = np.zeros((height, width, 4), dtype=np.uint8)
    rgba[..., :3] = colours_of(painted, float(scores.score.max()))
    rgba[..., 3] = np.where(np.isfinite(painted), 255, 0)
    rgba[rgba[..., 3] == 0] = 0
    return rgba


def write_overlay(path: Path, scores: ImageScores, preview: Preview, label: MapLabel) -> None:
    """Write `overlay` as PNG; what it is stands in its text chunks."""
    text = PngInfo()
    for key, value in label.describe(scores).items():
        text.add_itxt(key, str(value))
    with atomic_path(path) as temporary:
        picture = Image.fromarray(overlay(scores, preview))
        picture.save(temporary, format="PNG", pnginfo=text, compress_level=PNG_COMPRESSION)
