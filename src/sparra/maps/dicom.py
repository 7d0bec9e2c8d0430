"""A CT's map as DICOM: a parametric map of the scores, and a segmentation of where half of them lies."""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import highdicom as hd
import numpy as np
import pydicom
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from sparra import __version__
from sparra.errors import UserError
from sparra.files import atomic_path
from sparra.maps.label import MapLabel
from sparra.maps.scores import ImageScores, most_important
from sparra.maps.volume import CtSource, score_volume
from sparra.radiology.dicom import without_echo

# All that a map takes from its scan: what the picture is and where it lies. Of the patient and the study the standard
# knows some seventy attributes, and highdicom copies each that it finds; so what is not named here is left behind.
_KEPT = (
    "SOPClassUID",
    "Modality",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "PositionReferenceIndicator",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
# Required of a map, and left empty.
_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName",
          "StudyID", "StudyDate", "StudyTime")  # fmt: skip
_IMPORTANCE = Code("sparra-importance", "99SPARRA", "Share of the importance, of the patch's node")
_NO_UNITS = Code("1", "UCUM", "no units")
# What ties a map to its scan, and by which a database of scans finds the patient.
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
Identifiers = Literal["keep", "new"]
#: From a UID of the scan to the one that its maps bear.
UidRule = Callable[[str], str]


def uid_rule(identifiers: Identifiers) -> UidRule:
    """Return the rule for the UIDs of one scan's maps.

    ``keep`` keeps them, so that viewers lay the map over the scan. ``new`` gives each another one, the same within all
    files of one rule, that cannot be traced back: it is hashed with a secret that is not stored.
    """
    if identifiers == "keep":
        return lambda uid: uid
    secret = secrets.token_hex(32)
    return lambda uid: str(pydicom.uid.generate_uid(entropy_srcs=[secret, uid]))


def write_parametric_map(
    path: Path, scores: ImageScores, ct: CtSource, label: MapLabel, uids: UidRule | None = None
) -> None:
    """Write the scores as a DICOM parametric map (float32) of those slices that patches reach.

    Parameters
    ----------
    path : Path
    scores : ImageScores
    ct : CtSource
        A DICOM series.
    label : MapLabel
        Goes into the series description, which tells of a map that failed its checks.
    uids : callable, optional
        As `uid_rule` gives it; the scan's own where left out. Nothing else is copied that tells of patient or study.

    Raises
    ------
    UserError
        If the CT is no DICOM series, or a slice cannot be read any more.
    """
    volume = score_volume(scores, ct)
    sources, part = _sources(volume, ct, uids)
    top = float(part.max())
    mapping = RealWorldValueMapping(
        lut_label="importance",
        lut_explanation=_IMPORTANCE.meaning,
        unit=_NO_UNITS,
        value_range=(0.0, top),
        slope=1.0,
        intercept=0.0,
        quantity_definition=_IMPORTANCE,
    )
    built = ParametricMap(
        source_images=sources,
        pixel_array=part,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=top / 2, window_width=top)],
        content_label="IMPORTANCE",
        content_description=_short(label.describe(scores)["score"]),
        series_number=9101,
        **_made_by(label),
    )
    _save(path, built)


def write_segmentation(
    path: Path, scores: ImageScores, ct: CtSource, label: MapLabel, uids: UidRule | None = None
) -> None:
    """Write a DICOM segmentation of the patches of the fewest nodes that together hold half of the scores.

    Parameters and errors are those of `write_parametric_map`.
    """
    volume = score_volume(scores, ct, most_important(scores.score, scores.node_of_patch).astype(np.float64)) > 0
    sources, part = _sources(volume, ct, uids)
    description = SegmentDescription(
        segment_number=1,
        segment_label=_short(f"{'FAILED CHECKS: ' if label.verdict == 'failed' else ''}half of the importance"),
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="sparra", family=codes.cid7162.ArtificialIntelligence, version=__version__
        ),
    )
    built = Segmentation(
        source_images=sources,
        pixel_array=part.astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[description],
        omit_empty_frames=False,
        content_label="IMPORTANCE",
        content_description="Fewest nodes that together hold half of the importance",
        series_number=9102,
        **_made_by(label),
    )
    _save(path, built)


def _sources(volume: NDArray[Any], ct: CtSource, uids: UidRule | None) -> tuple[list[Dataset], NDArray[Any]]:
    """Return the slices from the first to the last that the map reaches, without pixels, and its part on them."""
    if ct.series is None:
        raise UserError("the CT is no DICOM series, so there is nothing for a DICOM map to refer to", ct.path)
    reached = np.flatnonzero(volume.any(axis=(1, 2)))
    # Slices between them stay, so that the frames are an even stack.
    reached = np.arange(reached[0], reached[-1] + 1)
    slices = []
    for index in reached:
        file = ct.series.files[int(index)]
        try:
            with without_echo():
                slices.append(_without_identity(pydicom.dcmread(file, stop_before_pixels=True), uids))
        except (OSError, pydicom.errors.InvalidDicomError):
            raise UserError("a slice of the DICOM series cannot be read any more", ct.path) from None
    return slices, np.ascontiguousarray(volume[reached])


def _without_identity(source: Dataset, uids: UidRule | None) -> Dataset:
    """Return a slice that has only what `_KEPT` and `_UIDS` name."""
    kept = Dataset()
    for name in _KEPT:
        if name in source:
            kept[name] = source[name]
    for name in _UIDS:
        if name in source:
            uid = str(source[name].value)
            setattr(kept, name, uid if uids is None else uids(uid))
    for name in _EMPTY:
        setattr(kept, name, None)
    return kept


def _made_by(label: MapLabel) -> dict[str, Any]:
    failed = "FAILED ITS CHECKS: " if label.verdict == "failed" else ""
    return {
        "series_instance_uid": hd.UID(),
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": "sparra",
        "manufacturer_model_name": "sparra",
        "software_versions": __version__,
        "device_serial_number": "0",
        "series_description": _short(f"{failed}{label.title}"),
    }


def _short(text: object) -> str:
    """Cut to the 64 characters of a DICOM long string."""
    return str(text)[:64]


def _save(path: Path, built: Dataset) -> None:
    with atomic_path(path) as temporary:
        built.save_as(temporary)


Writer = Callable[[Path, ImageScores, CtSource, MapLabel, UidRule | None], None]
DICOM_WRITERS: Sequence[tuple[str, Writer]] = (
    ("parametric-map.dcm", write_parametric_map),
    ("half.seg.dcm", write_segmentation),
)
