import numpy as np
import pytest
import SimpleITK as sitk
import torch

from sparra.radiology.geometry import Grid
from sparra.radiology.volume import image_on
from sparra.segmentation.preprocess import normalise, prepare, resample_labels, to_scan, working_grid


@pytest.fixture
def ct() -> sitk.Image:
    """A body whose HU are a ramp over right, front and up, in LPS storage."""
    grid = Grid((30, 28, 20), (1.5, 1.5, 2.5), (-20.0, -25.0, 40.0), np.eye(3))
    z, y, x = np.indices(grid.size[::-1])
    position = grid.to_mm(np.stack([x, y, z], axis=-1))
    return image_on(grid, (position @ [-1.0, -2.0, 3.0]).astype(np.float32) - 200)


def stored_otherwise(image: sitk.Image) -> sitk.Image:
    return sitk.PermuteAxes(sitk.Flip(image, [True, False, True]), [2, 0, 1])


def test_axes_run_right_front_up(ct: sitk.Image) -> None:
    prepared = prepare(ct, 2.0)
    inner = prepared.hu[3:-3, 3:-3, 3:-3].astype(float)
    for axis, slope in enumerate((1, 2, 3)):
        np.testing.assert_allclose(np.diff(inner, axis=axis), 2.0 * slope, atol=1.01)
        assert np.diff(inner, axis=axis).mean() == pytest.approx(2.0 * slope, abs=0.02)
    np.testing.assert_allclose(np.diag(prepared.grid.direction), [-1, -1, 1])


def test_it_does_not_matter_how_the_file_is_stored(ct: sitk.Image) -> None:
    first, second = prepare(ct, 2.0), prepare(stored_otherwise(ct), 2.0)
    np.testing.assert_array_equal(first.hu, second.hu)
    np.testing.assert_allclose(first.grid.origin, second.grid.origin)


def test_an_oblique_scan_keeps_its_axes() -> None:
    turn = np.array([[0.98, -0.198997, 0], [0.198997, 0.98, 0], [0, 0, 1]])
    scan = Grid((30, 28, 20), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), turn)
    grid = working_grid(scan, 1.0)
    np.testing.assert_allclose(grid.direction, turn * [-1, -1, 1])
    centre = lambda one: one.to_mm((np.array(one.size) - 1) / 2)  # noqa: E731
    np.testing.assert_allclose(centre(grid), centre(scan), atol=1e-9)


@pytest.mark.parametrize("turned", [False, True])
def test_probabilities_come_back_to_where_the_labels_were(ct: sitk.Image, turned: bool) -> None:
    labels = np.zeros((20, 28, 30), np.uint8)
    labels[5:15, 6:20, 8:24] = 2
    scan, drawn = (ct, image_on(Grid.of(ct), labels))
    if turned:
        scan, drawn = stored_otherwise(ct), stored_otherwise(drawn)
    grid = working_grid(Grid.of(scan), 1.0)
    probability = (resample_labels(drawn, grid) == 2).astype(np.float32)
    back = to_scan(probability, grid, Grid.of(scan)) > 0.5
    expected = sitk.GetArrayFromImage(drawn) == 2
    assert 2 * (back & expected).sum() / (back.sum() + expected.sum()) > 0.97


def test_air_beside_the_body_is_cut_off_but_a_margin() -> None:
    hu = np.full((40, 60, 60), -1000, np.float32)
    hu[:, 25:35, 28:40] = 40
    prepared = prepare(image_on(Grid((60, 60, 40), (1.0,) * 3, (0.0,) * 3, np.eye(3)), hu), 1.0)
    assert prepared.hu.shape == (12 + 20, 10 + 20, 40)
    assert prepared.grid.to_index([[30.0, 30.0, 5.0]]).min() >= 0


def test_intensities() -> None:
    values = normalise(torch.tensor([-50.0, 200.0, -1024.0]), (-50.0, 200.0))
    torch.testing.assert_close(values[:2], torch.sigmoid(torch.tensor([-1.0, 1.0])))
    assert 0 <= float(values[2]) < 0.01
