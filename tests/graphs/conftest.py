"""The published clustering, dense and plain, to judge ours by."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from sparra.bags.bag import Bag, Modality
from sparra.graphs.settings import ResolvedSettings

Partition = NDArray[Any]


@pytest.fixture
def dense_partition() -> Callable[[NDArray[Any], NDArray[Any], ResolvedSettings], Partition]:
    def partition(features: NDArray[Any], positions: NDArray[Any], settings: ResolvedSettings) -> Partition:
        values = np.asarray(features, dtype=np.float64)
        if settings.feature_metric == "standardised":
            values = values[:, values.std(axis=0) > 0]
            values = (values - values.mean(axis=0)) / values.std(axis=0) / np.sqrt(values.shape[1])
        apart = pdist(positions)
        similarity = np.exp(-settings.feature_rate * pdist(values)) * np.exp(-settings.distance_rate * apart)
        similarity[apart >= settings.search_radius] = 0
        return fcluster(linkage(1 - similarity, "average"), settings.cut, "distance")

    return partition


@pytest.fixture
def make_bag() -> Callable[..., Bag]:
    """Bags of jittered patches with smooth features plus noise; the pitch is about 6 mm or 128 µm."""

    def bag(n_patches: int = 60, modality: Modality = "slide", n_features: int = 5, seed: int = 0) -> Bag:
        generator = np.random.default_rng(seed)
        dimensions, pitch = (3, 6.0) if modality == "ct" else (2, 128.0)
        side = pitch * n_patches ** (1 / dimensions)
        positions = generator.uniform(0, side, (n_patches, dimensions))
        slope = generator.normal(size=(dimensions, n_features))
        features = np.sin(4 * positions / side) @ slope + 0.5 * generator.normal(size=(n_patches, n_features))
        provenance = {"encoder": "planted", "source_sha256": f"{seed:064d}"}
        return Bag(modality, features.astype(np.float32), positions, provenance=provenance)

    return bag
