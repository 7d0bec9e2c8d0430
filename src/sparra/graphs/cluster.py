"""Hybrid spatial and feature clustering: exact average linkage on sparse similarities.

Pairs beyond the search radius have similarity zero, so the similarity of two groups is S(A, B) / (|A| |B|), where
S, the sum over pairs of patches, adds up when groups merge. Average linkage is reducible, so following chains of
nearest neighbours finds the same merges as always merging the most similar pair (Murtagh, 1983), in time and memory
proportional to the number of neighbouring pairs. Merges stop below the cut, where a group can be left for good: no
later merge makes it more similar to anything.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparra.compiled import compiled
from sparra.graphs.settings import ResolvedSettings
from sparra.graphs.similarity import similarity_matrix, spatial_order

# Relative difference below which two similarities count as equal: far above the rounding of their sums.
_TIE = 1e-12


def cluster_patches(
    features: NDArray[Any], positions: NDArray[np.float64], settings: ResolvedSettings, held_bytes: float = 0
) -> NDArray[np.int64]:
    """Group neighbouring, similar patches into nodes.

    Parameters
    ----------
    features : ndarray of float or integers, shape (n_patches, n_features)
    positions : ndarray of float64, shape (n_patches, 2) or (n_patches, 3)
    settings : ResolvedSettings
    held_bytes : float
        Memory that the caller holds besides, for `settings.memory_gb`.

    Returns
    -------
    ndarray of int64, shape (n_patches,)
        Node of each patch, numbered from 0 along `spatial_order` of the nodes' first patches.

    Raises
    ------
    UserError
        If the worker would need more memory than `settings.memory_gb`.

    Notes
    -----
    The partition is that of SciPy's dense average linkage on 1 - similarity, cut at `settings.cut`, wherever no two
    similarities tie exactly. Ties go to the group whose first patch comes first in `spatial_order`, so the order
    of the input does not matter even then; a rotation, though, may break a tie differently.
    """
    order = spatial_order(positions, features, settings.search_radius)
    similarity = similarity_matrix(features, positions, order, settings, held_bytes)
    roots = _average_linkage(_singletons(similarity), 1.0 - settings.cut)
    nodes = np.empty(len(order), dtype=np.int64)
    nodes[order] = np.unique(roots, return_inverse=True)[1]
    return nodes


class _Forest(NamedTuple):
    """Groups of patches and their summed similarities.

    A group is named by its first patch, its root. Its row of the similarity matrix is a chain of the rows of its
    members; entries name patches, whose groups are looked up on reading.

    Attributes
    ----------
    parent : one step from a patch towards its root
    size : number of patches of a root
    finished : whether a root can merge no more
    start, used : first entry of a patch's row, and number of entries still in use
    following, last : next row in a chain (-1 ends it), and a root's last one
    other, value : entries of the rows
    total : scratch, summed similarity to each root, zero between calls
    touched : scratch, roots whose total is not zero
    """

    parent: NDArray[np.int64]
    size: NDArray[np.int64]
    finished: NDArray[np.bool_]
    start: NDArray[Any]
    used: NDArray[np.int64]
    following: NDArray[np.int64]
    last: NDArray[np.int64]
    other: NDArray[Any]
    value: NDArray[np.float64]
    total: NDArray[np.float64]
    touched: NDArray[np.int64]


def _singletons(similarity: csr_array) -> _Forest:
    n_patches = similarity.shape[0]
    return _Forest(
        parent=np.arange(n_patches),
        size=np.ones(n_patches, dtype=np.int64),
        finished=np.zeros(n_patches, dtype=np.bool_),
        start=similarity.indptr,
        used=np.diff(similarity.indptr).astype(np.int64),
        following=np.full(n_patches, -1),
        last=np.arange(n_patches),
        other=similarity.indices,
        value=similarity.data,
        total=np.zeros(n_patches),
        touched=np.empty(n_patches, dtype=np.int64),
    )


@compiled
def _average_linkage(forest: _Forest, threshold: float) -> NDArray[np.int64]:
    """Return the root of each patch's group, by nearest-neighbour chains.

    Similarity strictly rises along a chain, which ends in a pair of mutual nearest neighbours or at a group
    without any neighbour above `threshold`. The rows' entries are overwritten.
    """
    n_patches = len(forest.parent)
    chain = np.empty(n_patches, np.int64)
    links = np.empty(n_patches, np.float64)
    length, first = 0, 0
    while True:
        if length == 0:
            while first < n_patches and (forest.parent[first] != first or forest.finished[first]):
                first += 1
            if first == n_patches:
                break
            chain[0], links[0], length = first, threshold, 1
        top = chain[length - 1]
        nearest, similarity = _nearest(forest, top)
        if _rises(similarity, links[length - 1], length):
            chain[length], links[length] = nearest, similarity
            length += 1
        elif length == 1:
            forest.finished[top] = True
            length = 0
        else:
            _merge(forest, chain[length - 2], top)
            length -= 2
    return np.array([_root(forest.parent, patch) for patch in range(n_patches)])


@compiled
def _rises(similarity: float, link: float, length: int) -> bool:
    """Tell whether the chain goes on; rounding must not let it turn in a circle of equals."""
    return similarity >= link if length == 1 else similarity > link * (1 + _TIE)


@compiled
def _root(parent: NDArray[np.int64], patch: int) -> int:
    while parent[patch] != patch:
        parent[patch] = parent[parent[patch]]
        patch = parent[patch]
    return patch


@compiled
def _nearest(forest: _Forest, group: int) -> tuple[int, float]:
    """Return the most similar group, the first of equals, and its similarity (-1 if there is none)."""
    count = _gather(forest, group)
    nearest, highest = -1, -1.0
    for other in forest.touched[:count]:
        similarity = forest.total[other] / (forest.size[group] * forest.size[other])
        if similarity > highest or (similarity == highest and other < nearest):
            nearest, highest = other, similarity
    _compact(forest, group, count)
    return nearest, highest


@compiled
def _gather(forest: _Forest, group: int) -> int:
    """Sum the similarities of `group` to each other group that may still merge; return their number."""
    count, row = 0, group
    while row >= 0:
        for entry in range(forest.start[row], forest.start[row] + forest.used[row]):
            other = _root(forest.parent, forest.other[entry])
            if other != group and not forest.finished[other]:
                if forest.total[other] == 0.0:
                    forest.touched[count] = other
                    count += 1
                forest.total[other] += forest.value[entry]
        row = forest.following[row]
    return count


@compiled
def _compact(forest: _Forest, group: int, count: int) -> None:
    """Write the sums back into the group's rows, one entry a neighbour, and clear the scratch."""
    row, written = group, 0
    while True:
        room = min(forest.used[row], count - written)
        for k in range(room):
            other = forest.touched[written + k]
            forest.other[forest.start[row] + k] = other
            forest.value[forest.start[row] + k] = forest.total[other]
            forest.total[other] = 0.0
        forest.used[row] = room
        written += room
        if written == count:
            break
        row = forest.following[row]
    forest.following[row] = -1
    forest.last[group] = row


@compiled
def _merge(forest: _Forest, one: int, other: int) -> None:
    """Join two groups under the lower root."""
    low, high = min(one, other), max(one, other)
    forest.parent[high] = low
    forest.size[low] += forest.size[high]
    forest.following[forest.last[low]] = high
    forest.last[low] = forest.last[high]
