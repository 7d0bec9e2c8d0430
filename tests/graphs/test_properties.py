"""What must not change a graph: the order, the place and the direction of the patches, the type of the features."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparra.bags.bag import Bag, Modality
from sparra.graphs.build import build_graph
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.settings import GraphSettings

MakeBag = Callable[..., Bag]
SEEDS = st.integers(0, 2**31)
MODALITIES = st.sampled_from(["slide", "ct"])
SETTINGS = st.sampled_from(
    [
        {},
        {"feature_metric": "raw"},
        {"edges": "knn", "neighbours": 4},
        {"edges": "radius", "connectivity": 20.0},
        {"cut": 0.6, "feature_rate": 0.1},
    ]
)
# The fixture makes bags and holds nothing.
quickly = hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def described(graph: SpatialGraph) -> dict[str, Any]:
    """Whole graph, nodes named by their patches, since a rotation numbers them otherwise."""
    assert graph.positions is not None
    assert graph.spread is not None
    order = np.argsort([members[0] for members in graph.members])
    new_number = np.argsort(order)
    joined = new_number[graph.edge_index].T
    return {
        "members": [graph.members[node].tolist() for node in order],
        "features": graph.features[order],
        "positions": graph.positions[order],
        "spread": graph.spread[order],
        "edges": sorted(map(tuple, joined.tolist())),
    }


def assert_same(one: SpatialGraph, other: SpatialGraph, move: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Compare two graphs; positions of the first are moved."""
    first, second = described(one), described(other)
    assert first["members"] == second["members"]
    assert first["edges"] == second["edges"]
    np.testing.assert_allclose(first["features"], second["features"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(move(first["positions"]), second["positions"], atol=1e-6)
    np.testing.assert_allclose(first["spread"], second["spread"], atol=1e-6)


def graph_of(bag: Bag, given_settings: dict[str, Any]) -> SpatialGraph:
    scaled = dict(given_settings)
    if bag.modality == "slide" and "connectivity" in scaled:
        scaled["connectivity"] *= 20
    return build_graph(bag, GraphSettings.from_mapping(scaled, ""), "image")


@quickly
@given(seed=SEEDS, n=st.integers(1, 120), modality=MODALITIES, parameters=SETTINGS)
def test_order_of_the_patches(
    seed: int, n: int, modality: Modality, parameters: dict[str, Any], make_bag: MakeBag
) -> None:
    bag = make_bag(n, modality, seed=seed)
    assert bag.positions is not None
    shuffle = np.random.default_rng(seed).permutation(n)
    shuffled = replace(bag, features=bag.features[shuffle], positions=bag.positions[shuffle])
    one, other = graph_of(bag, parameters), graph_of(shuffled, parameters)
    for name in ("features", "positions", "spread", "edge_index", "member_counts", "image_of_node"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for ours, theirs in zip(one.members, other.members, strict=True):
        assert ours.tolist() == sorted(shuffle[theirs].tolist())


@quickly
@given(
    seed=SEEDS,
    n=st.integers(1, 120),
    modality=MODALITIES,
    parameters=SETTINGS,
    far=st.floats(-1e4, 1e4),
    data=st.data(),
)
def test_translation(
    seed: int, n: int, modality: Modality, parameters: dict[str, Any], far: float, data: Any, make_bag: MakeBag
) -> None:
    bag = make_bag(n, modality, seed=seed)
    assert bag.positions is not None
    shift = np.array([far, *(data.draw(st.floats(-1e4, 1e4)) for _ in range(bag.positions.shape[1] - 1))])
    moved = replace(bag, positions=bag.positions + shift)
    assert_same(graph_of(bag, parameters), graph_of(moved, parameters), lambda positions: positions + shift)


@quickly
@given(seed=SEEDS, n=st.integers(1, 120), modality=MODALITIES, parameters=SETTINGS)
def test_rotation(seed: int, n: int, modality: Modality, parameters: dict[str, Any], make_bag: MakeBag) -> None:
    bag = make_bag(n, modality, seed=seed)
    assert bag.positions is not None
    d = bag.positions.shape[1]
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    moved = replace(bag, positions=bag.positions @ rotation.T)
    assert_same(graph_of(bag, parameters), graph_of(moved, parameters), lambda positions: positions @ rotation.T)


TYPES = ["float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "int64"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("modality", ["slide", "ct"])
@pytest.mark.parametrize("metric", ["standardised", "raw"])
def test_type_of_the_features(dtype: str, modality: Modality, metric: str, make_bag: MakeBag) -> None:
    """Values that all types hold exactly give one graph, to the last bit."""
    bag = make_bag(150, modality, n_features=7)
    whole = np.clip(np.round(bag.features * 25 + 60), 0, 127).astype(np.float64)
    parameters = {"feature_metric": metric, **({"feature_rate": 0.002} if metric == "raw" else {})}
    expected = graph_of(replace(bag, features=whole), parameters)
    found = graph_of(replace(bag, features=whole.astype(dtype)), parameters)
    assert 5 < len(found) < 140
    assert found.features.dtype == np.float32
    for name in ("features", "positions", "spread", "edge_index", "node_of_patch"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    means = [whole[members].mean(axis=0) for members in found.members]
    np.testing.assert_allclose(found.features, means, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_type_of_the_features_without_positions(dtype: str, make_bag: MakeBag) -> None:
    bag = make_bag(60, n_features=7)
    whole = np.round(bag.features * 25).astype(np.float64)
    expected = build_graph(replace(bag, features=whole, positions=None), GraphSettings(), "image")
    found = build_graph(replace(bag, features=whole.astype(dtype), positions=None), GraphSettings(), "image")
    np.testing.assert_array_equal(found.features, expected.features)
    np.testing.assert_array_equal(found.edge_index, expected.edge_index)


def test_integers_that_float32_does_not_hold_are_compared_exactly(make_bag: MakeBag) -> None:
    """In float32, 2³⁰ + 1 is 2³⁰: two kinds of tissue would be one."""
    bag = make_bag(100)
    kind = np.arange(100) % 2
    large = (2**30 + kind)[:, None].astype(np.int64)
    parameters = {"feature_metric": "raw", "feature_rate": 50.0}
    graph = graph_of(replace(bag, features=large), parameters)
    assert all(len(set(kind[members].tolist())) == 1 for members in graph.members)
    assert len(graph) < 100
