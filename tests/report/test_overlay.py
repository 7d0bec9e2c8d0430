import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparra.bags.preview import Preview
from sparra.graphs.graph import SpatialGraph
from sparra.report.overlay import focus_patch, paint, patch_importance, patches_of_image, patient_volume


def graph_of(node_of_patch: list[int], image_of_node: list[int]) -> SpatialGraph:
    n = len(image_of_node)
    return SpatialGraph(
        modality="slide",
        features=np.zeros((n, 2)),
        positions=None,
        edge_index=np.zeros((2, 0), dtype=np.int64),
        node_of_patch=np.asarray(node_of_patch),
        image_of_node=np.asarray(image_of_node),
        images=tuple(f"image-{i}" for i in range(max(image_of_node) + 1)),
    )


@given(st.lists(st.integers(0, 4), min_size=5, max_size=40), st.integers(0, 2**31))
def test_patches_share_their_nodes_importance_without_loss(extra: list[int], seed: int) -> None:
    graph = graph_of([0, 1, 2, 3, 4, *extra], [0, 0, 0, 1, 1])
    weights = np.random.default_rng(seed).dirichlet(np.ones(5))
    shared = patch_importance(graph, weights)
    assert shared.sum() == pytest.approx(1)
    again = np.bincount(graph.node_of_patch, shared)
    np.testing.assert_allclose(again, weights)


def test_patches_of_an_image_keep_the_order_of_its_bag() -> None:
    graph = graph_of([1, 0, 1, 2, 3, 2], [0, 0, 1, 1])
    assert patches_of_image(graph, 0).tolist() == [0, 1, 2]
    assert patches_of_image(graph, 1).tolist() == [3, 4, 5]


def test_focus_is_the_middle_of_the_most_important_node() -> None:
    positions = np.array([[0.0, 0], [10, 0], [20, 0], [50, 0]])
    assert focus_patch(positions, np.array([0.2, 0.2, 0.2, 0.1])) == 1


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(0.3, 9), st.floats(0.3, 9))
def test_paint_equals_painting_one_rectangle_after_another(seed: int, width: float, height: float) -> None:
    rng = np.random.default_rng(seed)
    centres, values = rng.uniform(-4, 24, size=(12, 2)), rng.random(12)
    total, count = np.zeros((18, 21)), np.zeros((18, 21))
    for (x, y), value in zip(centres, values, strict=True):
        left, top = round(x - width / 2 + 0.5), round(y - height / 2 + 0.5)
        right, bottom = round(x + width / 2 + 0.5), round(y + height / 2 + 0.5)
        window = np.s_[max(top, 0) : max(bottom, top + 1, 0), max(left, 0) : max(right, left + 1, 0)]
        total[window] += value
        count[window] += 1
    with np.errstate(invalid="ignore"):
        expected = total / count
    np.testing.assert_allclose(paint(centres, (width, height), values, (18, 21)), expected, atol=1e-12)


def test_tiles_that_touch_leave_no_gap_and_no_overlap() -> None:
    x, y = np.meshgrid(np.arange(4) * 8 + 3.5, np.arange(3) * 8 + 3.5)
    centres, values = np.column_stack([x.ravel(), y.ravel()]), np.arange(12.0)
    expected = np.kron(values.reshape(3, 4), np.ones((8, 8)))
    np.testing.assert_array_equal(paint(centres, (8, 8), values, (24, 32)), expected)


# Columns are the array axes' directions in LPS: identity, a NIfTI's RAS, a sagittal scan, an oblique one.
DIRECTIONS = (
    np.eye(3),
    np.diag([-1.0, -1.0, 1.0]),
    np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
    np.array([[0.96, 0.28, 0], [-0.28, 0.96, 0], [0, 0, 1.0]]),
)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_patient_volume_shows_every_voxel_where_its_patch_says(direction: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(-1000, 1000, size=(5, 6, 7)).astype(np.int16)
    preview = Preview("ct", pixels, pixels > 0, (1.0, 2.0, 3.0), (10.0, -20.0, 30.0), direction)
    indices = np.array([[0, 0, 0], [6, 5, 4], [3, 1, 2]])
    positions = (indices * preview.spacing) @ direction.T + preview.origin
    volume = patient_volume(preview, positions)
    x, y, z = np.round(volume.centres).astype(int).T
    np.testing.assert_allclose(volume.centres, np.column_stack([x, y, z]), atol=1e-9)
    np.testing.assert_array_equal(volume.pixels[z, y, x], pixels[tuple(indices.T[::-1])])
    assert volume.mask is not None
    np.testing.assert_array_equal(volume.mask[z, y, x], pixels[tuple(indices.T[::-1])] > 0)
    # Along each axis of the volume the patient coordinate grows, by the voxel's size unless oblique.
    steps = np.diff(positions, axis=0)
    moves = np.diff(volume.centres * volume.spacing_mm, axis=0)
    if np.isin(np.abs(direction), (0, 1)).all():
        np.testing.assert_allclose(moves, steps, atol=1e-9)
    else:
        assert ((moves * steps).sum(axis=1) > 0).all()
