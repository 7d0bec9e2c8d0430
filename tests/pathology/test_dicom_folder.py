"""Which files of a folder make up a DICOM slide."""

from pathlib import Path

import pytest

from sparra.errors import UserError
from sparra.pathology.decoders import _is_dicom, open_decoder


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
