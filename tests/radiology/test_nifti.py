import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sparra.errors import UserError
from sparra.radiology.io import read_ct


def nifti_bytes(voxels: np.ndarray, code: int, order: str, slope: float, intercept: float) -> bytes:
    """A NIfTI-1 file written field by field, so that byte order and scaling are under control."""
    header = bytearray(352)
    put = struct.pack_into
    put(order + "i", header, 0, 348)
    put(order + "8h", header, 40, 3, *voxels.shape[::-1], 1, 1, 1, 1)
    put(order + "hh", header, 70, code, voxels.dtype.itemsize * 8)
    put(order + "8f", header, 76, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0)
    put(order + "3f", header, 108, 352.0, slope, intercept)
    put(order + "h", header, 254, 1)
    put(order + "12f", header, 280, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 2, 0)
    header[123], header[344:348] = 2, b"n+1\0"
    return bytes(header) + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "code", "slope", "intercept"),
    [
        ("u1", 2, 2.0, -100.0),
        ("i2", 4, 0.0, 0.0),
        ("i2", 4, 1.0, -1024.0),
        ("u2", 512, 1.0, 0.0),
        ("f8", 64, 0.5, 7.0),
    ],
)
def test_agrees_with_itk(tmp_path: Path, dtype: str, code: int, order: str, slope: float, intercept: float) -> None:
    voxels = np.random.default_rng(0).integers(0, 200, (3, 4, 5)).astype(dtype)
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(gzip.compress(nifti_bytes(voxels, code, order, slope, intercept)))
    found, expected = read_ct(path), sitk.ReadImage(str(path), sitk.sitkFloat32)
    np.testing.assert_allclose(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected), rtol=1e-6)
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(found), voxels * (slope or 1.0) + intercept * bool(slope), rtol=1e-6
    )
    assert found.GetSpacing() == expected.GetSpacing() == (1.0, 1.0, 2.0)
    assert found.GetDirection() == expected.GetDirection()


def test_non_finite_voxels_stay_what_they_are(tmp_path: Path) -> None:
    voxels = np.zeros((3, 4, 5), np.float32)
    voxels[1, 2, 3], voxels[0, 0, 0] = np.nan, np.inf
    path = tmp_path / "ct.nii"
    path.write_bytes(nifti_bytes(voxels, 16, "<", 1.0, 0.0))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_ct(path)), voxels)


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii"
    path.write_bytes(nifti_bytes(np.zeros((2, 2, 2), np.complex64), 32, "<", 1.0, 0.0))
    with pytest.raises(UserError, match=r"data type 32|channels"):
        read_ct(path)


@pytest.mark.parametrize("spacing", [0.0, float("nan")])
def test_unknown_spacing_is_not_taken_for_one_millimetre(tmp_path: Path, spacing: float) -> None:
    content = bytearray(nifti_bytes(np.zeros((3, 4, 5), np.int16), 4, "<", 1.0, 0.0))
    struct.pack_into("<f", content, 84, spacing)
    struct.pack_into("<h", content, 254, 0)
    path = tmp_path / "ct.nii"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"gives 1 x (0|nan) x 2 mm as voxel spacing"):
        read_ct(path)


def test_sheared_axes(tmp_path: Path) -> None:
    content = bytearray(nifti_bytes(np.zeros((3, 4, 5), np.int16), 4, "<", 1.0, 0.0))
    struct.pack_into("<f", content, 284, 0.3)
    path = tmp_path / "ct.nii"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not at right angles"):
        read_ct(path)


def test_a_large_mask_may_pack_as_well_as_deflate_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a gigabyte a mask of few values packs several hundred to one, which for other content is no honest file."""
    monkeypatch.setattr("sparra.unpacking.LARGE_BYTES", 1 << 16)
    path, voxels = tmp_path / "mask.nii.gz", np.zeros((50, 100, 100), np.float64)
    packed = gzip.compress(nifti_bytes(voxels, 64, "<", 1.0, 0.0))
    assert voxels.nbytes > 200 * len(packed)
    path.write_bytes(packed)
    assert read_ct(path).GetSize() == (100, 100, 50)
    path.write_bytes(gzip.compress(nifti_bytes(voxels, 64, "<", 1.0, 0.0)[:400]))
    with pytest.raises(UserError, match="cut short"):
        read_ct(path)
