from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sparra.errors import UserError
from sparra.radiology.errors import GeometryMismatchError, LabelAbsentError
from sparra.radiology.geometry import Grid
from sparra.radiology.io import Reading, check_ct, read_pair
from sparra.radiology.masks import mask_kind, read_mask
from sparra.radiology.volume import image_on

Writer = Callable[..., Path]


@pytest.fixture
def masks(oblique_grid: Grid) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    kidney, tumour = (np.zeros(oblique_grid.size[::-1], bool) for _ in range(2))
    kidney[3:11, 5:20, 6:30] = generator.random((8, 15, 24)) < 0.7
    tumour[5:9, 12:26, 10:24] = generator.random((4, 14, 14)) < 0.7  # overlaps the kidney
    tumour[7] = False  # an empty slice between, which the object leaves out
    return {"Kidney": kidney, "Tumour": tumour}


@pytest.mark.parametrize("fractional", [False, True])
def test_segments_by_number_or_label(
    write_series: Writer, write_seg: Writer, masks: dict[str, np.ndarray], oblique_grid: Grid, fractional: bool
) -> None:
    folder = write_series(np.zeros(oblique_grid.size[::-1], np.int16), number="1")
    path = write_seg(folder, masks, fractional=fractional)
    assert mask_kind(path) == "DICOM-SEG"
    for label, expected in (
        (2, masks["Tumour"]),
        ("Tumour", masks["Tumour"]),
        ("kidney", masks["Kidney"]),
        ((1, 2), masks["Kidney"] | masks["Tumour"]),
        ((1, "Tumour"), masks["Kidney"] | masks["Tumour"]),
    ):
        check_ct(folder, path, label)
        _, mask = read_pair(folder, path, label, Reading())
        np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), expected, err_msg=str(label))


def test_mask_beside_its_slices_without_a_suffix(
    write_series: Writer, write_seg: Writer, masks: dict[str, np.ndarray], oblique_grid: Grid
) -> None:
    folder = write_series(np.zeros(oblique_grid.size[::-1], np.int16), number="1")
    write_seg(folder, masks).rename(folder / "IM0099")
    _, mask = read_pair(folder, folder, 2, Reading())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), masks["Tumour"])


def test_refusals(
    write_series: Writer, write_seg: Writer, masks: dict[str, np.ndarray], oblique_grid: Grid, tmp_path: Path
) -> None:
    folder = write_series(np.zeros(oblique_grid.size[::-1], np.int16))
    path = write_seg(folder, masks)
    with pytest.raises(LabelAbsentError, match=r"segment 3 is not in the mask, which holds 1 \(Kidney\), 2 \(Tumour\)"):
        check_ct(folder, path, 3)
    with pytest.raises(LabelAbsentError, match="segment cyst is not in the mask, which holds Kidney, Tumour"):
        read_pair(folder, path, "cyst", Reading())
    with pytest.raises(GeometryMismatchError, match="another frame of reference"):
        read_mask(path, image_on(oblique_grid, np.zeros(oblique_grid.size[::-1])), 2, frame="1.2.3")
    finer = replace(oblique_grid, spacing=(0.7, 0.7, 2.0), size=(46, 50, 24))
    with pytest.raises(GeometryMismatchError, match="spacing differs by 1 mm"):
        read_mask(path, image_on(finer, np.zeros(finer.size[::-1])), 2)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="cannot be read"):
        read_pair(folder, path, 2, Reading())
    with pytest.raises(UserError, match="this is no mask"):
        check_ct(folder, next(folder.iterdir()), 2)
