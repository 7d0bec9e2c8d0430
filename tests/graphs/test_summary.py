from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparra.bags.bag import Bag, Modality
from sparra.graphs.build import build_graph, merge_graphs
from sparra.graphs.edges import feature_edges, radius_edges
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.settings import GraphSettings
from sparra.graphs.summary import summarise_graph

networkx = pytest.importorskip("networkx")
MakeBag = Callable[..., Bag]


def random_graph(seed: int, n: int, radius: float, modality: Modality = "slide") -> SpatialGraph:
    generator = np.random.default_rng(seed)
    positions = generator.uniform(0, 1000, (n, 3 if modality == "ct" else 2))
    members = np.concatenate([np.arange(n), generator.integers(0, n, 3 * n)])
    edges = radius_edges(positions, radius)
    return SpatialGraph(modality, np.ones((n, 2)), positions, edges, members, np.zeros(n, np.int64), ("image",))


def as_networkx(graph: SpatialGraph):  # type: ignore[no-untyped-def]
    other = networkx.Graph()
    other.add_nodes_from(range(len(graph)))
    other.add_edges_from(graph.edge_index.T.tolist())
    return other


@given(seed=st.integers(0, 2**31), n=st.integers(1, 60), radius=st.floats(10, 600))
def test_numbers_agree_with_networkx(seed: int, n: int, radius: float) -> None:
    graph = random_graph(seed, n, radius)
    summary, other = summarise_graph(graph), as_networkx(graph)
    degrees = [degree for _, degree in other.degree()]
    assert summary["nodes"] == other.number_of_nodes()
    assert summary["edges"] == other.number_of_edges()
    assert summary["components"] == networkx.number_connected_components(other)
    assert summary["isolated_nodes"] == networkx.number_of_isolates(other)
    assert summary["mean_degree"] == pytest.approx(sum(degrees) / n)
    assert summary["max_degree"] == max(degrees)
    if len({degree for degree in degrees if degree}) > 1:
        expected = networkx.degree_pearson_correlation_coefficient(other)
        assert summary["degree_assortativity"] == pytest.approx(expected, abs=1e-9)
        assert "assortativity" not in summary["reason"]
    else:
        assert np.isnan(summary["degree_assortativity"])
        assert "degree_assortativity: no two edges differ" in summary["reason"]


def test_a_star_is_wholly_disassortative() -> None:
    spokes = np.arange(1, 6)
    edges = np.array([np.r_[np.zeros(5, int), spokes], np.r_[spokes, np.zeros(5, int)]])
    angles = 2 * np.pi * np.arange(5) / 5
    positions = np.vstack([[0, 0], 500 * np.column_stack([np.cos(angles), np.sin(angles)])])
    star = SpatialGraph("slide", np.ones((6, 1)), positions, edges, np.arange(6), np.zeros(6, np.int64), ("a",))
    summary = summarise_graph(star)
    assert summary["degree_assortativity"] == pytest.approx(-1)
    assert summary["mean_edge_mm"] == pytest.approx(0.5)


def test_sizes_lengths_and_spread_are_those_of_the_graph(make_bag: MakeBag) -> None:
    bags = [make_bag(n, "ct", seed=n) for n in (60, 90)]
    graph = merge_graphs([build_graph(bag, GraphSettings(), f"ct-{len(bag)}") for bag in bags])
    summary = summarise_graph(graph)
    sizes = [len(members) for members in graph.members]
    assert (summary["images"], summary["patches"], sum(sizes)) == (2, 150, 150)
    assert summary["mean_node_size"] == pytest.approx(np.mean(sizes))
    assert summary["sd_node_size"] == pytest.approx(np.std(sizes))
    assert (summary["median_node_size"], summary["max_node_size"]) == (np.median(sizes), max(sizes))
    assert graph.positions is not None
    lengths = [np.linalg.norm(graph.positions[i] - graph.positions[j]) for i, j in graph.edge_index.T]
    assert summary["mean_edge_mm"] == pytest.approx(np.mean(lengths))
    assert summary["mean_spread_mm"] == pytest.approx(np.mean(graph.spread))
    assert summary["components"] >= 2
    assert summary["reason"] == ""


def test_undefined_numbers_have_a_reason(make_bag: MakeBag) -> None:
    lone = build_graph(Bag("slide", np.ones((1, 3)), np.zeros((1, 2))), GraphSettings(), "slide")
    summary = summarise_graph(lone)
    assert (summary["nodes"], summary["edges"], summary["components"], summary["isolated_nodes"]) == (1, 0, 1, 1)
    assert np.isnan([summary["degree_assortativity"], summary["mean_edge_mm"]]).all()
    assert "mean_edge_mm: there are no edges" in summary["reason"]
    assert summary["mean_spread_mm"] == 0
    placeless = build_graph(replace(make_bag(30), positions=None), GraphSettings(neighbours=3), "slide")
    told = summarise_graph(placeless)
    assert np.isnan([told["mean_edge_mm"], told["mean_spread_mm"]]).all()
    assert "mean_edge_mm: there are no positions; mean_spread_mm" in told["reason"]
    assert told["edges"] == feature_edges(placeless.features, 3, "standardised").shape[1] // 2
