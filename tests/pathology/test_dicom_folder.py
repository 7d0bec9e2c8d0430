"""Which files of a folder make up a DICOM slide."""

from pathlib import Path

import numpy as np
import pytest

from sparra.errors import UserError
from sparra.pathology.decoders import _is_dicom, open_decoder

from .dicom import write_dicom


def dicom(path: Path) -> None:
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 500)


def test_an_empty_file_beside_the_slide_is_passed_over(tmp_path: Path) -> None:
    dicom(tmp_path / "level-0.dcm")
    for name in (".DS_Store", "Thumbs.db", "level-0.dcm.lock"):
        (tmp_path / name).touch()
    assert [path.name for path in tmp_path.iterdir() if _is_dicom(path)] == ["level-0.dcm"]
    with pytest.raises(UserError, match="no DICOM file here holds a whole-slide image"):  # What it has is looked at.
        open_decoder(tmp_path)


@pytest.mark.parametrize("name", ["level-1.dcm", "level-1.DCM", "level-1.dicom"])
def test_an_empty_level_is_told(tmp_path: Path, name: str) -> None:
    dicom(tmp_path / "level-0.dcm")
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"the file is empty \(0 bytes\)") as caught:
        open_decoder(tmp_path)
    assert name in str(caught.value)


@pytest.mark.parametrize("sparse", [False, True])
def test_two_slides_are_not_taken_for_one(tmp_path: Path, sparse: bool) -> None:
    picture = np.full((300, 500, 3), 100, np.uint8)
    write_dicom(tmp_path / "a.dcm", [picture], series="1.2.3", sparse=sparse)
    write_dicom(tmp_path / "label.dcm", [picture], series="1.2.4", ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"])
    assert open_decoder(tmp_path).level_dimensions == ((500, 300),)
    write_dicom(tmp_path / "b.dcm", [picture], series="1.2.5", sparse=sparse)
    with pytest.raises(UserError, match="the folder holds 2 slides"):
        open_decoder(tmp_path)
    assert open_decoder(tmp_path / "b.dcm").level_dimensions == ((500, 300),)
