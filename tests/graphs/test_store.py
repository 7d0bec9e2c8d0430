from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sparra.bags.bag import Bag
from sparra.errors import UserError
from sparra.graphs.build import build_graph, merge_graphs
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.settings import GraphSettings
from sparra.graphs.store import GraphFiles, read_graph, read_graph_size, write_graph

MakeBag = Callable[..., Bag]


@pytest.fixture
def graph(make_bag: MakeBag) -> SpatialGraph:
    return merge_graphs([build_graph(make_bag(n, "ct", seed=n), GraphSettings(), f"ct-{n}") for n in (40, 30)])


def assert_same(one: SpatialGraph, other: SpatialGraph) -> None:
    assert (one.modality, one.images, one.provenance) == (other.modality, other.images, other.provenance)
    for name in ("features", "positions", "edge_index", "node_of_patch", "image_of_node", "spread"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert np.asarray(getattr(one, name)).dtype == np.asarray(getattr(other, name)).dtype


def test_everything_comes_back(tmp_path: Path, graph: SpatialGraph) -> None:
    write_graph(tmp_path / "graph.safetensors", graph)
    assert_same(read_graph(tmp_path / "graph.safetensors"), graph)


def test_features_are_a_read_only_map_of_the_file(tmp_path: Path, graph: SpatialGraph) -> None:
    write_graph(tmp_path / "graph.safetensors", graph)
    features = read_graph(tmp_path / "graph.safetensors").features
    assert isinstance(features, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        features[0, 0] = 1


def test_a_single_node_without_positions_comes_back(tmp_path: Path) -> None:
    lone = build_graph(Bag("slide", np.ones((1, 3), np.float32), None), GraphSettings(), "slide")
    write_graph(tmp_path / "graph.safetensors", lone)
    assert_same(read_graph(tmp_path / "graph.safetensors"), lone)


def test_written_twice_is_the_same_file(tmp_path: Path, graph: SpatialGraph) -> None:
    for name in "ab":
        write_graph(tmp_path / name, graph)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_float16_halves_the_features(tmp_path: Path, graph: SpatialGraph) -> None:
    write_graph(tmp_path / "half.safetensors", graph, dtype="float16")
    back = read_graph(tmp_path / "half.safetensors")
    assert back.features.dtype == np.float16
    np.testing.assert_allclose(back.features, graph.features, rtol=2**-11, atol=2**-24)
    np.testing.assert_array_equal(back.positions, graph.positions)
    with pytest.raises(UserError, match="too large for float16"):
        write_graph(tmp_path / "big", replace(graph, features=graph.features * np.float32(1e6)), dtype="float16")
    assert not (tmp_path / "big").exists()


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_truncated_file_is_one_sentence_with_its_name(tmp_path: Path, graph: SpatialGraph, share: float) -> None:
    path = tmp_path / "cut.safetensors"
    write_graph(path, graph)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"cut\.safetensors: the graph cannot be read") as caught:
        read_graph(path)
    assert "\n" not in str(caught.value)


def test_foreign_and_other_versions_are_refused(tmp_path: Path, graph: SpatialGraph) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(UserError, match="no such graph"):
        read_graph(path)
    save_file({"features": np.ones(2)}, path)
    with pytest.raises(UserError, match="not a sparra graph"):
        read_graph(path)
    save_file({"features": np.ones(2)}, path, {"sparra": '{"format": "sparra-graph", "version": 9}'})
    with pytest.raises(UserError, match="version 9, not 1"):
        read_graph(path)
    save_file({"features": np.ones(2)}, path, {"sparra": '{"format": "sparra-graph", "version": 1}'})
    with pytest.raises(UserError, match="damaged"):
        read_graph(path)


def test_files_are_read_when_asked_for(tmp_path, graph):
    path = tmp_path / "graph.safetensors"
    write_graph(path, graph)
    files = GraphFiles({"slide": path})
    assert read_graph_size(path) == files.size("slide") == graph.size
    assert list(files) == ["slide"]
    assert "ct" not in files
    assert_same(files["slide"], graph)
    assert files["slide"] is not files["slide"]
    assert files.get("ct") is None
    path.unlink()
    with pytest.raises(UserError, match="no such graph"):
        files["slide"]
    with pytest.raises(UserError, match="no such graph"):
        read_graph_size(path)
