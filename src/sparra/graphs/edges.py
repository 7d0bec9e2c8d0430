"""Edges between nodes: always both directions, unique, without self-loops, sorted by (source, target)."""

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree

from sparra.graphs.settings import FeatureMetric
from sparra.graphs.similarity import feature_weights

Edges = NDArray[np.int64]

# Extents below this share of the largest one are rounding: the points lie on a line or a plane.
_FLAT = 1e-9
DISTANCES_AT_A_TIME = 1 << 22
_PAIRS_AT_A_TIME = 1 << 20


def delaunay_edges(positions: NDArray[np.float64], max_length: float) -> Edges:
    """Return the edges of the Delaunay triangulation that are not longer than `max_length`.

    Parameters
    ----------
    positions : ndarray of float64, shape (n_nodes, 2) or (n_nodes, 3)
    max_length : float
        In the unit of `positions`.

    Returns
    -------
    ndarray of int64, shape (2, n_edges)

    Notes
    -----
    Points on a line or plane are triangulated within it: on a line, each joins the next. Up to d + 1 points in
    d dimensions all join. Coincident points join the first of their kind, which joins the others; points that
    Qhull leaves out as too near another join that one. Four points on an empty circle have two triangulations,
    one of which is taken, the same for any shift of the points.
    """
    places, place_of_node = np.unique(_scaled(positions), axis=0, return_inverse=True)
    representative = np.full(len(places), len(positions))
    np.minimum.at(representative, place_of_node, np.arange(len(positions)))
    pairs = representative[_triangulate(_flattened(places))]
    coincident = np.stack([np.arange(len(positions)), representative[place_of_node]], axis=1)
    return _symmetric(_short(np.concatenate([pairs, coincident]), positions, max_length), len(positions))


def nearest_edges(positions: NDArray[np.float64], neighbours: int, max_length: float) -> Edges:
    """Join each node with its nearest ones, if not farther than `max_length`.

    Parameters
    ----------
    positions : ndarray of float64, shape (n_nodes, d)
    neighbours : int
        Number of nearest nodes; a node may get more, since edges have both directions.
    max_length : float

    Returns
    -------
    ndarray of int64, shape (2, n_edges)
    """
    n_nodes = len(positions)
    neighbours = min(neighbours, n_nodes - 1)
    if neighbours < 1:
        return _symmetric(np.empty((0, 2), dtype=np.int64), n_nodes)
    _, found = cKDTree(positions).query(positions, k=neighbours + 1)
    pairs = np.stack([np.repeat(np.arange(n_nodes), neighbours), _without_self(found).ravel()], axis=1)
    return _symmetric(_short(pairs, positions, max_length), n_nodes)


def radius_edges(positions: NDArray[np.float64], radius: float) -> Edges:
    """Join all pairs of nodes that lie no farther apart than `radius`.

    Parameters
    ----------
    positions : ndarray of float64, shape (n_nodes, d)
    radius : float
        In the unit of `positions`.

    Returns
    -------
    ndarray of int64, shape (2, n_edges)
    """
    # A little wider, so that pairs at just the radius do not hang on the tree's rounding; `_short` decides.
    found = cKDTree(positions).query_pairs(radius * (1 + 1e-9), output_type="ndarray")
    return _symmetric(_short(found.astype(np.int64, copy=False), positions, radius), len(positions))


def count_within(positions: NDArray[np.float64], radius: float) -> int:
    """Return how many pairs of nodes lie no farther apart than `radius`, without listing them."""
    tree = cKDTree(positions)
    return int(tree.count_neighbors(tree, radius * (1 + 1e-9)) - len(positions)) // 2


def feature_edges(features: NDArray[np.floating[Any]], neighbours: int, metric: FeatureMetric) -> Edges:
    """Join each node with those of the most similar features, for bags without positions.

    Parameters
    ----------
    features : ndarray of float, shape (n_nodes, n_features)
    neighbours : int
        Number of nearest nodes; a node may get more, since edges have both directions.
    metric : {"standardised", "raw"}
        The distance of features, as in `GraphSettings`.

    Returns
    -------
    ndarray of int64, shape (2, n_edges)

    Notes
    -----
    Distances are taken in blocks of rows, so memory grows with the number of nodes and not with its square.
    """
    n_nodes = len(features)
    neighbours = min(neighbours, n_nodes - 1)
    if neighbours < 1:
        return _symmetric(np.empty((0, 2), dtype=np.int64), n_nodes)
    values = features.astype(np.float64)
    values -= values.mean(axis=0)
    values *= np.sqrt(feature_weights(features, metric))
    squares = np.einsum("nk,nk->n", values, values)
    rows = max(1, DISTANCES_AT_A_TIME // n_nodes)
    nearest = np.empty((n_nodes, neighbours), dtype=np.int64)
    for start in range(0, n_nodes, rows):
        block = slice(start, min(start + rows, n_nodes))
        # The node's own square is left out: it is the same for all of its row.
        distances = values[block] @ values.T
        distances *= -2
        distances += squares
        own = np.arange(block.start, block.stop)
        distances[own - start, own] = np.inf
        nearest[block] = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]
    pairs = np.stack([np.repeat(np.arange(n_nodes), neighbours), nearest.ravel()], axis=1)
    return _symmetric(pairs, n_nodes)


def _scaled(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift and scale to the unit cube, rounded so that a shift of the points changes nothing."""
    shifted = positions - positions.min(axis=0)
    scaled: NDArray[np.float64] = np.round(shifted / (shifted.max() or 1.0), 12)
    return scaled


def _flattened(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return coordinates of the places within the line, plane or space that they span."""
    centred = places - places.mean(axis=0)
    _, extents, axes = np.linalg.svd(centred, full_matrices=False)
    spanned = extents > _FLAT * max(extents[0], np.finfo(float).tiny)
    return places if spanned.all() and len(extents) == places.shape[1] else centred @ axes[spanned].T


def _triangulate(places: NDArray[np.float64]) -> Edges:
    """Return pairs of places, shape (n_pairs, 2), in either direction, some more than once."""
    n_places, dimensions = places.shape
    if n_places <= dimensions + 1:
        return np.array(list(combinations(range(n_places), 2)), dtype=np.int64).reshape(-1, 2)
    if dimensions == 1:
        along = np.argsort(places[:, 0])
        return np.stack([along[:-1], along[1:]], axis=1).astype(np.int64)
    triangulation = Delaunay(places)
    corners = list(combinations(range(dimensions + 1), 2))
    pairs = triangulation.simplices[:, corners].reshape(-1, 2)
    return np.concatenate([pairs, triangulation.coplanar[:, [0, 2]]]).astype(np.int64, copy=False)


def _without_self(found: NDArray[np.intp]) -> NDArray[np.intp]:
    """Drop each row's own index, or the farthest where coincident nodes hide it; one column fewer."""
    is_self = found == np.arange(len(found))[:, None]
    is_self[~is_self.any(axis=1), -1] = True
    others: NDArray[np.intp] = found[~is_self].reshape(len(found), -1)
    return others


def _short(pairs: Edges, positions: NDArray[np.float64], max_length: float) -> Edges:
    short = np.empty(len(pairs), dtype=bool)
    for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
        block = slice(start, start + _PAIRS_AT_A_TIME)
        ends = positions[pairs[block]]
        short[block] = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) <= max_length
    kept: Edges = pairs[short]
    return kept


def _symmetric(pairs: Edges, n_nodes: int) -> Edges:
    """Return both directions of the pairs, each once, sorted, as rows of sources and targets."""
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    keys = np.empty(2 * len(pairs), dtype=np.int64)
    keys[: len(pairs)] = pairs[:, 0] * n_nodes + pairs[:, 1]
    keys[len(pairs) :] = pairs[:, 1] * n_nodes + pairs[:, 0]
    del pairs
    keys.sort()
    keys = keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys
    edges = np.empty((2, len(keys)), dtype=np.int64)
    np.divmod(keys, n_nodes, out=(edges[0], edges[1]))
    return edges
