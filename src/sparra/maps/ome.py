"""A slide's map as pyramidal OME-TIFF: raw scores as float32, and colours for any viewer."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from sparra.files import atomic_path
from sparra.maps.label import MapLabel
from sparra.maps.paint import paint
from sparra.maps.pictures import colours_of
from sparra.maps.scores import ImageScores
from sparra.maps.slide_grid import SlideGrid, corners_px

TILE_PX = 256
# Of a heat-map's tile, which keeps the file small; the slide's own pixels would say no more.
_PATCH_PX = 16
_SMALLEST_LEVEL_PX = 256
WHITE = 255


def downsample_of(scores: ImageScores, grid: SlideGrid) -> int:
    """Return the power of two by which the heat-map is smaller than level 0: a patch has 16 to 32 pixels a side."""
    side_px = min(side / mpp for side, mpp in zip(scores.patch_size, grid.mpp, strict=False))
    return int(2 ** max(0, np.floor(np.log2(side_px / _PATCH_PX))))


def heat_map(scores: ImageScores, grid: SlideGrid, values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Paint values of patches on level 0 reduced by `downsample_of`; NaN where there is no patch.

    Returns
    -------
    ndarray of float32, shape (height, width)
        Pixel (row, column) covers ``[column, column + 1] * downsample`` pixels of level 0.
    """
    factor = downsample_of(scores, grid)
    width, height = (-(-side // factor) for side in grid.covering(scores))
    boxes = corners_px(scores, grid) / factor
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5
    size = (boxes[0, 2:] - boxes[0, :2]).tolist()
    return paint(centres, size, values, (height, width)).astype(np.float32)


def write_scores_tiff(path: Path, scores: ImageScores, grid: SlideGrid, label: MapLabel) -> None:
    """Write float32 channels ``score`` and ``standard deviation``, NaN outside, tiled and with a pyramid.

    Levels follow one another by means over 2 × 2 pixels, NaN left out. The physical pixel size is the slide's µm per
    pixel times the downsample, so that a viewer lays it over the slide.
    """
    channels = [heat_map(scores, grid, scores.score), heat_map(scores, grid, scores.score_sd)]
    levels = [np.stack(channels)]
    while max(levels[-1].shape[1:]) > _SMALLEST_LEVEL_PX:
        levels.append(np.stack([_halved(channel) for channel in levels[-1]]))
    about = {"axes": "CYX", "Channel": {"Name": ["score", "standard deviation"]}}
    _write(path, levels, scores, grid, label, about, photometric="minisblack", compression="zlib", predictor=True)


def write_colour_tiff(path: Path, scores: ImageScores, grid: SlideGrid, label: MapLabel) -> None:
    """Write the map in colours (RGB, viridis from 0 to the largest score, white outside), tiled, with a pyramid."""
    level = heat_map(scores, grid, scores.score)
    top = float(scores.score.max())
    levels = [_coloured(level, top)]
    while max(level.shape) > _SMALLEST_LEVEL_PX:
        level = _halved(level)
        levels.append(_coloured(level, top))
    _write(path, levels, scores, grid, label, {"axes": "YXS"}, photometric="rgb", compression="zlib")


def _coloured(level: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    return np.where(np.isfinite(level)[..., None], colours_of(level, top), np.uint8(WHITE))


def _halved(level: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average 2 × 2 pixels, NaN left out; an odd border is averaged with what there is."""
    height, width = level.shape
    padded = np.full((-(-height // 2) * 2, -(-width // 2) * 2), np.nan, np.float32)
    padded[:height, :width] = level
    blocks = padded.reshape(padded.shape[0] // 2, 2, -1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of blocks without a patch
        mean: NDArray[np.float32] = np.nanmean(blocks, axis=(1, 3))
    return mean


def _write(
    path: Path,
    levels: Sequence[NDArray[Any]],
    scores: ImageScores,
    grid: SlideGrid,
    label: MapLabel,
    about: dict[str, Any],
    **options: Any,
) -> None:
    mpp = [side * downsample_of(scores, grid) for side in grid.mpp]
    told = label.describe(scores)
    metadata = {
        **about,
        "Name": str(told["title"]) if label.verdict != "failed" else f"FAILED ITS CHECKS: {told['title']}",
        "Description": "; ".join(f"{key}: {value}" for key, value in told.items()),
        "PhysicalSizeX": mpp[0],
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": mpp[1],
        "PhysicalSizeYUnit": "µm",
    }
    options |= {"tile": (TILE_PX, TILE_PX)}
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, ome=True) as file:
        resolution = (1e4 / mpp[0], 1e4 / mpp[1])
        file.write(
            levels[0],
            subifds=len(levels) - 1,
            metadata=metadata,
            resolution=resolution,
            resolutionunit="CENTIMETER",
            **options,
        )
        for number, level in enumerate(levels[1:], start=1):
            coarser = tuple(value / 2**number for value in resolution)
            file.write(level, subfiletype=1, resolution=coarser, resolutionunit="CENTIMETER", metadata=None, **options)
