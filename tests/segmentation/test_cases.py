import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sparra.errors import UserError
from sparra.segmentation.cases import find_cases, intensity_bounds, prepare_case, read_case, split_cases


def test_every_case_is_in_one_validation_part(kits: Path) -> None:
    cases = find_cases(kits)
    assert [case.name for case in cases] == [f"case_{k:05d}" for k in range(4)]
    parts = [split_cases(cases, 3, fold, seed=1) for fold in range(3)]
    validated = [case.name for _, validation in parts for case in validation]
    assert sorted(validated) == [case.name for case in cases]
    assert all({c.name for c in a} | {c.name for c in b} == set(validated) for a, b in parts)
    assert split_cases(cases, 3, 0, seed=1) == split_cases(cases, 3, 0, seed=1)


def test_crops_are_centred_on_each_label_alike(kits: Path, tmp_path: Path) -> None:
    case = prepare_case(find_cases(kits)[0], 4.0, tmp_path)
    hu, labels = case.volume()
    assert hu.shape == labels.shape == case.shape
    generator = np.random.default_rng(0)
    crops = [case.crop(generator, 9) for _ in range(300)]
    present = set(np.unique(labels).tolist())
    inner = [crop[1][4, 4, 4] for crop in crops if crop[1].shape == (9, 9, 9)]
    counts = np.bincount(inner, minlength=4)
    for label in present - {0}:
        # Windows at the border are moved inwards, so a few are not centred on their label.
        assert counts[label] / len(crops) == pytest.approx(1 / len(present), abs=0.1)
    again = np.random.default_rng(0)
    np.testing.assert_array_equal(case.crop(again, 9)[0], crops[0][0])


def test_a_small_volume_is_padded_with_air(kits: Path, tmp_path: Path) -> None:
    case = prepare_case(find_cases(kits)[0], 8.0, tmp_path)
    hu, labels = case.crop(np.random.default_rng(0), 48)
    assert hu.shape == labels.shape == (48, 48, 48)
    assert hu[-1, -1, -1] == -1024
    whole = case.volume()[0]
    np.testing.assert_array_equal(hu[tuple(slice(n) for n in whole.shape)], whole)


def test_the_cache_is_used_until_file_or_spacing_change(kits: Path, tmp_path: Path) -> None:
    shutil.copytree(kits / "case_00000", tmp_path / "case_00000")
    shutil.copytree(kits / "case_00001", tmp_path / "case_00001")
    case = find_cases(tmp_path)[0]
    made = [prepare_case(case, 8.0, tmp_path / "cache").path.stat().st_mtime_ns for _ in range(2)]
    assert made[0] == made[1]
    prepare_case(case, 7.0, tmp_path / "cache")
    assert (tmp_path / "cache" / "case_00000.safetensors").stat().st_mtime_ns > made[1]


def test_intensity_bounds_are_percentiles_of_the_labelled_voxels(kits: Path, tmp_path: Path) -> None:
    cases = [prepare_case(case, 4.0, tmp_path) for case in find_cases(kits)]
    values = np.concatenate([hu[labels > 0] for hu, labels in (case.volume() for case in cases)])
    np.testing.assert_allclose(intensity_bounds(cases), np.percentile(values, [0.5, 99.5]))


def test_refusals(kits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 0 cases"):
        find_cases(tmp_path)
    shutil.copytree(kits / "case_00000", tmp_path / "case_00000")
    case = find_cases(kits)[0]
    broken = type(case)("broken", case.image, tmp_path / "labels.nii.gz")
    labels = sitk.ReadImage(str(case.labels))
    voxels = sitk.GetArrayFromImage(labels)
    for change, sentence in ((7, "holds 0, 1, 2"), (None, "is empty")):
        wrong = sitk.GetImageFromArray(np.where(voxels == 1, 7, voxels) if change else np.zeros_like(voxels))
        wrong.CopyInformation(labels)
        sitk.WriteImage(wrong, str(broken.labels))
        with pytest.raises(UserError, match=sentence if change is None else "KiTS knows"):
            read_case(broken)
    sitk.WriteImage(labels[1:], str(broken.labels))
    with pytest.raises(UserError, match="its CT has"):
        read_case(broken)
    (tmp_path / "case_00000" / "imaging.nii.gz").unlink()
    with pytest.raises(UserError, match=r"no imaging.nii.gz"):
        find_cases(tmp_path)
