"""Looking at images: CTs and masks (NIfTI, NRRD, DICOM folders) and slides."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from sparra.errors import UserError
from sparra.inspection.report import Report
from sparra.pathology.slide import Slide, check_slide
from sparra.pathology.suffixes import SUFFIXES
from sparra.radiology.io import read_ct

MOST_LABELS = 256
LABELS_SHOWN = 20
_DICOM_MAGIC = (128, b"DICM")


def holds_dicom(folder: Path) -> bool:
    """Tell whether the first files of a folder are DICOM."""
    for path in sorted(folder.iterdir())[:5]:
        if path.is_file():
            with path.open("rb") as handle:
                if handle.read(_DICOM_MAGIC[0] + 4)[_DICOM_MAGIC[0] :] == _DICOM_MAGIC[1]:
                    return True
    return False


def inspect_volume(path: Path) -> Report:
    """Look at a NIfTI or NRRD file: a mask if its values are few whole numbers from zero up, else a CT."""
    try:
        image = read_ct(path)
    except UserError as error:
        return Report(path, "ct", "volume", False, [_reason(error)])
    facts = _grid(image)
    voxels = sitk.GetArrayViewFromImage(image)
    labels = _labels(voxels)
    if labels is None:
        finite = voxels[np.isfinite(voxels)]
        low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 0.0)
        facts["values_hu"] = [round(float(low), 1), round(float(high), 1)]
        notes = [] if low < 0 else ["no value is below zero, so these may not be Hounsfield units"]
        return Report(path, "ct", "CT volume", True, [], facts, notes)
    facts["labels"] = {f"{label:g}": int(count) for label, count in labels[:LABELS_SHOWN]}
    if not labels:
        return Report(path, "mask", "label map", False, ["the mask is empty: all voxels are background."], facts)
    return Report(path, "mask", "label map", True, [], facts)


def inspect_dicom_folder(folder: Path) -> Report:
    """Look at a folder with a DICOM series."""
    try:
        image = read_ct(folder)
    except UserError as error:
        return Report(folder, "ct", "DICOM series", False, [_reason(error)])
    return Report(folder, "ct", "DICOM series", True, [], _grid(image))


def inspect_slide(path: Path, mpp: float | None) -> Report:
    """Look at a slide's header and a few of its pixels; a file that is no slide either is unknown."""
    try:
        check_slide(path, mpp)
        with Slide(path, mpp) as slide:
            facts = {"pixels": list(slide.dimensions), "size_um": [round(side, 1) for side in slide.size_um]}
            facts |= {name: value for name, value in slide.describe().items() if value is not None}
    except UserError as error:
        kind = "slide" if path.suffix.lower() in SUFFIXES else "unknown"
        return Report(path, kind, f"a file '{path.suffix}'", False, [_reason(error)])
    return Report(path, "slide", "whole-slide image", True, [], facts)


def _grid(image: Any) -> dict[str, Any]:
    return {"voxels": list(image.GetSize()), "spacing_mm": [round(float(side), 6) for side in image.GetSpacing()]}


def _labels(voxels: Any) -> list[tuple[float, int]] | None:
    """Return the labels of a mask with their numbers of voxels; None for values that are no labels."""
    if voxels.min() < 0 or not np.isfinite(voxels).all() or (voxels != np.round(voxels)).any():
        return None
    values, counts = np.unique(voxels, return_counts=True)
    if len(values) > MOST_LABELS:
        return None
    return [(float(value), int(count)) for value, count in zip(values, counts, strict=True) if value != 0]


def _reason(error: UserError) -> str:
    return f"{error.what.rstrip('.')}. {error.mend.rstrip('.')}." if error.mend else f"{error.what.rstrip('.')}."
