"""Patches as painted pixels and voxels."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray


def paint(
    centres: NDArray[np.float64],
    size: Sequence[float],
    values: NDArray[np.float64],
    shape: tuple[int, ...],
) -> NDArray[np.float64]:
    """Paint boxes on a grid of pixels or voxels; where they overlap, their mean.

    Parameters
    ----------
    centres : ndarray of float64, shape (n, d)
        Centres (x, y[, z]) in indices.
    size : sequence of float, length d
        Sides (x, y[, z]) in pixels.
    values : ndarray of float64, shape (n,)
    shape : tuple of int, length d
        ([depth,] height, width) of the grid.

    Returns
    -------
    ndarray of float64, shape `shape`
        NaN where there is no box. A pixel is painted where its centre lies in the box; a box smaller than a pixel
        paints the one that it lies in.
    """
    half = np.asarray(size) / 2
    limit = np.asarray(shape[::-1])
    # A pixel's centre on the border of two boxes belongs to the later one, so that these neither overlap nor gape.
    low = np.ceil(centres - half - 1e-9).astype(np.int64)
    high = np.ceil(centres + half - 1e-9).astype(np.int64)
    missed = high <= low
    low = np.where(missed, np.floor(centres + 0.5).astype(np.int64), low)
    high = np.where(missed, low + 1, high)
    low, high = np.clip(low, 0, limit), np.clip(high, 0, limit)
    start, stop = low.min(axis=0, initial=limit.max()), high.max(axis=0, initial=0)
    painted = np.full(shape, np.nan)
    if len(centres) == 0 or (stop <= start).any():
        return painted
    inner = tuple((stop - start)[::-1].tolist())
    total = _box_sums(low - start, high - start, values, inner)
    count = _box_sums(low - start, high - start, np.ones_like(values), inner)
    covered = count > 0.5
    part = tuple(slice(int(a), int(b)) for a, b in zip(start[::-1], stop[::-1], strict=True))
    painted[part] = np.where(covered, total / np.where(covered, count, 1.0), np.nan)
    return painted


def _box_sums(
    low: NDArray[np.int64], high: NDArray[np.int64], values: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Sum of the values of all boxes over each pixel, from differences at their corners."""
    sums = np.zeros(tuple(n + 1 for n in shape))
    ends = (low, high)
    for corner in product((0, 1), repeat=low.shape[1]):
        index = tuple(ends[end][:, axis] for axis, end in enumerate(corner))[::-1]
        np.add.at(sums, index, values * (-1.0) ** sum(corner))
    for axis in range(sums.ndim):
        sums = sums.cumsum(axis=axis)
    return sums[tuple(slice(None, -1) for _ in shape)]
