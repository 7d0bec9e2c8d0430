import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from sparra.errors import UserError
from sparra.radiology.dicom import find_series
from sparra.radiology.geometry import Grid
from sparra.radiology.io import read_ct

Writer = Callable[..., Path]


@pytest.fixture
def hu(oblique_grid: Grid) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, oblique_grid.size[::-1]).astype(np.int16)


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_ct(folder)
    sentence = str(caught.value)
    assert "secret" not in sentence
    assert "Doe" not in sentence
    assert not re.search(r"\d+\.\d+\.\d+\.\d+", sentence), "a UID"
    return sentence


def test_hu_and_geometry_whatever_the_file_names(write_series: Writer, hu: np.ndarray, oblique_grid: Grid) -> None:
    folder = write_series(hu)
    (folder / "notes.txt").write_text("not a slice")
    names = [file.name for file in find_series(folder).files]
    assert names != sorted(names)
    image = read_ct(folder)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), hu)
    assert image.GetPixelID() == sitk.sitkFloat32
    corners = np.array([[0, 0, 0], np.array(oblique_grid.size) - 1])
    np.testing.assert_allclose(Grid.of(image).to_mm(corners), oblique_grid.to_mm(corners), atol=1e-4)


def test_missing_slice_is_located(write_series: Writer, hu: np.ndarray, oblique_grid: Grid) -> None:
    sentence = refused(write_series(hu, keep=[k for k in range(14) if k != 5]))
    heights = [float(oblique_grid.to_mm([0, 0, k]) @ oblique_grid.direction[:, 2]) for k in (4, 6)]
    assert f"1 slice missing between {heights[0]:.1f} and {heights[1]:.1f} mm" in sentence
    assert "a gap of 6.00 mm where others are 3.00 mm" in sentence


def test_one_of_several_series_by_number_or_uid(write_series: Writer, hu: np.ndarray) -> None:
    write_series(hu, number="12")
    folder = write_series(hu + 7, keep=range(4, 9), number="3")
    assert "2 series (series 3: 5 slices (CT), series 12: 14 slices (CT))" in refused(folder)
    whole, part = (sitk.GetArrayFromImage(read_ct(folder, series=number)) for number in ("12", "3"))
    np.testing.assert_array_equal(whole, hu)
    np.testing.assert_array_equal(part, hu[4:9] + 7)
    uid = str(pydicom.dcmread(find_series(folder, "3").files[0]).SeriesInstanceUID)
    assert find_series(folder, uid).files == find_series(folder, "3").files
    with pytest.raises(UserError, match="the series asked for is not in the folder"):
        find_series(folder, "5")
    write_series(hu, number="3")
    with pytest.raises(UserError, match="2 series bear the number asked for"):
        find_series(folder, "3")


def test_slices_in_folders_below_and_masks_beside(write_series: Writer, hu: np.ndarray, tmp_path: Path) -> None:
    series = write_series(hu)
    (tmp_path / "export").mkdir()
    series.rename(tmp_path / "export" / "0001")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_ct(tmp_path / "export")), hu)
    write_series(hu, name="export/0001", modality="SEG")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_ct(tmp_path / "export")), hu)


def test_each_slice_is_rescaled_by_its_own_slope(write_series: Writer, hu: np.ndarray) -> None:
    folder = write_series(hu)
    for index, path in enumerate(find_series(folder).files):
        header = pydicom.dcmread(path)
        header.RescaleSlope, header.RescaleIntercept = 1 + index, -1024 + index
        header.save_as(path)
    expected = [(hu[k] + 1024.0) * (1 + k) - 1024 + k for k in range(len(hu))]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_ct(folder)), expected)
    del header.RescaleIntercept
    header.save_as(path)
    assert "not in HU" in refused(folder)


def test_doubled_positions(write_series: Writer, hu: np.ndarray, oblique_grid: Grid) -> None:
    folder = write_series(hu)
    first = find_series(folder).files[3]
    (folder / "copy.dcm").write_bytes(first.read_bytes())
    assert "two slices lie at" in refused(folder)


def test_other_refusals(write_series: Writer, hu: np.ndarray, tmp_path: Path) -> None:
    assert "MR, not CT" in refused(write_series(hu, modality="MR", name="mr"))
    assert "one slice only" in refused(write_series(hu, keep=[2], name="single"))
    assert "gantry was tilted: the last slice lies 10.4 mm aside" in refused(write_series(hu, shear=1.0, name="tilted"))
    (tmp_path / "empty").mkdir()
    assert "no DICOM slices" in refused(tmp_path / "empty")


@pytest.mark.parametrize("kept", [0.99, 0.5])
def test_truncated_slice(write_series: Writer, hu: np.ndarray, kept: float) -> None:
    folder = write_series(hu)
    file = find_series(folder).files[7]
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    assert "cannot be read" in refused(folder) or "cut short" in refused(folder)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ImagePositionPatient", [1.0, 2.0]),
        ("ImagePositionPatient", ["nan", 0, 0]),
        ("PixelSpacing", [0, 0]),
    ],
)
def test_numbers_that_make_no_plane(write_series: Writer, hu: np.ndarray, tag: str, value: list) -> None:
    folder = write_series(hu)
    file = find_series(folder).files[3]
    header = pydicom.dcmread(file)
    setattr(header, tag, value)
    header.save_as(file)
    assert "lacks its position, orientation, pixel spacing or size" in refused(folder)


@pytest.mark.filterwarnings("error")
def test_no_warning_repeats_a_value(write_series: Writer, hu: np.ndarray) -> None:
    folder = write_series(hu)
    uid = str(pydicom.dcmread(next(folder.iterdir())).SeriesInstanceUID).encode()
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(uid, b"Doe^Jane".ljust(len(uid), b"x")))
    assert len(find_series(folder).files) == len(hu)
