"""Resampling: splines (cubic or linear) for the CT, nearest or linear for the mask, grids aligned by centre.

Source and target share their axes' directions, so interpolation is separable: one sparse matrix an axis.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import spline_filter

from sparra.radiology.geometry import Grid

#: Voxels kept around a crop: the spline prefilter's memory falls by 0.27 a voxel, so 3e-5 is left after 8.
SPLINE_REACH = 8
#: Aligned centres put voxels exactly between two others: those go up, whatever the header's rounding.
_TIE = 1e-4


def isotropic_grid(grid: Grid, spacing_mm: float) -> Grid:
    """Return the isotropic grid that covers `grid` and shares its centre (IBSI: align grid centres)."""
    return centred_grid(grid, (spacing_mm,) * 3)


def centred_grid(grid: Grid, spacing_mm: tuple[float, float, float]) -> Grid:
    """Return the grid of a spacing along x, y, z that covers `grid` and shares its centre."""
    size, spacing = np.asarray(grid.size), np.asarray(grid.spacing)
    # The small number keeps rounding in the header's spacing from adding a voxel.
    new_size = np.ceil(size * spacing / np.asarray(spacing_mm) - 1e-4).astype(int).clip(min=1)
    start = (size - 1) / 2 - (new_size - 1) / 2 * np.asarray(spacing_mm) / spacing
    origin = tuple(grid.to_mm(start).tolist())
    return Grid(tuple(new_size.tolist()), spacing_mm, origin, grid.direction)


def needed_box(source: Grid, target: Grid) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return (start, stop) in `source` voxels (x, y, z) of all that resampling onto `target` depends on."""
    size = np.asarray(source.size)
    first = source.to_index(target.origin)
    last = source.to_index(target.to_mm(np.asarray(target.size) - 1))
    start = np.floor(first).astype(int) - SPLINE_REACH
    stop = np.ceil(last).astype(int) + SPLINE_REACH + 1
    return start.clip(0, size - 1), stop.clip(1, size)


def resample_image(
    volume: NDArray[np.float32], source: Grid, target: Grid, order: Literal[1, 3] = 3
) -> NDArray[np.float32]:
    """Interpolate with B-splines: cubic, or linear.

    Voxels beyond the source repeat its edge, and the result is clipped to the source's range, since a spline
    overshoots beside bone and air.

    Parameters
    ----------
    volume : ndarray of float32, shape (z, y, x)
    source : Grid
        Grid of `volume`.
    target : Grid
        Wanted grid, with the same direction as `source`.
    order : {1, 3}
        Linear or cubic.

    Returns
    -------
    ndarray of float32, shape (z, y, x) of `target`
    """
    result = spline_filter(volume, order=3, output=np.float32, mode="mirror") if order == 3 else volume
    weights_of = _cubic_weights if order == 3 else _linear_weights
    for axis, coordinates in enumerate(_coordinates(source, target)):
        weights = weights_of(coordinates, volume.shape[axis])
        moved = np.moveaxis(result, axis, 0)
        filled = weights @ moved.reshape(moved.shape[0], -1)
        result = np.moveaxis(filled.reshape(len(coordinates), *moved.shape[1:]), 0, axis)
    clipped: NDArray[np.float32] = np.clip(result, volume.min(), volume.max()).astype(np.float32)
    return clipped


def resample_mask(mask: NDArray[np.bool_], source: Grid, target: Grid) -> NDArray[np.bool_]:
    """Take the nearest voxel of `mask` [z, y, x] for each voxel of `target`; False beyond the source."""
    indices = [np.floor(c + 0.5 + _TIE).astype(int) for c in _raw_coordinates(source, target)]
    z, y, x = ((i >= 0) & (i < n) for i, n in zip(indices, mask.shape, strict=True))
    clipped = [i.clip(0, n - 1) for i, n in zip(indices, mask.shape, strict=True)]
    inside = z[:, None, None] & y[:, None] & x
    nearest: NDArray[np.bool_] = mask[np.ix_(*clipped)] & inside
    return nearest


def resample_mask_linearly(mask: NDArray[np.bool_], source: Grid, target: Grid) -> NDArray[np.bool_]:
    """Interpolate `mask` [z, y, x] linearly and keep what is at least half inside (IBSI's partial volume of 0.5)."""
    covered: NDArray[np.bool_] = resample_image(mask.astype(np.float32), source, target, order=1) >= 0.5 - _TIE
    return covered & resample_mask(np.ones_like(mask), source, target)


def _raw_coordinates(source: Grid, target: Grid) -> list[NDArray[np.float64]]:
    """Source voxel coordinates of the target's planes along z, y, x."""
    first = source.to_index(target.origin)
    step = np.divide(target.spacing, source.spacing)
    return [first[a] + step[a] * np.arange(target.size[a]) for a in (2, 1, 0)]


def _coordinates(source: Grid, target: Grid) -> list[NDArray[np.float64]]:
    lengths = reversed(source.size)
    return [c.clip(0, n - 1) for c, n in zip(_raw_coordinates(source, target), lengths, strict=True)]


def _linear_weights(coordinates: NDArray[np.float64], length: int) -> sparse.csr_array:
    """Matrix (coordinates, length) of two weights a coordinate."""
    base = np.floor(coordinates).astype(int).clip(0, max(length - 2, 0))
    t = coordinates - base
    columns = np.stack([base, np.minimum(base + 1, length - 1)], axis=1)
    rows = np.repeat(np.arange(len(coordinates)), 2)
    triplets = (np.stack([1 - t, t], axis=1).ravel().astype(np.float32), (rows, columns.ravel()))
    return sparse.csr_array(triplets, shape=(len(coordinates), length))


def _cubic_weights(coordinates: NDArray[np.float64], length: int) -> sparse.csr_array:
    """Matrix (coordinates, length) of four cubic B-spline weights a coordinate, mirrored at the ends."""
    base = np.floor(coordinates).astype(int)
    t = coordinates - base
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1)
    period = max(2 * (length - 1), 1)
    columns = (base[:, None] + np.arange(-1, 3)) % period
    columns = np.where(columns >= length, period - columns, columns)
    rows = np.repeat(np.arange(len(coordinates)), 4)
    triplets = ((weights / 6).ravel().astype(np.float32), (rows, columns.ravel()))
    return sparse.csr_array(triplets, shape=(len(coordinates), length))
