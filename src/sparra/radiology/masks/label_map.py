"""Label maps in NIfTI and NRRD files, those of 3D Slicer (``.seg.nrrd``) by the names of their segments too."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.radiology.errors import EmptyMaskError
from sparra.radiology.geometry import Grid
from sparra.radiology.masks.labels import Labels, absent, as_labels, match_names
from sparra.radiology.volume import read_header, read_volume


def states_its_place(path: Path) -> bool:
    """Tell whether a file may hold a part of its CT's grid: 3D Slicer crops to the segments and says where.

    Other tools that crop have been seen to keep the CT's origin, so a smaller label map proves nothing.
    """
    return path.name.lower().endswith(".seg.nrrd")


def read_label_map(path: Path, labels: Labels, spacing_known: bool = False) -> tuple[NDArray[np.bool_], Grid]:
    """Read where a label map holds one label, or one of several.

    Returns
    -------
    chosen : ndarray of bool, shape (z, y, x)
    grid : Grid
        The mask's own.

    Raises
    ------
    EmptyMaskError, LabelAbsentError
        If there is nothing to find.
    UserError
        If the file is absent, unreadable or cut short.
    """
    wanted = _values(path, labels, spacing_known)
    image = read_volume(path, as_float=False, spacing_known=spacing_known)
    voxels = sitk.GetArrayViewFromImage(image)
    chosen = np.isin(voxels, wanted) if len(wanted) > 1 else voxels == wanted[0]
    if not chosen.any():
        found = np.unique(voxels)
        present = [value for value in found[np.isfinite(found)].tolist() if value != 0]
        if not present:
            raise EmptyMaskError("the mask is empty: all voxels are background", path)
        raise absent(labels, (f"{value:g}" for value in present), "label", path)
    return chosen, Grid.of(image)


def _values(path: Path, labels: Labels, spacing_known: bool) -> list[int]:
    """Return label values; names are looked up among the segments that 3D Slicer notes in the header."""
    numbers = [label for label in as_labels(labels) if isinstance(label, int)]
    named = [label for label in as_labels(labels) if isinstance(label, str)]
    if not named:
        return numbers
    names = _slicer_names(read_header(path, spacing_known))
    if not names:
        raise UserError(
            f"label '{named[0]}' is a name, but this label map holds numbers only", path, "Give the label's number"
        )
    return numbers + match_names(named, names, "segment", path)


def _slicer_names(reader: Any) -> dict[int, str]:
    keys = set(reader.GetMetaDataKeys())
    names = {}
    for key in keys:
        value = key.removesuffix("_Name") + "_LabelValue"
        if key.startswith("Segment") and key.endswith("_Name") and value in keys:
            number = str(reader.GetMetaData(value)).strip()
            if number.isdecimal():
                names[int(number)] = str(reader.GetMetaData(key))
    return dict(sorted(names.items()))
