import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sparra.errors import UserError
from sparra.graphs.settings import ResolvedSettings
from sparra.graphs.similarity import (
    BYTES_PER_PAIR,
    feature_weights,
    median_pitch,
    similarity_matrix,
    spatial_order,
)

SEEDS = st.integers(0, 2**31)


def settings(radius: float = 2.0, metric: str = "raw") -> ResolvedSettings:
    return ResolvedSettings(0.3, 0.2, 0.8, radius, 8.0, metric)  # type: ignore[arg-type]


@given(seed=SEEDS, n=st.integers(1, 80), d=st.sampled_from([2, 3]), radius=st.floats(1e-3, 30))
def test_matrix_equals_brute_force(seed: int, n: int, d: int, radius: float) -> None:
    generator = np.random.default_rng(seed)
    positions = generator.uniform(-5, 5, (n, d))
    features = generator.normal(size=(n, 3))
    order = spatial_order(positions, features, radius)
    positions, features = positions[order], features[order]
    apart = cdist(positions, positions)
    expected = np.exp(-0.2 * cdist(features, features)) * np.exp(-0.3 * apart)
    expected[(apart >= radius) | np.eye(n, dtype=bool)] = 0
    found = similarity_matrix(features, positions, settings(radius))
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-12)


def test_radius_is_strict() -> None:
    positions = np.array([[0.0, 0], [0, 1], [0, 3]])
    found = similarity_matrix(np.zeros((3, 1)), positions, settings(radius=2.0))
    assert found.toarray()[0, 1] == pytest.approx(np.exp(-0.3))
    assert found.nnz == 2


def test_too_many_pairs_are_refused_before_memory_is_spent() -> None:
    positions = np.zeros((400, 2))
    with pytest.raises(
        UserError, match=r"79800 pairs nearer than 2, which need 0.00383 GB, more than memory_gb"
    ) as told:
        similarity_matrix(np.zeros((400, 1)), positions, replace(settings(), memory_gb=0.0038))
    assert "search_radius" in told.value.mend
    assert similarity_matrix(np.zeros((400, 1)), positions, replace(settings(), memory_gb=0.0039)).nnz == 400 * 399


def test_memory_a_pair_is_as_stated() -> None:
    positions = np.random.default_rng(0).uniform(0, 20, (3000, 2))
    positions = positions[spatial_order(positions, np.zeros((3000, 1)), 2.0)]
    similarity_matrix(np.zeros((3000, 1)), positions, settings())  # compiled before memory is traced
    tracemalloc.start()
    n_pairs = similarity_matrix(np.zeros((3000, 1)), positions, settings()).nnz // 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < BYTES_PER_PAIR * n_pairs + 500 * 3000


def test_a_tiny_radius_in_a_wide_slide_does_not_overflow() -> None:
    positions = np.array([[0.0, 0], [1e-9, 0], [1e9, 1e9]])
    assert similarity_matrix(np.zeros((3, 1)), positions, settings(radius=1e-6)).nnz == 2


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
