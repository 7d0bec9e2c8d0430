"""DICOM whole-slide files that conform, and those that are refused."""

from pathlib import Path

import numpy as np
import pytest

from sparra.errors import UserError
from sparra.pathology.decoders import open_decoder
from sparra.pathology.decoders.by_pydicom import DicomDecoder

from .dicom import write_dicom

PLANE = np.full((300, 500, 3), 100, np.uint8)


@pytest.mark.parametrize("sparse", [False, True])
def test_one_plane_is_read_by_both_decoders(tmp_path: Path, sparse: bool) -> None:
    path = tmp_path / "slide.dcm"
    write_dicom(path, [PLANE], sparse=sparse)
    for decoder in (open_decoder(path), DicomDecoder([path])):
        assert decoder.header.mpp == (0.5, 0.5)
        assert (decoder.read(0, (200, 20), (150, 100)).pixels == 100).all()


@pytest.mark.parametrize("sparse", [False, True])
def test_a_focal_stack_is_refused(tmp_path: Path, sparse: bool) -> None:
    path = tmp_path / "slide.dcm"
    write_dicom(path, [PLANE, PLANE + 50], sparse=sparse)
    with pytest.raises(UserError, match="2 focal planes"):
        open_decoder(path)


def test_planes_that_are_not_counted_are_told_by_their_places(tmp_path: Path) -> None:
    path = tmp_path / "slide.dcm"
    write_dicom(path, [PLANE, PLANE + 50], sparse=True, TotalPixelMatrixFocalPlanes=None)
    with pytest.raises(UserError, match="24 frames lie at 12 places"):
        DicomDecoder([path])
