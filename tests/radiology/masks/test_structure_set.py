from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sparra.errors import UserError
from sparra.radiology.errors import EmptyMaskError, GeometryMismatchError, LabelAbsentError, OutsideImageError
from sparra.radiology.geometry import Grid
from sparra.radiology.masks import check_mask, mask_kind, read_mask
from sparra.radiology.volume import image_on

Writer = Callable[..., Path]


def circle(x: float, y: float, z: float, radius: float, points: int = 90) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle), np.full(points, z)], axis=1)


@pytest.fixture
def ct(oblique_grid: Grid) -> sitk.Image:
    return image_on(oblique_grid, np.zeros(oblique_grid.size[::-1], np.float32))


def voxels(path: Path, ct: sitk.Image, label: object, **options: object) -> np.ndarray:
    return sitk.GetArrayFromImage(read_mask(path, ct, label, **options)).astype(bool)


def brute_force(grid: Grid, polygons: list[np.ndarray]) -> np.ndarray:
    """Count, for each voxel centre, the polygon edges that a ray to the right crosses."""
    filled = np.zeros(grid.size[::-1], int)
    for polygon in polygons:
        z = round(float(polygon[0, 2]))
        x0, y0 = polygon[:, 0], polygon[:, 1]
        x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
        for j in range(grid.size[1]):
            for i in range(grid.size[0]):
                crossed = (y0 > j) != (y1 > j)
                with np.errstate(divide="ignore", invalid="ignore"):
                    at = x0 + (j - y0) / (y1 - y0) * (x1 - x0)
                filled[z, j, i] += np.count_nonzero(crossed & (at > i))
    return filled % 2 == 1


def test_contours_fill_the_voxels_whose_centres_they_hold(
    oblique_grid: Grid, ct: sitk.Image, write_rtstruct: Writer
) -> None:
    # A hole on slice 4, two islands on slice 5, and slices 7 and 8 after one without contour.
    polygons = [circle(18.3, 17.1, 4, 9.2), circle(18.3, 17.1, 4, 4.1), circle(9.7, 9.4, 5, 5.3), circle(28, 25, 5, 6)]
    polygons += [circle(20.2, 16.9, 7, 8.8), circle(20.2, 16.9, 8, 8.4)]
    path = write_rtstruct(oblique_grid, {"body": [circle(20, 18, 2, 12)], "GTV": polygons})
    assert mask_kind(path) == "RTSTRUCT"
    expected = brute_force(oblique_grid, polygons)
    assert expected[[4, 5, 7, 8]].any(axis=(1, 2)).all()
    np.testing.assert_array_equal(voxels(path, ct, "GTV"), expected)
    np.testing.assert_array_equal(voxels(path, ct, "gtv"), expected)
    both = voxels(path, ct, ("GTV", "body"))
    assert both.sum() == expected.sum() + voxels(path, ct, "body").sum()


def test_overlapping_regions_are_joined_not_cut_from_each_other(
    oblique_grid: Grid, ct: sitk.Image, write_rtstruct: Writer
) -> None:
    path = write_rtstruct(oblique_grid, {"a": [circle(18, 17, 4, 9)], "b": [circle(18, 17, 4, 5)]})
    np.testing.assert_array_equal(voxels(path, ct, ["a", "b"]), voxels(path, ct, "a"))


def test_heights_rounded_in_the_file_stay_on_their_slice(
    oblique_grid: Grid, ct: sitk.Image, write_rtstruct: Writer
) -> None:
    off = 0.09 / oblique_grid.spacing[2]
    path = write_rtstruct(oblique_grid, {"GTV": [circle(18, 17, k + off * (-1) ** k, 8) for k in (3, 4, 5)]})
    assert np.flatnonzero(voxels(path, ct, "GTV").any(axis=(1, 2))).tolist() == [3, 4, 5]


@pytest.mark.parametrize("heights", [(2.5, 3.5, 4.5), (2.0, 4.0, 6.0)])
def test_contours_off_the_slices_are_resampled_only_when_asked(
    oblique_grid: Grid, ct: sitk.Image, write_rtstruct: Writer, heights: tuple
) -> None:
    path = write_rtstruct(oblique_grid, {"GTV": [circle(18, 17, z, 8) for z in heights]})
    with pytest.raises(GeometryMismatchError, match="resample_mask"):
        read_mask(path, ct, "GTV")
    filled = np.flatnonzero(voxels(path, ct, "GTV", resample=True).any(axis=(1, 2)))
    assert filled.tolist() == list(range(filled[0], filled[-1] + 1)), "no slice is left out between planes"
    assert len(filled) == pytest.approx(3 * (heights[1] - heights[0]), abs=1)


def test_refusals(oblique_grid: Grid, ct: sitk.Image, write_rtstruct: Writer) -> None:
    path = write_rtstruct(oblique_grid, {"GTV p": [circle(18, 17, 4, 8)], "empty": []}, frame="1.2.3")
    with pytest.raises(LabelAbsentError, match="ROI tumour is not in the mask, which holds GTV p, empty"):
        read_mask(path, ct, "tumour")
    with pytest.raises(LabelAbsentError, match="ROI 1 is not in the mask"):
        check_mask(path, oblique_grid, 1)
    with pytest.raises(EmptyMaskError, match="no closed contour"):
        read_mask(path, ct, "empty")
    with pytest.raises(GeometryMismatchError, match="another frame of reference") as caught:
        read_mask(path, ct, "GTV p", frame="1.2.4")
    assert "1.2.3" not in str(caught.value)
    check_mask(path, oblique_grid, "GTV p", frame="1.2.3")
    with pytest.raises(UserError, match="true positions"):
        check_mask(path, oblique_grid, "GTV p", spacing_known=True)
    beyond = write_rtstruct(oblique_grid, {"GTV": [circle(2, 17, 4, 8)]})
    with pytest.raises(OutsideImageError, match="lie outside its CT"):
        read_mask(beyond, ct, "GTV")
    leaning = write_rtstruct(replace(oblique_grid, direction=np.eye(3)), {"GTV": [circle(18, 17, 4, 8)]})
    with pytest.raises(GeometryMismatchError, match="not parallel"):
        read_mask(leaning, ct, "GTV")
    points = write_rtstruct(oblique_grid, {"GTV": [circle(18, 17, 4, 8)]}, kind="POINT")
    with pytest.raises(EmptyMaskError, match="no closed contour"):
        read_mask(points, ct, "GTV")
    uneven = write_rtstruct(oblique_grid, {"GTV": [circle(18, 17, z, 8) for z in (2.5, 3.5, 5.1)]})
    with pytest.raises(GeometryMismatchError, match="not evenly spaced"):
        read_mask(uneven, ct, "GTV", resample=True)


@pytest.mark.parametrize("x", [1e7, np.nan])
def test_a_contour_far_away_takes_no_memory(
    oblique_grid: Grid, ct: sitk.Image, write_rtstruct: Writer, x: float
) -> None:
    near = circle(18, 17, 4, 8)
    points = near.copy()
    points[0] += (x, 0, 0)
    path = write_rtstruct(oblique_grid, {"GTV": [near, points]})
    with pytest.raises(OutsideImageError, match="far outside the CT"):
        read_mask(path, ct, "GTV")


@pytest.mark.filterwarnings("error")
def test_no_warning_repeats_a_value(oblique_grid: Grid, ct: sitk.Image, write_rtstruct: Writer) -> None:
    path = write_rtstruct(oblique_grid, {"GTV": [circle(18, 17, 4, 8)]}, frame="1.2.3.45")
    path.write_bytes(path.read_bytes().replace(b"1.2.3.45", b"Doe^Jane"))
    read_mask(path, ct, "GTV")
    check_mask(path, oblique_grid, "GTV")
