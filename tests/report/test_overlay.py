import numpy as np
import pytest

from sparra.bags.preview import Preview
from sparra.report.overlay import focus_patch, patient_volume


def test_focus_is_the_middle_of_the_most_important_node() -> None:
    positions = np.array([[0.0, 0], [10, 0], [20, 0], [50, 0]])
    assert focus_patch(positions, np.array([0.2, 0.2, 0.2, 0.1])) == 1


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
