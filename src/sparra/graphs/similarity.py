"""Similarities of neighbouring patches, as a sparse matrix, without any array of pairs by features."""

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from sparra.compiled import compiled
from sparra.graphs.memory import pair_bytes, patch_bytes, refuse_above
from sparra.graphs.settings import FeatureMetric, ResolvedSettings

Floats = NDArray[np.floating[Any]]

_ROWS_AT_A_TIME = 256
# Standard deviations below this share of the largest value are rounding of float32, not variation.
_CONSTANT = 1e-6


class _Grid(NamedTuple):
    """Points sorted by the cell they lie in; cells are at least as wide as the search radius."""

    points: NDArray[np.float64]
    cell_of_point: NDArray[np.int64]
    first_of_cell: NDArray[np.int64]
    cells_around: NDArray[np.int64]


def median_pitch(positions: NDArray[np.float64]) -> float:
    """Return the median distance of a place to its nearest other place; 1 where all coincide.

    Parameters
    ----------
    positions : ndarray, shape (n_patches, d)
    """
    places = np.unique(positions, axis=0)
    if len(places) < 2:
        return 1.0
    distances, _ = cKDTree(places).query(places, k=2)
    return float(np.median(distances[:, 1]))


def feature_weights(features: Floats, metric: FeatureMetric) -> NDArray[np.float64]:
    """Return the weights w of the squared feature distance f² = Σ_k w_k (x_k - y_k)².

    Parameters
    ----------
    features : ndarray, shape (n_patches, n_features)
    metric : {"standardised", "raw"}
        ``raw``: all one. ``standardised``: 1 / (variance × number of varying features), zero where constant.

    Returns
    -------
    ndarray of float64, shape (n_features,)
    """
    n_features = features.shape[1]
    if metric == "raw":
        return np.ones(n_features)
    starts = range(0, len(features), _ROWS_AT_A_TIME)
    total, largest, squares = np.zeros((3, n_features))
    for start in starts:
        rows = features[start : start + _ROWS_AT_A_TIME].astype(np.float64)
        total += rows.sum(axis=0)
        np.maximum(largest, np.abs(rows).max(axis=0), out=largest)
    for start in starts:
        squares += ((features[start : start + _ROWS_AT_A_TIME] - total / len(features)) ** 2).sum(axis=0)
    variance = squares / len(features)
    varies = np.sqrt(variance) > _CONSTANT * largest
    weights = np.zeros(n_features)
    weights[varies] = 1.0 / variance[varies]
    return weights / max(1, int(np.count_nonzero(weights)))


def spatial_order(positions: NDArray[np.float64], features: Floats, radius: float) -> NDArray[np.intp]:
    """Return an order of the patches that does not depend on the order they come in.

    Patches are sorted by cells of width `radius`, so that neighbours lie near in memory, then by position;
    coincident ones by the sum of their features.
    """
    cells, _ = _cells(positions, radius)
    keys = (features.sum(axis=1, dtype=np.float64), *positions.T[::-1], *cells.T[::-1])
    return np.lexsort(keys)


def similarity_matrix(
    features: NDArray[Any],
    positions: NDArray[np.float64],
    order: NDArray[np.intp],
    settings: ResolvedSettings,
    held_bytes: float = 0,
) -> csr_array:
    """Return the symmetric similarities exp(-λ_f f) exp(-λ_d d) of patches nearer than the search radius.

    Parameters
    ----------
    features : ndarray, shape (n_patches, n_features)
    positions : ndarray of float64, shape (n_patches, d)
    order : ndarray, shape (n_patches,)
        Their `spatial_order`.
    settings : ResolvedSettings
    held_bytes : float
        Memory that the caller holds besides, for `settings.memory_gb`.

    Returns
    -------
    csr_array of float64, shape (n_patches, n_patches)
        Rows and columns in `order`, without a diagonal. Memory is proportional to the number of pairs.

    Raises
    ------
    UserError
        If the worker would need more memory than `settings.memory_gb`.
    """
    grid = _grid(positions[order], settings.search_radius)
    n_patches = len(positions)
    counts = np.zeros(n_patches + 1, dtype=np.int64)
    _count_pairs(grid, settings.search_radius, counts)
    pointers = np.cumsum(counts)
    n_pairs = int(pointers[-1]) // 2
    precision = working_precision(features.dtype)
    refuse_above(
        settings.memory_gb,
        {
            "features": features.size * (features.itemsize + precision.itemsize),
            f"{n_pairs} pairs of patches nearer than {settings.search_radius:g}": pair_bytes(n_pairs),
            "patches": patch_bytes(*features.shape),
            "graphs of the subject's other images": held_bytes,
        },
        "Lower search_radius, take patches farther apart",
    )
    columns = np.empty(pointers[-1], dtype=np.int32 if pointers[-1] < 2**31 else np.int64)
    values = np.empty(pointers[-1])
    rates = (settings.distance_rate, settings.feature_rate)
    ordered = _in_order(features, order, precision)
    weights = feature_weights(ordered, settings.feature_metric)
    _fill_pairs(grid, settings.search_radius, ordered, weights, rates, pointers[:-1].copy(), columns, values)
    return csr_array((values, columns, pointers.astype(columns.dtype)), shape=(n_patches, n_patches))


def working_precision(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that features of `dtype` are compared in: float32 where it holds them exactly, else float64."""
    return np.dtype(np.float32 if np.result_type(dtype, np.float32) == np.float32 else np.float64)


def _in_order(features: NDArray[Any], order: NDArray[np.intp], precision: np.dtype[Any]) -> Floats:
    """Copy the rows in `order`, a block at a time, so that no second copy is held."""
    ordered = np.empty(features.shape, dtype=precision)
    for start in range(0, len(order), _ROWS_AT_A_TIME):
        block = slice(start, start + _ROWS_AT_A_TIME)
        ordered[block] = features[order[block]]
    return ordered


def _cells(positions: NDArray[np.float64], radius: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each point's cell, and the number of cells along each axis, capped so that their keys fit."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    width = max(radius, float((high - low).max()) / 2**20)
    return ((positions - low) / width).astype(np.int64), ((high - low) / width).astype(np.int64) + 1


def _grid(points: NDArray[np.float64], radius: float) -> _Grid:
    cells, shape = _cells(points, radius)
    strides = np.append(np.cumprod(shape[:0:-1])[::-1], 1)
    keys, first, cell_of_point = np.unique(cells @ strides, return_index=True, return_inverse=True)
    around = np.full((len(keys), 3 ** points.shape[1]), -1, dtype=np.int64)
    for slot, step in enumerate(product((-1, 0, 1), repeat=points.shape[1])):
        beside = cells[first] + np.array(step)
        inside = ((beside >= 0) & (beside < shape)).all(axis=1)
        place = np.searchsorted(keys, beside @ strides).clip(max=len(keys) - 1)
        found = inside & (keys[place] == beside @ strides)
        around[found, slot] = place[found]
    bounds = np.append(first, len(points)).astype(np.int64)
    return _Grid(np.ascontiguousarray(points), cell_of_point.astype(np.int64), bounds, around)


@compiled
def _neighbours_above(
    point: int, grid: _Grid, radius: float, found: NDArray[np.int64], distances: NDArray[np.float64]
) -> int:
    """Write the later points nearer than `radius` (strictly) and their distances; return their number."""
    count = 0
    for cell in grid.cells_around[grid.cell_of_point[point]]:
        if cell < 0:
            continue
        for other in range(max(grid.first_of_cell[cell], point + 1), grid.first_of_cell[cell + 1]):
            squared = 0.0
            for axis in range(grid.points.shape[1]):
                squared += (grid.points[point, axis] - grid.points[other, axis]) ** 2
            distance = np.sqrt(squared)
            if distance < radius:
                found[count] = other
                distances[count] = distance
                count += 1
    return count


@compiled
def _count_pairs(grid: _Grid, radius: float, counts: NDArray[np.int64]) -> None:
    n_points = len(grid.points)
    found, distances = np.empty(n_points, np.int64), np.empty(n_points, np.float64)
    for point in range(n_points):
        count = _neighbours_above(point, grid, radius, found, distances)
        counts[point + 1] += count
        for other in found[:count]:
            counts[other + 1] += 1


@compiled
def _fill_pairs(
    grid: _Grid,
    radius: float,
    features: Floats,
    weights: NDArray[np.float64],
    rates: tuple[float, float],
    free: NDArray[np.int64],
    columns: NDArray[Any],
    values: NDArray[np.float64],
) -> None:
    """Write every pair into the rows of both; `free`, first the rows' starts, moves on. Columns come out ascending."""
    n_points = len(grid.points)
    found, distances = np.empty(n_points, np.int64), np.empty(n_points, np.float64)
    for point in range(n_points):
        count = _neighbours_above(point, grid, radius, found, distances)
        for k in range(count):
            squared = _squared_difference(features[point], features[found[k]], weights)
            similarity = np.exp(-rates[0] * distances[k] - rates[1] * np.sqrt(squared))
            for row, column in ((point, found[k]), (found[k], point)):
                columns[free[row]] = column
                values[free[row]] = similarity
                free[row] += 1


@compiled
def _squared_difference(one: Floats, other: Floats, weights: NDArray[np.float64]) -> float:
    """Return Σ_k w_k (x_k - y_k)², summed in float64 so that the partition does not hang on rounding."""
    total = 0.0
    for k in range(len(weights)):
        difference = np.float64(one[k]) - np.float64(other[k])
        total += weights[k] * difference * difference
    return total
