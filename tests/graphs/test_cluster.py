from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from sparra.graphs.cluster import cluster_patches
from sparra.graphs.settings import ResolvedSettings

Dense = Callable[[NDArray[Any], NDArray[Any], ResolvedSettings], NDArray[Any]]


def random_case(seed: int, n: int, d: int) -> tuple[NDArray[Any], NDArray[Any], ResolvedSettings]:
    """Points at random or on a grid, with features and parameters drawn so that groups of all sizes come out."""
    generator = np.random.default_rng(seed)
    side = max(2, round(n ** (1 / d)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * d), -1).reshape(-1, d).astype(float)
    positions = generator.permutation(grid) if seed % 3 == 0 else generator.uniform(0, side, (n, d))
    features = generator.normal(size=(len(positions), generator.integers(1, 20)))
    parameters = ResolvedSettings(
        distance_rate=generator.uniform(0, 0.5),
        feature_rate=generator.uniform(0, 1),
        cut=generator.uniform(0.3, 0.95),
        search_radius=generator.uniform(1.1, 5),
        connectivity=8.0,
        feature_metric="raw" if seed % 2 else "standardised",
    )
    return features, positions, parameters


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("seed", range(40))
def test_partition_is_that_of_dense_average_linkage(seed: int, d: int, dense_partition: Dense) -> None:
    features, positions, parameters = random_case(seed, 20 + 13 * seed, d)
    found = cluster_patches(features, positions, parameters)
    assert adjusted_rand_score(found, dense_partition(features, positions, parameters)) == 1


def test_partition_at_scale_and_with_the_published_parameters(dense_partition: Dense) -> None:
    generator = np.random.default_rng(5)
    positions = np.stack(np.meshgrid(*[np.arange(45)] * 2), -1).reshape(-1, 2) * 128.0
    features = generator.normal(size=(len(positions), 64)).astype(np.float32)
    published = ResolvedSettings(6e-3, 1e-3, 0.8, 1000.0, 2000.0, "raw")
    found = cluster_patches(features, positions, published)
    assert adjusted_rand_score(found, dense_partition(features, positions, published)) == 1
    # field-pathology.md §3: 256 px patches give 6.7 a node, the clustering being all but spatial.
    assert len(positions) / (found.max() + 1) == pytest.approx(6.7, rel=0.1)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 150), d=st.sampled_from([2, 3]))
def test_order_of_the_input_does_not_matter_even_with_ties(seed: int, n: int, d: int) -> None:
    features, positions, parameters = random_case(seed, n, d)
    if seed % 2:
        features = np.ones_like(features)
    shuffle = np.random.default_rng(seed).permutation(len(positions))
    found = cluster_patches(features, positions, parameters)
    np.testing.assert_array_equal(cluster_patches(features[shuffle], positions[shuffle], parameters), found[shuffle])
    assert set(found) == set(range(found.max() + 1))


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), d=st.sampled_from([2, 3]))
def test_shift_and_rotation_do_not_matter(seed: int, d: int) -> None:
    features, positions, parameters = random_case(3 * seed + 1, 100, d)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    moved = positions @ rotation.T + 100
    one, other = cluster_patches(features, positions, parameters), cluster_patches(features, moved, parameters)
    assert adjusted_rand_score(one, other) == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("d", [2, 3])
def test_any_precision_of_features(dtype: type, d: int, dense_partition: Dense) -> None:
    features, positions, parameters = random_case(7, 200, d)
    features = features.astype(dtype)
    found = cluster_patches(features, positions, parameters)
    assert adjusted_rand_score(found, dense_partition(features, positions, parameters)) == 1


def test_ties_still_give_an_average_linkage() -> None:
    """On a grid of equal features every step ties: groups must hold together, and no two may be left to merge."""
    positions = np.stack(np.meshgrid(*[np.arange(12.0)] * 2), -1).reshape(-1, 2)
    parameters = ResolvedSettings(0.5, 0.0, 0.8, 5.0, 8.0, "raw")
    nodes = cluster_patches(np.ones((144, 2)), positions, parameters)
    apart = np.linalg.norm(positions[:, None] - positions, axis=-1)
    similarity = np.where(apart < 5, np.exp(-0.5 * apart), 0)
    member = np.eye(nodes.max() + 1)[nodes]
    between = member.T @ similarity @ member / np.outer(member.sum(axis=0), member.sum(axis=0))
    np.fill_diagonal(between, 0)
    assert 144 / 20 < nodes.max() + 1 < 144 / 4
    assert between.max() < 0.2


@pytest.mark.parametrize("d", [2, 3])
def test_one_patch_two_and_coincident_ones(d: int) -> None:
    parameters = ResolvedSettings(0.2, 1.0, 0.8, 4.0, 8.0, "standardised")
    assert cluster_patches(np.ones((1, 3)), np.zeros((1, d)), parameters).tolist() == [0]
    far = np.zeros((2, d))
    far[1] = 100
    assert sorted(cluster_patches(np.ones((2, 3)), far, parameters)) == [0, 1]
    assert (cluster_patches(np.ones((50, 3)), np.zeros((50, d)), parameters) == 0).all()


def test_far_tissue_never_merges() -> None:
    generator = np.random.default_rng(0)
    positions = np.concatenate([generator.uniform(0, 3, (40, 2)), generator.uniform(0, 3, (40, 2)) + 50])
    nodes = cluster_patches(np.ones((80, 1)), positions, ResolvedSettings(0.0, 0.0, 0.9, 10.0, 8.0, "raw"))
    assert len(set(nodes[:40])) == len(set(nodes[40:])) == 1
    assert nodes[0] != nodes[40]
