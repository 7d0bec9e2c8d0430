from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import Delaunay
from scipy.spatial.distance import cdist

from sparra.graphs.edges import Edges, delaunay_edges, feature_edges, nearest_edges, radius_edges

SEEDS = st.integers(0, 2**31)
FAR = 1e9


def pairs(edges: Edges) -> set[tuple[int, int]]:
    return {(int(i), int(j)) for i, j in edges.T if i < j}


def is_well_formed(edges: Edges, n_nodes: int) -> bool:
    listed = [tuple(edge) for edge in edges.T.tolist()]
    return (
        edges.dtype == np.int64
        and edges.shape == (2, len(listed))
        and listed == sorted(set(listed))
        and set(listed) == {(j, i) for i, j in listed}
        and all(i != j and 0 <= i < n_nodes for i, j in listed)
    )


def awkward_points(seed: int, n: int, d: int) -> NDArray[np.float64]:
    """Points in general position, on a grid, on a line, on a plane, or all but a few coincident."""
    generator = np.random.default_rng(seed)
    points = generator.uniform(0, 100, (n, d))
    kind = seed % 5
    if kind == 1:
        points = np.round(points, -1)
    elif kind == 2:
        points = points[:, :1] * np.arange(1, d + 1) + 3
    elif kind == 3:
        points[:, -1] = points[:, 0] - 7
    elif kind == 4:
        points[: n // 2] = points[0]
    return points


@given(seed=SEEDS, n=st.integers(1, 60), d=st.sampled_from([2, 3]), longest=st.floats(1, 300))
def test_edges_are_always_symmetric_unique_sorted_and_short(seed: int, n: int, d: int, longest: float) -> None:
    points = awkward_points(seed, n, d)
    for edges in (delaunay_edges(points, longest), nearest_edges(points, 4, longest), radius_edges(points, longest)):
        assert is_well_formed(edges, n)
        assert np.all(np.linalg.norm(points[edges[0]] - points[edges[1]], axis=1) <= longest)
    assert is_well_formed(feature_edges(points, 4, "standardised"), n)


@given(seed=SEEDS, n=st.integers(1, 60), d=st.sampled_from([2, 3]))
def test_without_a_limit_every_node_is_reached(seed: int, n: int, d: int) -> None:
    edges = delaunay_edges(awkward_points(seed, n, d), FAR)
    reached = {0}
    for _ in range(n):
        reached |= set(edges[1, np.isin(edges[0], list(reached))].tolist())
    assert reached == set(range(n))


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_delaunay_has_just_the_pairs_of_the_simplices(seed: int, d: int) -> None:
    points = np.random.default_rng(seed).uniform(0, 1000, (200, d)) + 5e4
    expected = set()
    for simplex in Delaunay(points).simplices:
        for i, j in combinations(sorted(map(int, simplex)), 2):
            if np.linalg.norm(points[i] - points[j]) <= 120:
                expected.add((i, j))
    assert pairs(delaunay_edges(points, 120)) == expected


def test_delaunay_circles_are_empty() -> None:
    """Gabriel's criterion, from the definition: an edge whose own circle is empty is always there."""
    points = np.random.default_rng(3).uniform(size=(80, 2))
    found = pairs(delaunay_edges(points, FAR))
    for i, j in combinations(range(80), 2):
        centre, radius = (points[i] + points[j]) / 2, np.linalg.norm(points[i] - points[j]) / 2
        if np.sum(np.linalg.norm(points - centre, axis=1) < radius - 1e-12) == 0:
            assert (i, j) in found


def test_length_limit_includes_itself() -> None:
    points = np.array([[0.0, 0], [1, 1], [1, 3], [1, 6]])
    assert pairs(delaunay_edges(points, 0.5)) == set()
    assert pairs(delaunay_edges(points, 1.5)) == {(0, 1)}
    assert pairs(delaunay_edges(points, 2.0)) == {(0, 1), (1, 2)}


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_nodes_are_all_joined(n: int, d: int) -> None:
    points = np.random.default_rng(0).uniform(size=(n, d))
    assert pairs(delaunay_edges(points, FAR)) == set(combinations(range(n), 2))


def test_collinear_nodes_join_the_next_one() -> None:
    along = np.array([3.0, 0.0, 10.0, 4.0])
    for direction in ([1.0, 2.0], [0.0, 1.0], [1.0, -1.0, 0.5]):
        assert pairs(delaunay_edges(np.outer(along, direction) + 70, FAR)) == {(0, 1), (0, 3), (2, 3)}


def test_coplanar_nodes_are_triangulated_in_their_plane() -> None:
    flat = np.random.default_rng(1).uniform(0, 10, (30, 2))
    tilt, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    in_space = flat @ tilt[:2] + 20
    assert pairs(delaunay_edges(in_space, FAR)) == pairs(delaunay_edges(flat, FAR))


@pytest.mark.parametrize("thickness", [1e-13, 1e-10, 1e-7, 1e-4])
def test_nearly_coplanar_nodes_are_no_error(thickness: float) -> None:
    points = np.random.default_rng(1).uniform(0, 1, (50, 3)) * [100, 100, 100 * thickness]
    edges = delaunay_edges(points, FAR)
    assert set(edges[0]) == set(range(50))


def test_coincident_nodes_stay_connected() -> None:
    points = np.array([[0.0, 0], [5, 0], [0, 5], [5, 5.5], [0, 0], [0, 0]])
    found = pairs(delaunay_edges(points, FAR))
    assert {(0, 4), (0, 5), (0, 1), (0, 2)} <= found
    assert pairs(delaunay_edges(np.zeros((3, 2)), FAR)) == {(0, 1), (0, 2)}


def test_shift_changes_no_edge_even_on_a_grid() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(9.0)] * 3), -1).reshape(-1, 3) * 6.144
    shifted = grid + np.array([1234.567, -98.7, 333.3])
    np.testing.assert_array_equal(delaunay_edges(grid, 9), delaunay_edges(shifted, 9))


@given(seed=SEEDS, n=st.integers(1, 50), k=st.integers(1, 12))
def test_nearest_nodes_equal_brute_force(seed: int, n: int, k: int) -> None:
    points = np.random.default_rng(seed).uniform(size=(n, 3))
    apart = cdist(points, points)
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1)[:, : min(k, n - 1)]
    expected = {(min(i, int(j)), max(i, int(j))) for i in range(n) for j in nearest[i]}
    assert pairs(nearest_edges(points, k, FAR)) == expected
    assert pairs(feature_edges(points, k, "raw")) == expected


@given(seed=SEEDS, n=st.integers(1, 50), d=st.sampled_from([2, 3]), radius=st.floats(0.1, 200))
def test_nodes_within_the_radius_equal_brute_force(seed: int, n: int, d: int, radius: float) -> None:
    points = awkward_points(seed, n, d)
    near = np.argwhere(np.triu(np.linalg.norm(points[:, None] - points, axis=-1) <= radius, k=1))
    assert pairs(radius_edges(points, radius)) == set(map(tuple, near.tolist()))


def test_radius_includes_itself() -> None:
    line = np.arange(5.0)[:, None] * [0.1, 0.0]
    assert pairs(radius_edges(line, float(np.linalg.norm(line[1] - line[0])))) >= {(0, 1)}
    assert pairs(radius_edges(np.array([[0.0, 0], [3, 4]]), 5.0)) == {(0, 1)}


def test_feature_edges_do_not_depend_on_the_scale_of_a_feature() -> None:
    features = np.random.default_rng(0).normal(size=(40, 6))
    scaled = features * [1, 10, 1e-3, 1, 1e4, 7] + 5
    np.testing.assert_array_equal(feature_edges(features, 3, "standardised"), feature_edges(scaled, 3, "standardised"))
    assert pairs(feature_edges(features, 3, "raw")) != pairs(feature_edges(scaled, 3, "raw"))


def test_feature_edges_in_blocks_equal_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(0).normal(size=(90, 6))
    at_once = feature_edges(features, 5, "raw")
    monkeypatch.setattr("sparra.graphs.edges.DISTANCES_AT_A_TIME", 7 * 90)
    np.testing.assert_array_equal(feature_edges(features, 5, "raw"), at_once)
