import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparra.graphs.graph import SpatialGraph
from sparra.maps.deletion import deletion_curves, mean_curves, with_nodes
from sparra.maps.trust import check_over_subjects, verdict_of, verdict_sentence


def graph_of(contributions: np.ndarray, seed: int = 0) -> SpatialGraph:
    n = len(contributions)
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, n, size=(2, 3 * n))
    pairs = np.unique(np.sort(pairs[:, pairs[0] != pairs[1]], axis=0), axis=1)
    edges = np.hstack([pairs, pairs[::-1]])
    return SpatialGraph(
        "slide", contributions[:, None], rng.normal(size=(n, 2)), edges, rng.permutation(np.arange(2 * n) % n),
        np.arange(n) % 2, ("a", "b"), {}, np.ones(n),
    )  # fmt: skip


@given(st.integers(2, 12), st.integers(0, 2**31))
def test_part_of_a_graph_has_its_nodes_edges_and_patches(n: int, seed: int) -> None:
    graph = graph_of(np.arange(float(n)), seed)
    kept = np.flatnonzero(np.random.default_rng(seed).random(n) < 0.6)
    part = with_nodes(graph, kept[::-1])
    assert part.features[:, 0].tolist() == kept.tolist()
    named = {tuple(part.features[pair, 0].astype(int)) for pair in part.edge_index.T}
    assert named == {(a, b) for a, b in graph.edge_index.T.tolist() if a in kept and b in kept}
    assert part.member_counts.tolist() == graph.member_counts[kept].tolist()
    np.testing.assert_array_equal(part.positions, graph.positions[kept])
    np.testing.assert_array_equal(part.image_of_node, graph.image_of_node[kept])


def sum_of_contributions(variants) -> np.ndarray:
    """A model whose risk is linear in the nodes: the true importance of each is known."""
    return np.array([graphs["slide"].features.sum() for graphs in variants])


def curves_over_subjects(rank, n_subjects: int = 20) -> list:
    rng = np.random.default_rng(7)
    curves = []
    for subject in range(n_subjects):
        contributions = rng.exponential(size=30)
        graphs = {"slide": graph_of(contributions, subject)}
        curves.append(deletion_curves(graphs, "slide", rank(contributions, rng), sum_of_contributions, rng))
    return curves


def checks_of(rank) -> list:
    curves = curves_over_subjects(rank)
    areas = {"deletion": [c.deletion_area for c in curves], "insertion": [c.insertion_area for c in curves]}
    return [check_over_subjects(name, values, 0.0, 0) for name, values in areas.items()]


def test_curves_of_the_true_importance_equal_the_sums_and_beat_random() -> None:
    contributions = np.array([0.5, 4.0, 1.0, 2.0, 0.1, 0.4, 3.0, 0.0])
    generator = np.random.default_rng(0)
    curves = deletion_curves(
        {"slide": graph_of(contributions)}, "slide", contributions, sum_of_contributions, generator, (0.25, 0.5)
    )
    np.testing.assert_allclose(curves.deletion, [7.0, 10.0])
    np.testing.assert_allclose(curves.insertion, [4.0, 1.0])
    checks = checks_of(lambda truth, _: truth)
    assert verdict_of(checks) == "trusted"
    assert "more than removing random ones" in verdict_sentence(checks)


def test_random_removal_removes_its_share_on_average() -> None:
    curves = mean_curves(curves_over_subjects(lambda truth, _: truth, 200))
    np.testing.assert_allclose(curves.random_deletion, np.array([3, 8, 15]), rtol=0.06)
    np.testing.assert_allclose(curves.random_insertion, np.array([27, 22, 15]), rtol=0.06)


@pytest.mark.parametrize("rank", [lambda truth, _: -truth, lambda truth, rng: rng.random(len(truth))])
def test_an_anti_map_and_a_random_map_fail_and_say_so(rank) -> None:
    checks = checks_of(rank)
    assert verdict_of(checks) == "failed"
    sentence = verdict_sentence(checks)
    assert sentence.startswith("Do not rely on this map")
    assert "no more than removing random ones" in sentence


def test_a_constant_map_fails_and_few_subjects_are_no_test() -> None:
    checks = checks_of(lambda truth, _: truth)
    assert verdict_of(checks, constant=True) == "failed"
    few = check_over_subjects("deletion", [0.3, 0.4, float("nan")], 0.0, 0)
    assert few.passed is None
    assert few.reason == "2 subjects, fewer than 5"
    assert verdict_of([few]) == "untested"


def test_a_graph_too_small_is_not_tested() -> None:
    graphs = {"slide": graph_of(np.ones(3))}
    assert deletion_curves(graphs, "slide", np.ones(3), sum_of_contributions, np.random.default_rng(0)) is None
