import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from tests.maps.conftest import DATA, needs_data, scores_at
from tests.radiology.conftest import rotation, write_image

from sparra.errors import UserError
from sparra.maps.label import MapLabel
from sparra.maps.volume import open_ct, score_volume, write_nifti
from sparra.radiology.extract import extract_ct
from sparra.radiology.geometry import Grid
from sparra.radiology.settings import CtSettings
from sparra.radiology.volume import read_volume

LABEL = MapLabel("SPARRA on CT", "failed", "It fails.")


def brute_force(scores, grid: Grid) -> np.ndarray:
    """Mean score of the patches whose cube along the CT's axes a voxel's centre lies in, voxel by voxel."""
    indices = np.array(list(itertools.product(*(range(n) for n in grid.size))))
    away = (grid.to_mm(indices)[:, None] - scores.positions[None]) @ grid.direction
    inside = (np.abs(away) < np.array(scores.patch_size) / 2).all(axis=2)
    count = inside.sum(axis=1)
    mean = np.where(count > 0, inside @ scores.score / np.maximum(count, 1), 0.0)
    volume = np.zeros(grid.size[::-1])
    volume[tuple(indices.T[::-1])] = mean
    return volume


def test_volume_on_an_oblique_ct_equals_brute_force(tmp_path: Path, oblique_grid: Grid) -> None:
    path = write_image(tmp_path / "ct.nii.gz", np.zeros(oblique_grid.size[::-1], np.int16), oblique_grid)
    ct = open_ct(path)
    centres = oblique_grid.to_mm(np.random.default_rng(1).uniform(3, 11, size=(7, 3)))
    scores = scores_at(centres, (7.3, 7.3, 7.3), "ct")
    volume = score_volume(scores, ct)
    np.testing.assert_allclose(volume, brute_force(scores, ct.grid), rtol=1e-5, atol=1e-7)
    far = scores_at(centres + 1000, (7.3, 7.3, 7.3), "ct")
    with pytest.raises(UserError, match="no patch lies on this CT"):
        score_volume(far, ct)


PLACING = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")


def place_of(image: nibabel.Nifti1Image) -> list:
    header = image.header
    rows = [header[f"srow_{axis}"].tolist() for axis in "xyz"]
    return [*(header[name].item() for name in PLACING), header["pixdim"][:4].tolist(), *rows]


# An oblique grid, one of an odd handedness, and a sagittal stack; affines in RAS.
AFFINES = {
    "oblique": np.vstack([np.c_[rotation(0.3, -0.2, 0.6) * [0.7, 0.8, 2.5], [12.3, -45.6, 78.9]], [0, 0, 0, 1]]),
    "left-handed": np.vstack([np.c_[rotation(0.1, 0.2, 0.1) * [-0.7, 0.7, 3.0], [5, 6, 7]], [0, 0, 0, 1]]),
    "sagittal": np.array([[0, 0, 3.0, -20], [0.9, 0, 0, 8], [0, -0.9, 0, 4], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_nifti_2_is_read_as_nifti_1_and_its_map_lies_on_it(name: str, endian: str, tmp_path: Path) -> None:
    voxels = np.random.default_rng(2).integers(-1000, 1000, (12, 11, 10)).astype(endian + "i2")
    for kind, folder in ((nibabel.Nifti1Image, "one"), (nibabel.Nifti2Image, "two")):
        image = kind(voxels, AFFINES["oblique"], kind.header_class(endianness=endian))
        image.header.set_slope_inter(2.0, -5.0)
        image.set_sform(AFFINES["oblique"], 1)
        image.header.set_xyzt_units("mm")
        (tmp_path / folder).mkdir()
        nibabel.save(image, tmp_path / folder / name)
    first, second = (read_volume(tmp_path / folder / name, as_float=True) for folder in ("one", "two"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(first), sitk.GetArrayFromImage(second))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(second), nibabel.load(tmp_path / "two" / name).get_fdata().T)
    for one, two in zip(vars(Grid.of(first)).values(), vars(Grid.of(second)).values(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    ct = open_ct(tmp_path / "two" / name)
    scores = scores_at(ct.grid.to_mm(np.array([[4, 4, 4.0], [6, 6, 6]])), (3.0, 3.0, 6.0), "ct")
    write_nifti(tmp_path / "map.nii.gz", score_volume(scores, ct), ct, scores, LABEL)
    written, source = nibabel.load(tmp_path / "map.nii.gz"), nibabel.load(tmp_path / "two" / name)
    np.testing.assert_allclose(written.affine, source.affine, rtol=1e-6)
    assert written.header["sform_code"] == 1
    assert written.shape == source.shape


def test_a_broken_nifti_2_header_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii"
    nibabel.save(nibabel.Nifti2Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[24:32] = np.array(10**12, "<i8").tobytes()
    path.write_bytes(content)
    with pytest.raises(UserError, match="a length that no CT has"):
        read_volume(path, as_float=True)
    path.write_bytes(content[:400])
    with pytest.raises(UserError):
        read_volume(path, as_float=True)


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("kind", ["sform", "qform"])
def test_nifti_has_every_placing_field_of_its_ct(name: str, kind: str, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((12, 11, 10), np.int16), AFFINES[name])
    image.set_qform(AFFINES[name], 1)
    image.set_sform(AFFINES[name], 0 if kind == "qform" else 2)
    nibabel.save(image, tmp_path / "ct.nii")
    ct = open_ct(tmp_path / "ct.nii")
    scores = scores_at(ct.grid.to_mm(np.array([[4, 4, 4.0], [6, 6, 6]])), (3.0, 3.0, 6.0), "ct")
    scores = replace(scores, score=np.array([0.4, 0.6]), node_of_patch=np.arange(2))
    write_nifti(tmp_path / "map.nii.gz", score_volume(scores, ct), ct, scores, LABEL)
    written, source = nibabel.load(tmp_path / "map.nii.gz"), nibabel.load(tmp_path / "ct.nii")
    assert written.get_data_dtype() == np.float32
    assert place_of(written) == place_of(source)
    np.testing.assert_array_equal(written.affine, source.affine)
    # Where the brightest voxel lies, by nibabel's affine, there is the patch (LPS to RAS).
    data = written.get_fdata()
    peak = np.argwhere(data == data.max()).mean(axis=0)
    best = scores.positions[scores.score.argmax()] * [-1, -1, 1]
    np.testing.assert_allclose(nibabel.affines.apply_affine(source.affine, peak), best, atol=2.0)
    assert written.header["descrip"].item() == b"FAILED ITS CHECKS: sparra: raw importance"
    assert b"verdict_sentence: It fails." in written.header.extensions[0].get_content()


def test_nifti_of_a_dicom_series_lies_where_itk_puts_it(write_series: Callable[..., Path], tmp_path: Path) -> None:
    hu = np.zeros((14, 36, 40), np.int16)
    ct = open_ct(write_series(hu))
    scores = scores_at(ct.grid.to_mm(np.array([[10, 12, 4.0], [20, 20, 6]])), (6.0, 6.0, 6.0), "ct")
    volume = score_volume(scores, ct)
    write_nifti(tmp_path / "map.nii.gz", volume, ct, scores, LABEL)
    read = sitk.ReadImage(str(tmp_path / "map.nii.gz"))
    corners = np.array(list(itertools.product(*((0, n - 1) for n in ct.grid.size))))
    np.testing.assert_allclose(Grid.of(read).to_mm(corners), ct.grid.to_mm(corners), atol=1e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), volume)
    again = nibabel.load(tmp_path / "map.nii.gz")
    np.testing.assert_allclose(again.get_qform(), again.get_sform(), atol=1e-4)


def test_a_spacing_that_replaced_a_wrong_header_places_patches_but_not_the_file(tmp_path: Path) -> None:
    wrong = Grid((10, 10, 10), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    path = write_image(tmp_path / "ct.nii.gz", np.zeros((10, 10, 10), np.int16), wrong)
    ct = open_ct(path, spacing_mm=(1.0, 1.0, 5.0))
    scores = scores_at(np.array([[4.0, 4.0, 30.0]]), (2.0, 2.0, 5.0), "ct")
    volume = score_volume(scores, ct)
    assert np.flatnonzero(volume.any(axis=(1, 2))).tolist() == [6]
    write_nifti(tmp_path / "map.nii", volume, ct, scores, LABEL)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "map.nii").affine, nibabel.load(path).affine)


@needs_data
@pytest.mark.real_data
@pytest.mark.parametrize("ct", ["sts-ct/nifti/STS_002/CT_image.nii.gz", "abdomen-ct/example_ct_sm.nii.gz"])
def test_nifti_has_the_affine_of_real_cts(ct: str, tmp_path: Path) -> None:
    path = DATA / ct
    mask = path.with_name("CT_mask.nii.gz" if "sts" in ct else "example_seg.nii.gz")
    bag, _ = extract_ct(path, mask, 1 if "sts" in ct else 3, CtSettings(), resample_mask=True)
    opened = open_ct(path)
    scores = scores_at(bag.positions, bag.patch_size, "ct")
    write_nifti(tmp_path / "map.nii.gz", score_volume(scores, opened), opened, scores, LABEL)
    written, source = nibabel.load(tmp_path / "map.nii.gz"), nibabel.load(path)
    assert place_of(written) == place_of(source)
    assert written.shape == source.shape
