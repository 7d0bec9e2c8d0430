from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sparra.bags.bag import Bag
from sparra.bags.preview import Preview
from sparra.errors import UserError
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.picture import draw_graph

NODE_RED, EDGE_BLUE = (0xE4, 0x57, 0x2E), (0x1F, 0x3B, 0x73)


def square(modality: str, z: float = 0.0) -> SpatialGraph:
    """Four joined nodes at the corners of a square, 20 and 60 units from the origin."""
    corners = np.array([[20.0, 20], [60, 20], [20, 60], [60, 60]])
    positions = np.column_stack([corners, np.full(4, z)]) if modality == "ct" else corners
    edges = np.array([[0, 0, 1, 1, 2, 2, 3, 3], [1, 2, 0, 3, 0, 3, 1, 2]])
    zeros = np.zeros(4, np.int64)
    return SpatialGraph(modality, np.ones((4, 1)), positions, edges, np.arange(4), zeros, ("a",))  # type: ignore[arg-type]


def ct_preview() -> Preview:
    mask = np.zeros((9, 80, 80), bool)
    mask[6, 10:70, 10:70] = True
    mask[2, 30:40, 30:40] = True
    return Preview("ct", np.full((9, 80, 80), 50, np.int16), mask, (1.0, 1.0, 5.0), (0.0, 0.0, 0.0), np.eye(3))


def drawn(path: Path, colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    found: NDArray[np.bool_] = np.abs(pixels - colour).max(axis=2) < 40
    return found


def test_slide_nodes_lie_where_they_should(tmp_path: Path) -> None:
    preview = Preview("slide", np.full((100, 100, 3), 255, np.uint8), None, (1.0, 1.0), (0.0, 0.0), np.eye(2))
    draw_graph(square("slide"), preview, tmp_path / "graph.png")
    red = drawn(tmp_path / "graph.png", NODE_RED)
    height, width = red.shape
    rows, columns = np.nonzero(red)
    assert rows.min() / height == pytest.approx(0.205, abs=0.01)
    assert columns.max() / width == pytest.approx(0.605, abs=0.01)
    blue = drawn(tmp_path / "graph.png", EDGE_BLUE)
    assert blue[round(0.205 * height) - 1 : round(0.205 * height) + 2, round(0.4 * width)].any()
    assert not blue[round(0.4 * height), round(0.4 * width)]


def test_ct_shows_the_slice_with_most_tumour(tmp_path: Path) -> None:
    draw_graph(square("ct", z=30.0), ct_preview(), tmp_path / "on.png")
    draw_graph(square("ct", z=-40.0), ct_preview(), tmp_path / "off.png")
    assert drawn(tmp_path / "on.png", NODE_RED).any()
    assert not drawn(tmp_path / "off.png", NODE_RED).any()


def test_only_the_chosen_image_is_drawn(tmp_path: Path) -> None:
    preview = replace(ct_preview(), mask=None)
    graph = replace(square("ct", z=20.0), image_of_node=np.array([0, 1, 0, 0]), images=("a", "b"))
    draw_graph(graph, preview, tmp_path / "two.png", image=1)
    rows, columns = np.nonzero(drawn(tmp_path / "two.png", NODE_RED))
    assert np.ptp(rows) < 30
    assert columns.min() > drawn(tmp_path / "two.png", NODE_RED).shape[1] / 2


def test_graph_without_positions_is_told(tmp_path: Path, make_bag: Callable[..., Bag]) -> None:
    graph = replace(square("slide"), positions=None)
    preview = Preview("slide", np.zeros((4, 4, 3), np.uint8), None, (1.0, 1.0), (0.0, 0.0), np.eye(2))
    with pytest.raises(UserError, match="without positions"):
        draw_graph(graph, preview, tmp_path / "graph.png")
