"""A regular grid of tiles over the tissue, and their reading batch by batch."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.pathology.tissue import Tissue


@dataclass(frozen=True)
class TileGrid:
    """The tiles kept of one slide.

    Attributes
    ----------
    corners_um : ndarray of float64, shape (n_tiles, 2)
        Top-left corners (x, y) in µm from the top-left corner of level 0, row by row.
    tissue_fraction : ndarray of float32, shape (n_tiles,)
    tile_um : float
        Side of a tile in µm.
    shape : tuple of int
        (rows, columns) of the full grid, kept or not.
    """

    corners_um: NDArray[np.float64]
    tissue_fraction: NDArray[np.float32]
    tile_um: float
    shape: tuple[int, int]

    @property
    def centres_um(self) -> NDArray[np.float64]:
        """Centres (x, y) of the tiles in µm, shape (n_tiles, 2)."""
        return self.corners_um + self.tile_um / 2

    def __len__(self) -> int:
        return len(self.corners_um)


def place_tiles(tissue: Tissue, size_um: tuple[float, float], settings: SlideSettings) -> TileGrid:
    """Lay the grid from the top-left corner of the slide and keep the tiles with enough tissue.

    Parameters
    ----------
    tissue : Tissue
    size_um : tuple of float
        (width, height) of the slide. The last tiles may reach beyond it; what lies there is not tissue.
    settings : SlideSettings

    Returns
    -------
    TileGrid
        May be empty.
    """
    x, y = (np.arange(0.0, side, settings.step_um) for side in size_um)
    fraction = _tissue_fractions(tissue, x, y, settings.tile_um)
    rows, columns = np.nonzero(fraction >= settings.minimum_tissue)
    corners = np.column_stack([x[columns], y[rows]])
    return TileGrid(corners, fraction[rows, columns].astype(np.float32), settings.tile_um, fraction.shape)


def _tissue_fractions(
    tissue: Tissue, x: NDArray[np.float64], y: NDArray[np.float64], tile_um: float
) -> NDArray[np.float64]:
    """Return the tissue fraction of every tile of a grid, shape (len(y), len(x)), exactly.

    Interpolating the integral image linearly weighs a mask pixel by the part of it inside the tile.
    """
    integral = np.pad(tissue.mask, ((1, 0), (1, 0))).cumsum(0, dtype=np.float64).cumsum(1)
    in_rows = _at(integral, (y + tile_um) / tissue.mpp) - _at(integral, y / tissue.mpp)
    columns = in_rows.T
    inside = _at(columns, (x + tile_um) / tissue.mpp) - _at(columns, x / tissue.mpp)
    # Rounding in the sums must not push a full tile below a minimum of 1.
    fraction: NDArray[np.float64] = np.round(inside.T * (tissue.mpp / tile_um) ** 2, 9)
    return fraction


def _at(table: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate a table linearly at fractional rows, held constant beyond the last."""
    rows = np.clip(rows, 0, len(table) - 1)
    below = np.minimum(rows.astype(np.int64), len(table) - 2)
    weight = (rows - below)[:, None]
    result: NDArray[np.float64] = table[below] * (1 - weight) + table[below + 1] * weight
    return result


def read_tiles(slide: Slide, grid: TileGrid, settings: SlideSettings) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles in the order of the grid, a batch at a time; at most two batches are held.

    While the caller works on a batch, threads read the next one.

    Yields
    ------
    ndarray of uint8, shape (at most batch_size, tile_px, tile_px, 3)

    Raises
    ------
    UserError
        If the slide is damaged.
    """
    pool = ThreadPoolExecutor(settings.reading_threads)

    def begin(start: int) -> list[Future[NDArray[Any]]]:
        corners = grid.corners_um[start : start + settings.batch_size].tolist()
        return [pool.submit(slide.read_um, x, y, grid.tile_um, settings.tile_px) for x, y in corners]

    try:
        following = begin(0)
        for start in range(0, len(grid), settings.batch_size):
            current, following = following, begin(start + settings.batch_size)
            yield np.stack([tile.result() for tile in current])
    finally:
        pool.shutdown(cancel_futures=True)
