"""The published clustering (SlideGraph), written plainly: what `graph_building` measures against.

Algorithm of Lu et al., *SlideGraph+*, Medical Image Analysis 2022, as TIAToolbox runs it: every step quadratic.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial import cKDTree

from sparra.graphs.settings import ResolvedSettings


def dense_partition(
    features: NDArray[Any], positions: NDArray[Any], settings: ResolvedSettings
) -> tuple[NDArray[np.int32], dict[str, float]]:
    """Cluster patches by SciPy's average linkage on all pairs.

    Parameters
    ----------
    features : ndarray of float, shape (n_patches, n_features)
    positions : ndarray of float64, shape (n_patches, 2) or (n_patches, 3)
    settings : ResolvedSettings

    Returns
    -------
    labels : ndarray of int32, shape (n_patches,)
    seconds : dict
        ``search``: standardising, and a k-d tree asked for all neighbours of every patch, sorted by distance
        (k = n_patches, as there). ``distances``: patch by patch, features of the neighbours within the radius
        are compared and 1 - similarity is written to the condensed vector of n (n - 1) / 2 distances.
        ``linkage``: SciPy's average linkage and the cut.
    """
    n_patches = len(positions)
    begin = time.perf_counter()
    values = _scaled(features, settings)
    apart, neighbours = cKDTree(positions).query(positions, k=n_patches)
    searched = time.perf_counter()
    condensed = np.empty(n_patches * (n_patches - 1) // 2)
    start = 0
    for patch in range(n_patches - 1):
        near = apart[patch] < settings.search_radius
        others, lengths = neighbours[patch, near], apart[patch, near]
        differences = np.linalg.norm(values[others] - values[patch], axis=1)
        row = np.ones(n_patches)
        row[others] = 1 - np.exp(-settings.feature_rate * differences) * np.exp(-settings.distance_rate * lengths)
        condensed[start : start + n_patches - 1 - patch] = row[patch + 1 :]
        start += n_patches - 1 - patch
    filled = time.perf_counter()
    labels = fcluster(linkage(condensed, "average"), settings.cut, "distance")
    seconds = {
        "search": searched - begin,
        "distances": filled - searched,
        "linkage": time.perf_counter() - filled,
    }
    return labels, seconds


def _scaled(features: NDArray[Any], settings: ResolvedSettings) -> NDArray[np.float64]:
    """Return features whose Euclidean distance is that of the metric, in float64."""
    values = features.astype(np.float64)
    if settings.feature_metric == "raw":
        return values
    values = values[:, np.ptp(values, axis=0) > 1e-6 * np.abs(values).max(axis=0)]
    scaled: NDArray[np.float64] = (values - values.mean(axis=0)) / values.std(axis=0) / np.sqrt(values.shape[1])
    return scaled
