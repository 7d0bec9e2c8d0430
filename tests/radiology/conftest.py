from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from sparra.radiology.geometry import Grid

PATIENT = "Doe^Jane"
FRAME, STUDY = generate_uid(), generate_uid()


def rotation(*angles: float) -> NDArray[np.float64]:
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        turned = turned @ turn
    return turned


@pytest.fixture
def oblique_grid() -> Grid:
    return Grid((40, 36, 14), (0.8, 0.9, 3.0), (-30.0, 12.5, 100.0), rotation(0.2, -0.3, 0.5))


def write_image(path: Path, voxels: NDArray, grid: Grid) -> Path:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=not path.name.endswith(".nii"))
    return path


@dataclass
class Pair:
    image: Path
    mask: Path
    grid: Grid


@pytest.fixture
def write_pair(tmp_path: Path) -> Callable[..., Pair]:
    def write(voxels: NDArray, mask: NDArray, grid: Grid, mask_grid: Grid | None = None) -> Pair:
        image = write_image(tmp_path / "ct.nii.gz", voxels, grid)
        return Pair(image, write_image(tmp_path / "mask.nii.gz", mask, mask_grid or grid), grid)

    return write


@pytest.fixture
def block_mask(oblique_grid: Grid) -> NDArray[np.uint8]:
    mask = np.zeros(oblique_grid.size[::-1], np.uint8)
    mask[4:10, 8:28, 10:30] = 1
    return mask


def write_dicom(
    path: Path,
    pixels: NDArray[np.int16],
    position: Sequence[float],
    axes: NDArray[np.float64],
    pixel_mm: tuple[float, float],
    series: str,
    modality: str = "CT",
    number: str = "",
) -> None:
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SOPClassUID = CTImageStorage
    data.PatientName, data.PatientID = PATIENT, "secret-4711"
    data.SeriesInstanceUID, data.Modality = series, modality
    data.FrameOfReferenceUID, data.StudyInstanceUID = FRAME, STUDY
    data.SeriesNumber = number
    data.PatientBirthDate = data.PatientSex = data.StudyDate = data.StudyTime = data.StudyID = ""
    data.AccessionNumber = data.ReferringPhysicianName = ""
    data.ImagePositionPatient = [f"{value:.6f}" for value in position]
    data.ImageOrientationPatient = [f"{value:.8f}" for value in axes[:, :2].T.ravel()]
    data.SliceThickness = "3"
    data.PixelSpacing = [pixel_mm[1], pixel_mm[0]]
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)


@pytest.fixture
def write_series(tmp_path: Path, oblique_grid: Grid) -> Callable[..., Path]:
    """Write HU [z, y, x] as DICOM slices under names in scrambled order; returns the folder."""

    def write(
        hu: NDArray[np.int16],
        keep: Sequence[int] | None = None,
        shear: float = 0.0,
        name: str = "series",
        modality: str = "CT",
        number: str = "",
    ) -> Path:
        folder, grid = tmp_path / name, oblique_grid
        folder.mkdir(exist_ok=True)
        series = generate_uid()
        for k in range(len(hu)) if keep is None else keep:
            position = grid.to_mm([shear * k, 0, k])
            file = folder / f"{(k * 7) % 31:02d}-{series[-6:]}.dcm"
            write_dicom(file, hu[k] + 1024, position, grid.direction, grid.spacing[:2], series, modality, number)
        return folder

    return write
