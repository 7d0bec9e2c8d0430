"""DICOM whole-slide files as scanners write them."""

from pathlib import Path

import imagecodecs
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
TILE, MPP = 128, 0.5


def write_dicom(
    path: Path, planes: list[np.ndarray], series: str = "1.2.3", sparse: bool = False, **attributes: object
) -> None:
    """Write focal planes, each of the whole slide, one behind the other; ``attributes`` replace or add values."""
    height, width = planes[0].shape[:2]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = WHOLE_SLIDE
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2", series, "1.2.4"
    data.Modality, data.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows, data.Rows, data.Columns = width, height, TILE, TILE
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "YBR_FULL_422", 0
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.DimensionOrganizationType = "TILED_SPARSE" if sparse else "TILED_FULL"
    data.TotalPixelMatrixFocalPlanes = len(planes)
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [MPP / 1e3, MPP / 1e3]
    shared.PixelMeasuresSequence = [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    frames, places = [], []
    for plane in planes:
        padded = np.pad(plane, [(0, -height % TILE), (0, -width % TILE), (0, 0)], constant_values=255)
        for y in range(0, height, TILE):
            for x in range(0, width, TILE):
                frames.append(imagecodecs.jpeg8_encode(np.ascontiguousarray(padded[y : y + TILE, x : x + TILE]), 95))
                place, group = Dataset(), Dataset()
                place.ColumnPositionInTotalImagePixelMatrix, place.RowPositionInTotalImagePixelMatrix = x + 1, y + 1
                group.PlanePositionSlideSequence = [place]
                places.append(group)
    if sparse:
        data.PerFrameFunctionalGroupsSequence = places
    data.NumberOfFrames, data.PixelData = len(frames), encapsulate(frames)
    data["PixelData"].VR = "OB"
    for name, value in attributes.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
