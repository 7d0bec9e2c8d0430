import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from sparra.errors import UserError
from sparra.graphs.memory import pair_bytes
from sparra.graphs.settings import ResolvedSettings
from sparra.graphs.similarity import (
    feature_weights,
    median_pitch,
    similarity_matrix,
    spatial_order,
)

SEEDS = st.integers(0, 2**31)


def similarities(positions: NDArray[np.float64], given: ResolvedSettings) -> csr_array:
    features = np.zeros((len(positions), 1))
    return similarity_matrix(features, positions, spatial_order(positions, features, given.search_radius), given)


def settings(radius: float = 2.0, metric: str = "raw") -> ResolvedSettings:
    return ResolvedSettings(0.3, 0.2, 0.8, radius, 8.0, metric)  # type: ignore[arg-type]


@given(seed=SEEDS, n=st.integers(1, 80), d=st.sampled_from([2, 3]), radius=st.floats(1e-3, 30))
def test_matrix_equals_brute_force(seed: int, n: int, d: int, radius: float) -> None:
    generator = np.random.default_rng(seed)
    positions = generator.uniform(-5, 5, (n, d))
    features = generator.normal(size=(n, 3))
    order = spatial_order(positions, features, radius)
    found = similarity_matrix(features, positions, order, settings(radius))
    positions, features = positions[order], features[order]
    apart = cdist(positions, positions)
    expected = np.exp(-0.2 * cdist(features, features)) * np.exp(-0.3 * apart)
    expected[(apart >= radius) | np.eye(n, dtype=bool)] = 0
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-12)
    assert found.has_sorted_indices


def test_radius_is_strict() -> None:
    positions = np.array([[0.0, 0], [0, 1], [0, 3]])
    found = similarities(positions, settings(radius=2.0))
    assert found.toarray()[0, 1] == pytest.approx(np.exp(-0.3))
    assert found.nnz == 2


def test_too_many_pairs_are_refused_before_memory_is_spent() -> None:
    positions = np.zeros((4000, 2))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"needs up to 1.39 GB .* 0.192 for 7998000 pairs of patches") as told:
        similarities(positions, replace(settings(), memory_gb=1.39))
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    assert "search_radius" in told.value.mend
    assert similarities(positions, replace(settings(), memory_gb=1.4)).nnz == 4000 * 3999


def test_memory_a_pair_is_as_stated() -> None:
    positions = np.random.default_rng(0).uniform(0, 20, (3000, 2))
    similarities(positions, settings())  # compiled before memory is traced
    tracemalloc.start()
    n_pairs = similarities(positions, settings()).nnz // 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pair_bytes(n_pairs) < peak < pair_bytes(n_pairs) + 500 * 3000


def test_a_tiny_radius_in_a_wide_slide_does_not_overflow() -> None:
    positions = np.array([[0.0, 0], [1e-9, 0], [1e9, 1e9]])
    assert similarities(positions, settings(radius=1e-6)).nnz == 2


def test_standardised_distance_does_not_depend_on_scale_nor_on_number_of_features() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(500, 40))
    weights = feature_weights(features, "standardised")
    scaled = feature_weights(features * 1000 + 7, "standardised")
    np.testing.assert_allclose(weights, scaled * 1e6, rtol=1e-9)
    typical = np.sqrt(((features[:250] - features[250:]) ** 2) @ weights)
    assert np.median(typical) == pytest.approx(np.sqrt(2), rel=0.05)


def test_constant_features_are_left_out() -> None:
    generator = np.random.default_rng(0)
    features = np.column_stack([generator.normal(size=9), np.full(9, 3.0), np.zeros(9)]).astype(np.float32)
    weights = feature_weights(features, "standardised")
    assert (weights[1:] == 0).all()
    assert weights[0] == pytest.approx(features[:, 0].astype(float).var() ** -1)
    rounding = np.float32(1e6) + np.array([0, 0.0625, 0], dtype=np.float32)
    assert feature_weights(rounding[:, None], "standardised") == 0


def test_pitch_is_that_of_the_grid() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), -1).reshape(-1, 3) * [6.0, 6.0, 8.0]
    assert median_pitch(grid) == 6
    assert median_pitch(np.concatenate([grid, grid])) == 6
    assert median_pitch(np.ones((4, 2))) == 1
