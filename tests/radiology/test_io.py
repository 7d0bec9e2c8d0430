import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sparra.errors import UserError
from sparra.radiology.errors import EmptyMaskError, GeometryMismatchError, LabelAbsentError
from sparra.radiology.geometry import Grid
from sparra.radiology.io import check_ct, read_ct, read_mask


@pytest.fixture
def voxels(oblique_grid: Grid) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, oblique_grid.size[::-1]).astype(np.int16)


def write(path: Path, voxels: np.ndarray, grid: Grid) -> Path:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=not path.name.endswith(".nii"))
    return path


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nrrd"])
def test_formats(tmp_path: Path, voxels: np.ndarray, oblique_grid: Grid, name: str) -> None:
    path = write(tmp_path / name, voxels, oblique_grid)
    image = read_ct(path)
    assert image.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), voxels)
    np.testing.assert_allclose(Grid.of(image).to_mm([9, 9, 9]), oblique_grid.to_mm([9, 9, 9]), atol=1e-4)
    check_ct(path, path, 1)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nrrd"])
@pytest.mark.parametrize("part", [0.98, 0.5, 0.004, 0.0])
def test_truncated_files(
    tmp_path: Path,
    voxels: np.ndarray,
    oblique_grid: Grid,
    name: str,
    part: float,
    capfd: pytest.CaptureFixture,
) -> None:
    path = write(tmp_path / name, voxels, oblique_grid)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(UserError, match=r"cut short|cannot be read") as caught:
        read_ct(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_check_sees_a_truncated_nifti_from_its_length(
    tmp_path: Path, voxels: np.ndarray, oblique_grid: Grid, name: str
) -> None:
    path = write(tmp_path / name, voxels, oblique_grid)
    mask = write(tmp_path / "mask.nii", (voxels > 0).astype(np.uint8), oblique_grid)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match="cut short"):
        check_ct(path, mask, 1)


def test_damaged_gzip(tmp_path: Path, voxels: np.ndarray, oblique_grid: Grid) -> None:
    path = write(tmp_path / "ct.nii.gz", voxels, oblique_grid)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"damaged|cut short"):
        read_ct(path)


def test_gzip_of_several_members_is_whole(tmp_path: Path, voxels: np.ndarray, oblique_grid: Grid) -> None:
    plain = write(tmp_path / "ct.nii", voxels, oblique_grid).read_bytes()
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(gzip.compress(plain[:9000]) + gzip.compress(plain[9000:]))
    check_ct(path, path, 1)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_ct(path)), voxels)


def test_absent_unknown_and_four_dimensional_files(tmp_path: Path, voxels: np.ndarray) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_ct(tmp_path / "none.nii.gz")
    (tmp_path / "ct.txt").write_text("hello")
    with pytest.raises(UserError, match=r"'\.txt' is no format read here"):
        read_ct(tmp_path / "ct.txt")
    series = sitk.JoinSeries([sitk.GetImageFromArray(voxels)] * 2)
    sitk.WriteImage(series, str(tmp_path / "four.nii.gz"))
    with pytest.raises(UserError, match="4 dimensions"):
        read_ct(tmp_path / "four.nii.gz")


@pytest.fixture
def ct_path(tmp_path: Path, voxels: np.ndarray, oblique_grid: Grid) -> Path:
    return write(tmp_path / "ct.nii.gz", voxels, oblique_grid)


@pytest.fixture
def labels(oblique_grid: Grid) -> np.ndarray:
    values = np.zeros(oblique_grid.size[::-1], np.uint8)
    values[2:6], values[6:8], values[8:9] = 1, 2, 5
    return values


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_mask_label_or_union(
    tmp_path: Path, ct_path: Path, labels: np.ndarray, oblique_grid: Grid, dtype: type
) -> None:
    path = write(tmp_path / "mask.nii.gz", labels.astype(dtype), oblique_grid)
    ct = read_ct(ct_path)
    mask = read_mask(path, ct, 2)
    assert mask.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), labels == 2)
    # A label of the union may be absent: few patients have a cyst.
    union = sitk.GetArrayFromImage(read_mask(path, ct, [1, 5, 3]))
    np.testing.assert_array_equal(union, (labels == 1) | (labels == 5))


def test_label_absent_and_empty(tmp_path: Path, ct_path: Path, labels: np.ndarray, oblique_grid: Grid) -> None:
    ct = read_ct(ct_path)
    path = write(tmp_path / "mask.nii.gz", labels, oblique_grid)
    with pytest.raises(LabelAbsentError, match=r"label 3 or 4 is not in the mask, which holds 1, 2, 5"):
        read_mask(path, ct, [3, 4])
    path = write(tmp_path / "empty.nii.gz", np.zeros_like(labels), oblique_grid)
    with pytest.raises(EmptyMaskError, match="the mask is empty"):
        read_mask(path, ct, 1)


def test_mask_of_another_geometry(tmp_path: Path, ct_path: Path, labels: np.ndarray, oblique_grid: Grid) -> None:
    shifted = write(tmp_path / "shifted.nii.gz", labels, replace(oblique_grid, origin=(-30.0, 14.5, 100.0)))
    shorter = write(tmp_path / "shorter.nii.gz", labels[1:], oblique_grid)
    ct = read_ct(ct_path)
    for path, sentence in ((shifted, "origin by 2 mm"), (shorter, "40 x 36 x 13 voxels")):
        with pytest.raises(GeometryMismatchError, match=sentence):
            read_mask(path, ct, 1)
        with pytest.raises(GeometryMismatchError, match=sentence):
            check_ct(ct_path, path, 1)


def test_check_refuses(tmp_path: Path, ct_path: Path, write_series: Callable, voxels: np.ndarray) -> None:
    with pytest.raises(UserError, match="this CT has no mask"):
        check_ct(ct_path, None, 1)
    with pytest.raises(UserError, match=r"label is 0"):
        check_ct(ct_path, ct_path, 0)
    folder = write_series(voxels)
    with pytest.raises(UserError, match="0 masks in DICOM-SEG or RTSTRUCT"):
        check_ct(folder, folder, 1)
    with pytest.raises(UserError, match="the CT is one file"):
        check_ct(ct_path, ct_path, 1, series="3")
    with pytest.raises(UserError, match="no such file"):
        check_ct(ct_path, tmp_path / "none.nii.gz", 1)
    check_ct(folder, ct_path, [1, 2])
