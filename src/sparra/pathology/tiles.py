"""A regular grid of tiles over the tissue, and their reading batch by batch."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon

from sparra.memory import batch_within_memory
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.pathology.tissue import Tissue

# Tiles that a thread reads in one turn.
PER_TURN = 4


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
    fraction = _tissue_fractions(tissue.outline, x, y, settings.tile_um)
    rows, columns = np.nonzero(fraction >= settings.minimum_tissue)
    corners = np.column_stack([x[columns], y[rows]])
    return TileGrid(corners, fraction[rows, columns].astype(np.float32), settings.tile_um, fraction.shape)


def _tissue_fractions(
    outline: MultiPolygon, x: NDArray[np.float64], y: NDArray[np.float64], tile_um: float
) -> NDArray[np.float64]:
    """Return the tissue fraction of every tile of a grid, shape (len(y), len(x)), exactly.

    The outline is cut to halves of the grid, and to halves of these, until a part is empty, full, or one tile.
    """
    fraction = np.zeros((len(y), len(x)))
    pending: list[tuple[Any, slice, slice]] = [(outline, slice(0, len(y)), slice(0, len(x)))]
    while pending:
        geometry, rows, columns = pending.pop()
        if rows.start == rows.stop or columns.start == columns.stop:
            continue
        left, right = x[columns.start], x[columns.stop - 1] + tile_um
        top, bottom = y[rows.start], y[rows.stop - 1] + tile_um
        # clip_by_rect is faster, but of parts that it has cut before it now and then returns the complement.
        part = shapely.intersection(geometry, shapely.box(left, top, right, bottom))
        # Rounding in the sums must not push a full tile below a minimum of 1.
        covered = round(float(part.area) / ((right - left) * (bottom - top)), 9)
        if covered in (0.0, 1.0) or (rows.stop - rows.start) * (columns.stop - columns.start) == 1:
            fraction[rows, columns] = covered
        elif rows.stop - rows.start >= columns.stop - columns.start:
            middle = (rows.start + rows.stop) // 2
            pending += [(part, slice(rows.start, middle), columns), (part, slice(middle, rows.stop), columns)]
        else:
            middle = (columns.start + columns.stop) // 2
            pending += [(part, rows, slice(columns.start, middle)), (part, rows, slice(middle, columns.stop))]
    return fraction


def read_tiles(slide: Slide, grid: TileGrid, settings: SlideSettings) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles in the order of the grid, a batch at a time.

    While the caller works on a batch, threads read the next one into the memory of the one before, so that two are
    held: a batch is the caller's only until it asks for the next. After memory ran out, batches are smaller
    (`sparra.memory`).

    Yields
    ------
    ndarray of uint8, shape (at most batch_size, tile_px, tile_px, 3)

    Raises
    ------
    UserError
        If the slide is damaged.
    """
    pool = ThreadPoolExecutor(settings.reading_threads)
    size = min(batch_within_memory(settings.batch_size), len(grid))
    memory = [np.empty((size, settings.tile_px, settings.tile_px, 3), dtype=np.uint8) for _ in range(2)]

    def begin(start: int) -> list[Future[None]]:
        corners = grid.corners_um[start : start + size].tolist()
        batch = memory[start // size % 2]

        def read(places: range) -> None:
            for place in places:
                x, y = corners[place]
                slide.read_um_into(x, y, grid.tile_um, batch[place])

        # A few neighbours at a time stay with one thread, so that the pieces of the file that they share are at hand.
        parts = [range(first, min(first + PER_TURN, len(corners))) for first in range(0, len(corners), PER_TURN)]
        return [pool.submit(read, part) for part in parts]

    try:
        following = begin(0) if len(grid) else []
        for start in range(0, len(grid), size or 1):
            parts, following = following, begin(start + size)
            for part in parts:
                part.result()
            yield memory[start // size % 2][: len(grid) - start]
    finally:
        pool.shutdown(cancel_futures=True)
