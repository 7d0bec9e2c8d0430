from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparra.bags.bag import Bag
from sparra.bags.readers import import_bag
from sparra.errors import UserError
from sparra.graphs.build import build_graph, merge_graphs
from sparra.graphs.edges import nearest_edges, radius_edges
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.settings import GraphSettings, default_graph_settings

HIPT = Path(__file__).parents[3] / "shared" / "data" / "hipt-rcc" / "bags"
MakeBag = Callable[..., Bag]


def joined_positions(graph: SpatialGraph) -> set[frozenset[tuple[float, ...]]]:
    assert graph.positions is not None
    ends = np.round(graph.positions[graph.edge_index.T], 6)
    return {frozenset(map(tuple, edge.tolist())) for edge in ends}


@pytest.mark.parametrize("modality", ["ct", "slide"])
def test_nodes_are_the_means_of_their_patches(modality: str, make_bag: MakeBag) -> None:
    bag = make_bag(200, modality)
    graph = build_graph(bag, default_graph_settings(modality), "image")  # type: ignore[arg-type]
    assert 20 < len(graph) < 180
    assert graph.member_counts.sum() == 200
    assert graph.positions is not None
    assert bag.positions is not None
    for node in range(len(graph)):
        members = graph.node_of_patch == node
        np.testing.assert_allclose(graph.features[node], bag.features[members].mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(graph.positions[node], bag.positions[members].mean(axis=0))
    for node, members in enumerate(graph.members):
        np.testing.assert_array_equal(members, np.flatnonzero(graph.node_of_patch == node))
        apart = np.linalg.norm(bag.positions[members] - graph.positions[node], axis=1)
        assert graph.spread is not None
        assert graph.spread[node] == pytest.approx(np.sqrt((apart**2).mean()), abs=1e-9)
    assert graph.features.dtype == np.float32
    assert graph.images == ("image",)
    assert set(graph.image_of_node) == {0}


@pytest.mark.parametrize("modality", ["ct", "slide"])
def test_shuffled_patches_give_the_same_graph_to_the_last_bit(modality: str, make_bag: MakeBag) -> None:
    bag = make_bag(150, modality)
    assert bag.positions is not None
    shuffle = np.random.default_rng(1).permutation(150)
    shuffled = replace(bag, features=bag.features[shuffle], positions=bag.positions[shuffle])
    one, other = (build_graph(b, GraphSettings(), "image") for b in (bag, shuffled))
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.spread, other.spread)
    np.testing.assert_array_equal(one.edge_index, other.edge_index)
    np.testing.assert_array_equal(one.node_of_patch[shuffle], other.node_of_patch)


@pytest.mark.parametrize(("modality", "d"), [("ct", 3), ("slide", 2)])
@pytest.mark.parametrize("seed", range(3))
def test_moved_patches_give_the_moved_graph(modality: str, d: int, seed: int, make_bag: MakeBag) -> None:
    bag = make_bag(150, modality, seed=seed)
    assert bag.positions is not None
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    moved = replace(bag, positions=bag.positions @ rotation.T + 1000)
    one, other = (build_graph(b, GraphSettings(), "image") for b in (bag, moved))
    assert other.positions is not None
    back = replace(other, positions=(other.positions - 1000) @ rotation)
    assert len(one) == len(other)
    assert joined_positions(one) == joined_positions(back)
    assert one.spread is not None
    assert other.spread is not None
    np.testing.assert_allclose(np.sort(one.spread), np.sort(other.spread), atol=1e-9)


def test_two_tilings_of_one_slide_give_the_same_number_of_nodes() -> None:
    """The same tissue read at 40x and at 20x: positions in µm agree up to the rounding to pixels."""
    generator = np.random.default_rng(0)
    places = np.stack(np.meshgrid(*[np.arange(40)] * 2), -1).reshape(-1, 2)
    smooth = np.sin(places / 6.0) @ generator.normal(size=(2, 30))
    counts = []
    for mpp in (0.2527, 0.5054):
        features = smooth + 0.5 * generator.normal(size=smooth.shape)
        positions = np.round(places * 128 / mpp) * mpp
        counts.append(len(build_graph(Bag("slide", features, positions), GraphSettings(), "image")))
    assert counts[0] == pytest.approx(counts[1], rel=0.05)


@pytest.mark.parametrize(("modality", "d"), [("ct", 3), ("slide", 2)])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_few_patches_make_a_graph(modality: str, d: int, n: int) -> None:
    bag = Bag(modality, np.eye(n, 4), np.arange(n)[:, None] * np.full(d, 500.0))  # type: ignore[arg-type]
    graph = build_graph(bag, GraphSettings(), "image")
    assert 1 <= len(graph) <= n
    assert len(graph.node_of_patch) == n


def test_constant_features_cluster_by_place(make_bag: MakeBag) -> None:
    bag = make_bag(200)
    flat = replace(bag, features=np.full_like(bag.features, 2.5))
    graph = build_graph(flat, GraphSettings(), "image")
    assert 10 < len(graph) < 100
    np.testing.assert_array_equal(graph.features, 2.5)


def test_nearest_nodes_as_edges(make_bag: MakeBag) -> None:
    settings = GraphSettings(edges="knn", neighbours=3, connectivity=400)
    graph = build_graph(make_bag(200), settings, "image")
    assert graph.positions is not None
    np.testing.assert_array_equal(graph.edge_index, nearest_edges(graph.positions, 3, 400))


def test_nodes_within_a_radius_as_edges(make_bag: MakeBag) -> None:
    graph = build_graph(make_bag(200), GraphSettings(edges="radius", connectivity=400), "image")
    assert graph.positions is not None
    assert graph.edge_index.shape[1] > 0
    np.testing.assert_array_equal(graph.edge_index, radius_edges(graph.positions, 400))


def test_regions_of_two_millimetres_are_joined() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 2), -1).reshape(-1, 2) * 2048
    bag = Bag("slide", np.random.default_rng(0).normal(size=(36, 8)), grid)
    graph = build_graph(bag, default_graph_settings("slide"), "image")
    assert len(graph) == 36
    assert np.bincount(graph.edge_index[0], minlength=36).min() >= 2


def test_without_positions_every_patch_is_a_node(make_bag: MakeBag) -> None:
    bag = replace(make_bag(50), positions=None)
    graph = build_graph(bag, GraphSettings(neighbours=4), "image")
    assert graph.positions is None
    assert graph.spread is None
    np.testing.assert_array_equal(graph.node_of_patch, np.arange(50))
    np.testing.assert_array_equal(graph.features, bag.features)
    assert np.bincount(graph.edge_index[0]).min() >= 4


def test_merged_graph_keeps_images_apart(make_bag: MakeBag) -> None:
    graphs = [build_graph(make_bag(n, seed=n), GraphSettings(), f"image-{n}") for n in (40, 1, 90)]
    merged = merge_graphs(graphs)
    sizes = [len(graph) for graph in graphs]
    assert merged.images == ("image-40", "image-1", "image-90")
    np.testing.assert_array_equal(merged.image_of_node, np.repeat([0, 1, 2], sizes))
    np.testing.assert_array_equal(*merged.image_of_node[merged.edge_index])
    assert merged.edge_index.shape[1] == sum(graph.edge_index.shape[1] for graph in graphs)
    patches = np.repeat([0, 1, 2], [40, 1, 90])
    np.testing.assert_array_equal(merged.image_of_node[merged.node_of_patch], patches)
    np.testing.assert_array_equal(merged.member_counts, np.concatenate([g.member_counts for g in graphs]))
    assert set(merged.provenance["images"]) == set(merged.images)
    assert merged.provenance["encoder"] == "planted"
    np.testing.assert_array_equal(merged.spread, np.concatenate([g.spread for g in graphs if g.spread is not None]))
    order = np.lexsort(merged.edge_index[::-1])
    np.testing.assert_array_equal(order, np.arange(len(order)))
    nested = merge_graphs([merge_graphs(graphs[:2]), graphs[2]])
    np.testing.assert_array_equal(nested.image_of_node, merged.image_of_node)
    np.testing.assert_array_equal(nested.edge_index, merged.edge_index)


def test_what_does_not_belong_together_is_refused(make_bag: MakeBag) -> None:
    def graph(image: str, bag: Bag) -> SpatialGraph:
        return build_graph(bag, GraphSettings(), image)

    bag = make_bag(30)
    first = graph("a", bag)
    for sentence, other in {
        "modality are slide and ct": graph("b", make_bag(30, "ct")),
        "number of features are 5 and 4": graph("b", make_bag(30, n_features=4)),
        "encoder are planted and uni": graph("b", replace(bag, provenance={"encoder": "uni"})),
        "feature names differ": graph("b", replace(bag, feature_names=tuple("abcde"))),
        "positions are present and absent": graph("b", replace(bag, positions=None)),
        "an image occurs twice": first,
    }.items():
        with pytest.raises(UserError, match=sentence):
            merge_graphs([first, other])


@pytest.mark.real_data
@pytest.mark.skipif(not HIPT.exists(), reason="real data absent")
def test_published_hipt_bags_become_graphs() -> None:
    for path in sorted(HIPT.glob("*.pt"))[::25]:
        bag = import_bag(path, "slide")
        graph = build_graph(bag, default_graph_settings("slide"), path.stem)
        assert len(graph) == len(bag)
        assert np.bincount(graph.edge_index[0], minlength=len(bag)).min() >= min(8, len(bag) - 1)
