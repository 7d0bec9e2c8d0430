import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
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


def _damage(path: Path, header: str | None = None, **tensors: np.ndarray) -> None:
    """Write a graph's file anew with other tensors, or another text in its header."""
    with safe_open(path, "numpy") as file:
        metadata, whole = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file({**whole, **tensors}, path, metadata if header is None else {"sparra": header})


def _header(**values: object) -> str:
    whole = {"format": "sparra-graph", "version": 1, "modality": "ct", "images": ["a", "b"], "provenance": {}}
    return json.dumps({**whole, **values})


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("[1, 2]", "not a sparra graph"),
        ('"sparra-graph"', "not a sparra graph"),
        ("null", "not a sparra graph"),
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
        (_header(images=3), "no list of images"),
        (_header(images=[1]), "no list of images"),
        (_header(modality=["ct"]), "its modality is"),
        (_header(modality="mr"), "its modality is 'mr'"),
        (_header(provenance=None), "no provenance"),
    ],
)
def test_a_damaged_header_is_one_sentence(tmp_path: Path, graph: SpatialGraph, header: str, reason: str) -> None:
    path = tmp_path / "bad.safetensors"
    write_graph(path, graph)
    _damage(path, _header())
    assert read_graph(path).images == ("a", "b")
    _damage(path, header)
    for reader in (read_graph, read_graph_size):
        with pytest.raises(UserError, match=reason) as caught:
            reader(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [-1, 10**6, np.iinfo(np.int64).min, np.iinfo(np.int64).max])
@pytest.mark.parametrize("name", ["edge_index", "node_of_patch", "image_of_node"])
def test_an_index_out_of_range_is_one_sentence(tmp_path: Path, graph: SpatialGraph, name: str, wrong: int) -> None:
    path = tmp_path / "bad.safetensors"
    write_graph(path, graph)
    index = getattr(graph, name).copy()
    index.flat[-1] = wrong
    _damage(path, **{name: index})
    with pytest.raises(UserError, match=rf"damaged .*{name} names .*{wrong}.* and there are \d+") as caught:
        read_graph(path)
    assert "\n" not in str(caught.value)


def test_the_first_index_out_of_range_is_refused(tmp_path: Path, graph: SpatialGraph) -> None:
    path = tmp_path / "bad.safetensors"
    for name, count in (("edge_index", len(graph)), ("node_of_patch", len(graph)), ("image_of_node", 2)):
        write_graph(path, graph)
        index = getattr(graph, name).copy()
        index.flat[0] = count
        _damage(path, **{name: index})
        with pytest.raises(UserError, match=f"{name} names"):
            read_graph(path)


@pytest.mark.parametrize("name", ["features", "positions", "edge_index", "node_of_patch", "image_of_node", "spread"])
def test_arrays_that_do_not_fit_are_one_sentence(tmp_path: Path, graph: SpatialGraph, name: str) -> None:
    path = tmp_path / "bad.safetensors"
    values = np.asarray(getattr(graph, name))
    unfit = [values[:1, :1], values.astype(np.int32)] if values.ndim == 2 else [values[:, None], values.astype("f4")]
    for wrong in unfit:
        write_graph(path, graph)
        _damage(path, **{name: np.ascontiguousarray(wrong)})
        with pytest.raises(UserError, match="damaged"):
            read_graph(path)


@pytest.mark.parametrize("name", ["features", "edge_index"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (0, 0), (2, 2, 2)])
def test_arrays_of_other_dimensions_are_one_sentence(
    tmp_path: Path, graph: SpatialGraph, name: str, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "bad.safetensors"
    write_graph(path, graph)
    _damage(path, **{name: np.zeros(shape, getattr(graph, name).dtype)})
    with pytest.raises(UserError, match="damaged"):
        read_graph(path)
    if len(shape) < 2:
        with pytest.raises(UserError, match="damaged"):
            read_graph_size(path)


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
