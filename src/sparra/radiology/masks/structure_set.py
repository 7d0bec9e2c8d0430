"""RTSTRUCT: a region of interest by name, its contours turned into voxels of the CT.

A voxel belongs to the region if its centre lies inside an odd number of the slice's closed contours, so that
a contour within another cuts a hole.
"""

# scikit-image's functions carry no types.
# mypy: disable-error-code="no-untyped-call"

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import grid_points_in_poly

from sparra.errors import UserError
from sparra.radiology.errors import EmptyMaskError, GeometryMismatchError, OutsideImageError
from sparra.radiology.geometry import GEOMETRY_TOLERANCE_MM, Grid
from sparra.radiology.masks.labels import Labels, match_names

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass(frozen=True)
class Contour:
    """A closed contour in voxel coordinates of the CT.

    Attributes
    ----------
    points : ndarray of float64, shape (n, 2)
        x and y.
    height : float
        z: a whole number on the centre of a slice.
    """

    points: NDArray[np.float64]
    height: float


def require_regions(header: Any, labels: Labels, path: Path) -> list[int]:
    """Return the numbers of the regions asked for, by name.

    Raises
    ------
    LabelAbsentError
        If none of them is there; the sentence lists the names that are.
    """
    names = {int(item.ROINumber): str(item.get("ROIName", "")) for item in header.get("StructureSetROISequence", [])}
    return match_names(labels, names, "ROI", path)


def read_contours(header: Any, labels: Labels, ct: Grid, path: Path) -> tuple[NDArray[np.bool_], Grid]:
    """Turn the contours of some regions into voxels.

    Parameters
    ----------
    header : pydicom.Dataset
        The structure set.
    labels : str or sequence of str
        Names of the regions whose union is meant.
    ct : Grid
    path : Path
        For messages.

    Returns
    -------
    chosen : ndarray of bool, shape (z, y, x)
    grid : Grid
        The CT's lattice around the region where the contours lie on its slices; else that of the contours'
        own planes, which can only be resampled.

    Raises
    ------
    EmptyMaskError, LabelAbsentError
        If there is nothing to find.
    GeometryMismatchError
        If contours are not parallel to the CT's slices, or not evenly spaced.
    OutsideImageError
        If one lies so far outside that it was drawn on another CT.
    """
    numbers = require_regions(header, labels, path)
    regions = [_contours_of(header, number, ct, path) for number in numbers]
    contours = [contour for region in regions for contour in region]
    if not contours:
        raise EmptyMaskError("the ROI holds no closed contour", path)
    heights, step = _planes([contour.height for contour in contours], ct.spacing[2], path)
    points = np.concatenate([contour.points for contour in contours])
    first = np.floor(points.min(axis=0)).astype(int)
    extent = np.ceil(points.max(axis=0)).astype(int) - first + 1
    count = round((heights[-1] - heights[0]) / step) + 1
    chosen = np.zeros((count, extent[1], extent[0]), bool)
    for region in regions:
        chosen |= _fill(region, chosen.shape, first, heights[0], step)
    if not chosen.any():
        raise EmptyMaskError("the ROI is too thin to hold the centre of a voxel", path)
    start = np.array([first[0], first[1], heights[0]])
    part = Grid(tuple(chosen.shape[::-1]), ct.spacing, tuple(ct.to_mm(start).tolist()), ct.direction)
    return chosen, Grid(part.size, (*ct.spacing[:2], ct.spacing[2] * step), part.origin, ct.direction)


def _contours_of(header: Any, number: int, ct: Grid, path: Path) -> list[Contour]:
    items = [item for item in header.get("ROIContourSequence", []) if int(item.ReferencedROINumber) == number]
    contours = []
    for item in (contour for roi in items for contour in roi.get("ContourSequence", [])):
        if item.get("ContourGeometricType") not in _CLOSED:
            continue
        try:
            points = ct.to_index(np.asarray(item.ContourData, np.float64).reshape(-1, 3))
        except ValueError:
            raise UserError("a contour's points are not three numbers each", path, "Export it again") from None
        if len(points) < 3:
            continue
        lean = float(np.ptp(points[:, 2])) * ct.spacing[2]
        if lean > GEOMETRY_TOLERANCE_MM:
            raise GeometryMismatchError(
                f"a contour is not parallel to the CT's slices: its points lie up to {lean:.4g} mm apart along them",
                path,
                "Pair it with the CT it was drawn on",
            )
        # The true check of what lies outside comes later, with its volume; this one keeps the work bounded.
        if not (np.abs(points) <= 2 * np.asarray(ct.size)).all():
            raise OutsideImageError("a contour lies far outside the CT", path, "Pair it with the CT it was drawn on")
        contours.append(Contour(points[:, :2], float(points[:, 2].mean())))
    return contours


def _planes(found: list[float], slice_mm: float, path: Path) -> tuple[NDArray[np.float64], float]:
    """Return the heights of the contours' planes, and the step between planes, both in slices of the CT.

    On the CT's slices both are whole, and the step is 1 even where slices between two parts hold no contour.
    """
    tolerance = GEOMETRY_TOLERANCE_MM / slice_mm
    heights = np.unique(np.rint(np.asarray(found) / (tolerance / 10)) * (tolerance / 10))
    keep = np.insert(np.diff(heights) > tolerance, 0, True)
    heights = heights[keep]
    steps = np.diff(heights)
    on_slices = bool((np.abs(heights - np.rint(heights)) <= tolerance).all())
    if on_slices and (len(steps) == 0 or steps.min() < 1.5):
        return np.rint(heights), 1.0
    if len(steps) == 0:
        return heights, 1.0
    step = float(steps.min())
    if (np.abs(steps / step - np.rint(steps / step)) * step > 2 * tolerance).any():
        raise GeometryMismatchError(
            f"the contours' planes are not evenly spaced: {steps.min() * slice_mm:.4g} to"
            f" {steps.max() * slice_mm:.4g} mm apart, the CT's slices {slice_mm:.4g} mm",
            path,
            "Pair it with the CT it was drawn on",
        )
    return heights, step


def _fill(
    contours: list[Contour], shape: tuple[int, ...], first: NDArray[np.int_], lowest: float, step: float
) -> NDArray[np.bool_]:
    """Fill one region by the even-odd rule, plane by plane."""
    filled = np.zeros(shape, bool)
    for contour in contours:
        plane = round((contour.height - lowest) / step)
        rows_columns = (contour.points - first)[:, ::-1]
        low = np.floor(rows_columns.min(axis=0)).astype(int)
        high = np.ceil(rows_columns.max(axis=0)).astype(int) + 1
        inside = grid_points_in_poly(tuple(high - low), rows_columns - low, binarize=True)
        filled[plane, low[0] : high[0], low[1] : high[1]] ^= inside
    return filled
