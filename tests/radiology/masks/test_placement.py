from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sparra.radiology.errors import GeometryMismatchError, OutsideImageError
from sparra.radiology.geometry import Grid
from sparra.radiology.masks import check_mask, read_mask
from sparra.radiology.masks.placement import place_mask
from sparra.radiology.masks.provenance import provenance_path, read_mask_provenance, write_mask_provenance
from sparra.radiology.volume import image_on

WHERE = Path("mask.nii.gz")


def ball(grid: Grid, centre: np.ndarray, radius_mm: float) -> np.ndarray:
    z, y, x = np.indices(grid.size[::-1])
    return np.linalg.norm(grid.to_mm(np.stack([x, y, z], axis=-1)) - centre, axis=-1) <= radius_mm


@pytest.mark.parametrize(("name", "cropped"), [("mask.nii.gz", False), ("mask.nrrd", False), ("mask.seg.nrrd", True)])
def test_a_turned_file_needs_no_resampling(oblique_grid: Grid, tmp_path: Path, name: str, cropped: bool) -> None:
    labels = np.random.default_rng(0).integers(0, 3, oblique_grid.size[::-1]).astype(np.uint8)
    labels[:2], labels[:, :3] = 0, 0
    image = image_on(oblique_grid, labels)
    part = image[:, 3:, 2:] if cropped else image
    turned = sitk.PermuteAxes(sitk.Flip(part, [True, False, True]), [2, 0, 1])
    sitk.WriteImage(turned, str(tmp_path / name))
    check_mask(tmp_path / name, oblique_grid, 2)
    mask = read_mask(tmp_path / name, image, 2)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), labels == 2)


@pytest.mark.parametrize("part", [np.s_[:, :, 2:], np.s_[:, :, :9]])
def test_a_smaller_label_map_is_put_in_place_only_when_asked(oblique_grid: Grid, tmp_path: Path, part: tuple) -> None:
    labels = np.zeros(oblique_grid.size[::-1], np.uint8)
    labels[4:7, 8:20, 9:17] = 1
    image = image_on(oblique_grid, labels)
    sitk.WriteImage(image[part], str(tmp_path / "mask.nii.gz"))
    with pytest.raises(GeometryMismatchError, match="'yes' in the column 'resample_mask'"):
        read_mask(tmp_path / "mask.nii.gz", image, 1)
    with pytest.raises(GeometryMismatchError, match="its CT has 40 x 36 x 14"):
        check_mask(tmp_path / "mask.nii.gz", oblique_grid, 1)
    mask = read_mask(tmp_path / "mask.nii.gz", image, 1, resample=True)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), labels)


def test_resampled_by_nearest_neighbour_when_asked(oblique_grid: Grid) -> None:
    centre = oblique_grid.to_mm([20, 18, 7])
    finer = Grid((90, 90, 80), (0.5, 0.5, 0.5), tuple((centre - 20.0).tolist()), np.eye(3))
    chosen = ball(finer, centre, 9.0)
    with pytest.raises(GeometryMismatchError, match="90 x 90 x 80 voxels"):
        place_mask(chosen, finer, oblique_grid, WHERE, part=True)
    placed = place_mask(chosen, finer, oblique_grid, WHERE, part=True, resample=True).astype(bool)
    expected = ball(oblique_grid, centre, 9.0)
    assert 2 * (placed & expected).sum() / (placed.sum() + expected.sum()) > 0.97


def test_what_lies_outside_is_told_in_mm3(oblique_grid: Grid) -> None:
    longer = replace(oblique_grid, size=(40, 36, 16))
    chosen = np.zeros(longer.size[::-1], bool)
    chosen[12:15, 4:6, 4:6] = True
    with pytest.raises(OutsideImageError, match=r"8.64 of the mask's 25.92 mm³ lie outside"):
        place_mask(chosen, longer, oblique_grid, WHERE, part=True)
    shifted = replace(longer, origin=tuple(longer.to_mm([0.4, 0, 0]).tolist()))
    with pytest.raises(OutsideImageError, match=r"8.64 of the mask's 25.92 mm³ lie outside"):
        place_mask(chosen, shifted, oblique_grid, WHERE, part=True, resample=True)
    chosen[14] = False
    assert place_mask(chosen, longer, oblique_grid, WHERE, part=True).sum() == 8


def test_names_of_slicer_segments(oblique_grid: Grid, tmp_path: Path) -> None:
    labels = np.zeros(oblique_grid.size[::-1], np.uint8)
    labels[3:5, 4:9, 4:9], labels[6:8, 4:9, 4:9] = 1, 2
    image = image_on(oblique_grid, labels)
    for number, name in enumerate(("kidney", "tumour")):
        image.SetMetaData(f"Segment{number}_Name", name)
        image.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
    path = tmp_path / "mask.seg.nrrd"
    sitk.WriteImage(image, str(path))
    ct = image_on(oblique_grid, np.zeros(labels.shape))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_mask(path, ct, "tumour")), labels == 2)


def test_provenance_of_a_mask_that_was_changed(tmp_path: Path) -> None:
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes(b"voxels")
    assert read_mask_provenance(mask) == {"source": "given"}
    write_mask_provenance(mask, {"source": "nnU-Net", "model_sha256": "12"})
    assert read_mask_provenance(mask) == {"source": "nnU-Net", "model_sha256": "12"}
    mask.write_bytes(b"other voxels")
    assert read_mask_provenance(mask)["source"] == "changed"
    provenance_path(mask).write_text("{")
    assert read_mask_provenance(mask) == {"source": "given"}
