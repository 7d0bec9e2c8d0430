from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from sparra.radiology.dicom import find_series
from sparra.radiology.geometry import Grid


def description(number: int, label: str) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=CodedConcept("49755003", "SCT", "Morphologically abnormal structure"),
        segmented_property_type=CodedConcept("108369006", "SCT", "Neoplasm"),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


@pytest.fixture
def write_seg(tmp_path: Path) -> Callable[..., Path]:
    """Write masks [z, y, x] as segments of a DICOM-SEG of a series; empty frames are left out."""

    def write(
        folder: Path, masks: dict[str, NDArray[np.bool_]], name: str = "seg.dcm", fractional: bool = False
    ) -> Path:
        slices = [pydicom.dcmread(file) for file in find_series(folder).files]
        pixels = np.stack(list(masks.values()), axis=-1)
        kind = hd.seg.SegmentationTypeValues
        segmentation = hd.seg.Segmentation(
            source_images=slices,
            pixel_array=pixels.astype(np.float32) * 0.7 if fractional else pixels.astype(np.uint8),
            segmentation_type=kind.FRACTIONAL if fractional else kind.BINARY,
            segment_descriptions=[description(i + 1, label) for i, label in enumerate(masks)],
            series_instance_uid=generate_uid(),
            series_number=9,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="test",
            manufacturer_model_name="test",
            software_versions="1",
            device_serial_number="1",
        )
        path = tmp_path / name
        segmentation.save_as(path)
        return path

    return write


@pytest.fixture
def write_rtstruct(tmp_path: Path) -> Callable[..., Path]:
    """Write contours, lists of points in fractional voxel indices (x, y, z) of a grid, under ROI names."""

    def write(
        grid: Grid,
        regions: dict[str, list[NDArray[np.float64]]],
        frame: str | None = None,
        kind: str = "CLOSED_PLANAR",
        name: str = "structures.dcm",
    ) -> Path:
        data = pydicom.Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.Modality, data.PatientName = "RTSTRUCT", "Doe^Jane"
        if frame is not None:
            data.FrameOfReferenceUID = frame
        names, contours = [], []
        for number, (region, polygons) in enumerate(regions.items(), start=1):
            roi = pydicom.Dataset()
            roi.ROINumber, roi.ROIName = number, region
            names.append(roi)
            drawn = pydicom.Dataset()
            drawn.ReferencedROINumber, items = number, []
            for polygon in polygons:
                item = pydicom.Dataset()
                item.ContourGeometricType, item.NumberOfContourPoints = kind, len(polygon)
                item.ContourData = [f"{value:.5f}" for value in grid.to_mm(polygon).ravel()]
                items.append(item)
            drawn.ContourSequence = Sequence(items)
            contours.append(drawn)
        data.StructureSetROISequence, data.ROIContourSequence = Sequence(names), Sequence(contours)
        path = tmp_path / name
        data.save_as(path, enforce_file_format=True)
        return path

    return write
