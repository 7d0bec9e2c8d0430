"""Putting a mask onto its CT's grid: voxel by voxel where both share a lattice, by resampling only when asked."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from sparra.radiology.errors import OutsideImageError
from sparra.radiology.geometry import Grid, alignment, mismatch
from sparra.radiology.region import bounding_box
from sparra.radiology.volume import image_on

#: Where the last voxel of a CT ends, with room for rounding in headers.
_EDGE = 0.5 + 1e-3


def require_aligned(grid: Grid, ct: Grid, where: Path, *, part: bool) -> None:
    """Check that a mask need not be resampled.

    Parameters
    ----------
    grid, ct : Grid
    where : Path
        The mask's file, for messages.
    part : bool
        Whether the mask may hold part of the CT's lattice; else it must hold all of its voxels, if in another
        order of axes.

    Raises
    ------
    GeometryMismatchError
        If it is not so.
    """
    aligned = alignment(ct, grid)
    if aligned is None or not (part or aligned.covers(ct)):
        raise mismatch(ct, grid, where)


def place_mask(
    chosen: NDArray[np.bool_], grid: Grid, ct: Grid, where: Path, *, part: bool, resample: bool = False
) -> NDArray[np.uint8]:
    """Return a mask on the CT's grid.

    Parameters
    ----------
    chosen : ndarray of bool, shape (z, y, x) of `grid`
        Holds some True voxels.
    grid, ct : Grid
    where : Path
        The mask's file, for messages.
    part : bool
        Whether the mask may hold part of the CT's lattice, see `require_aligned`.
    resample : bool
        Whether its header is believed whatever its grid: voxels on the CT's lattice are put in place, others
        resampled by nearest neighbour.

    Returns
    -------
    ndarray of uint8, shape (z, y, x) of `ct`

    Raises
    ------
    GeometryMismatchError
        If the mask is not aligned and `resample` is False.
    OutsideImageError
        If part of the mask lies outside the CT.
    """
    if not resample:
        require_aligned(grid, ct, where, part=part)
    aligned = alignment(ct, grid)
    if aligned is not None:
        return paste(aligned.turned(chosen), aligned.start, ct, where)
    index = np.argwhere(chosen)[:, ::-1]
    on_ct = ct.to_index(grid.to_mm(index))
    outside = int((((on_ct < -_EDGE) | (on_ct > np.asarray(ct.size) - 1 + _EDGE)).any(axis=1)).sum())
    if outside:
        raise _outside(outside * grid.voxel_mm3, len(index) * grid.voxel_mm3, where)
    placed = sitk.Resample(
        image_on(grid, chosen.astype(np.uint8)),
        ct.size,
        sitk.Transform(),
        sitk.sitkNearestNeighbor,
        ct.origin,
        ct.spacing,
        ct.direction.ravel().tolist(),
        0,
        sitk.sitkUInt8,
    )
    voxels: NDArray[np.uint8] = sitk.GetArrayFromImage(placed)
    return voxels


def paste(chosen: NDArray[np.bool_], start: tuple[int, ...], ct: Grid, where: Path) -> NDArray[np.uint8]:
    """Put a block of voxels [z, y, x], whose first is CT voxel `start` (x, y, z), onto the CT's grid.

    Raises
    ------
    OutsideImageError
        If a True voxel falls outside.
    """
    shape = ct.size[::-1]
    voxels = np.zeros(shape, np.uint8)
    box = bounding_box(chosen)
    low = [b.start + s for b, s in zip(box, reversed(start), strict=True)]
    high = [b.stop + s for b, s in zip(box, reversed(start), strict=True)]
    inside = [slice(max(a, 0), max(min(b, n), 0)) for a, b, n in zip(low, high, shape, strict=True)]
    taken = tuple(slice(i.start - s, i.stop - s) for i, s in zip(inside, reversed(start), strict=True))
    empty = any(i.start >= i.stop for i in inside)
    if not empty:
        voxels[tuple(inside)] = chosen[taken]
    total, kept = int(chosen.sum()), int(voxels.sum())
    if kept < total:
        raise _outside((total - kept) * ct.voxel_mm3, total * ct.voxel_mm3, where)
    return voxels


def _outside(outside_mm3: float, total_mm3: float, where: Path) -> OutsideImageError:
    return OutsideImageError(
        f"{outside_mm3:.4g} of the mask's {total_mm3:.4g} mm³ lie outside its CT",
        where,
        "Pair it with the CT it was drawn on",
    )
