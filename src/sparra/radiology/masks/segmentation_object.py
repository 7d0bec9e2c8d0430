"""DICOM-SEG: segments by number or label text, read with highdicom."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.radiology.errors import EmptyMaskError
from sparra.radiology.geometry import Grid
from sparra.radiology.masks.labels import Labels, absent, as_labels, match_names

_THRESHOLD = 0.5  # of a fractional segmentation


def require_segments(header: Any, labels: Labels, path: Path) -> list[int]:
    """Return the numbers of the segments asked for, from the header alone.

    Raises
    ------
    LabelAbsentError
        If none of them is there; the sentence lists number and label of those that are.
    """
    names = {int(item.SegmentNumber): str(item.get("SegmentLabel", "")) for item in header.get("SegmentSequence", [])}
    numbers = {label for label in as_labels(labels) if isinstance(label, int)} & set(names)
    texts = [label for label in as_labels(labels) if isinstance(label, str)]
    if not numbers and not texts:
        raise absent(labels, (f"{number} ({name})" for number, name in names.items()), "segment", path)
    if texts and not numbers:
        return match_names(texts, names, "segment", path)
    return sorted(numbers | {key for key, name in names.items() if name.strip() in texts})


def read_segments(path: Path, labels: Labels) -> tuple[NDArray[np.bool_], Grid]:
    """Read the union of some segments on the segmentation's own grid, which holds no empty slices.

    Returns
    -------
    chosen : ndarray of bool, shape (z, y, x)
    grid : Grid

    Raises
    ------
    EmptyMaskError, LabelAbsentError
        If there is nothing to find.
    UserError
        If the object is damaged or its frames are no evenly spaced stack.
    """
    import highdicom  # takes a second, which only those who have a DICOM-SEG should wait

    mend = "Export it again, or convert it to NIfTI on the CT's grid"
    try:
        segmentation = highdicom.seg.segread(str(path))
        numbers = require_segments(segmentation, labels, path)
        volume = segmentation.get_volume(segment_numbers=numbers, combine_segments=False)
    except UserError:
        raise
    except Exception as error:
        what = "the DICOM-SEG cannot be read as an evenly spaced stack of frames"
        raise UserError(f"{what} ({type(error).__name__})", path, mend) from None
    chosen = np.any(np.asarray(volume.array) >= _THRESHOLD, axis=-1)
    if not chosen.any():
        raise EmptyMaskError("the segment is empty: no voxel belongs to it", path)
    return chosen, _grid(volume, chosen.shape)


def _grid(volume: Any, shape: tuple[int, ...]) -> Grid:
    """Turn highdicom's affine over (slice, row, column) into a grid over (x, y, z)."""
    steps = np.asarray(volume.affine, np.float64)[:3, [2, 1, 0]]
    spacing = np.linalg.norm(steps, axis=0)
    origin = tuple(np.asarray(volume.affine, np.float64)[:3, 3].tolist())
    return Grid(tuple(shape[::-1]), tuple(spacing.tolist()), origin, steps / spacing)
