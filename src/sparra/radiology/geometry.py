"""Where voxels lie: a grid in the scanner's LPS coordinates, and whether two grids are the same."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparra.radiology.errors import GeometryMismatchError

#: How far (mm) any corner voxel of a mask may lie from the CT's: rounding in headers, not a real shift.
GEOMETRY_TOLERANCE_MM = 0.1


@dataclass(frozen=True)
class Grid:
    """A voxel grid; all members are in (x, y, z) order, unlike arrays, which are [z, y, x].

    Attributes
    ----------
    size : tuple of int
        Number of voxels along x, y, z.
    spacing : tuple of float
        Distance between neighbouring voxel centres in mm.
    origin : tuple of float
        Centre of the first voxel in mm, LPS.
    direction : ndarray of float64, shape (3, 3)
        Columns are the directions of the x, y and z axes.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: NDArray[np.float64]

    @classmethod
    def of(cls, image: Any) -> "Grid":
        """Take the grid of a 3-D SimpleITK image, or of an image reader that has read its header."""
        direction = np.asarray(image.GetDirection(), np.float64).reshape(3, 3)
        return cls(tuple(image.GetSize()), tuple(image.GetSpacing()), tuple(image.GetOrigin()), direction)

    def to_mm(self, index: ArrayLike) -> NDArray[np.float64]:
        """Convert (fractional) voxel indices (x, y, z), shape (..., 3), to LPS positions in mm."""
        steps = np.asarray(index, np.float64) * np.asarray(self.spacing)
        position: NDArray[np.float64] = steps @ self.direction.T + np.asarray(self.origin)
        return position

    def to_index(self, position: ArrayLike) -> NDArray[np.float64]:
        """Convert LPS positions in mm, shape (..., 3), to fractional voxel indices (x, y, z)."""
        steps = (np.asarray(position, np.float64) - np.asarray(self.origin)) @ np.linalg.inv(self.direction).T
        index: NDArray[np.float64] = steps / np.asarray(self.spacing)
        return index

    def part(self, start: ArrayLike, size: ArrayLike) -> "Grid":
        """Return the part of `size` voxels that begins at voxel `start`; it may reach beyond this grid."""
        extent = tuple(int(n) for n in np.asarray(size))
        return Grid(extent, self.spacing, tuple(self.to_mm(start).tolist()), self.direction)

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(np.prod(self.spacing))


@dataclass(frozen=True)
class Alignment:
    """How the voxels of a mask's grid fall one to one on those of a CT's: by turned axes and a whole offset.

    Attributes
    ----------
    axes : tuple of int
        The mask's axis (0 x, 1 y, 2 z) that runs along each axis of the CT.
    signs : tuple of int
        1, or -1 where it runs the other way.
    start : tuple of int
        CT voxel (x, y, z) of the mask's first corner once its axes are turned; may lie outside the CT.
    size : tuple of int
        Voxels of the turned mask along x, y, z.
    """

    axes: tuple[int, ...]
    signs: tuple[int, ...]
    start: tuple[int, ...]
    size: tuple[int, ...]

    def covers(self, ct: Grid) -> bool:
        """Tell whether the mask has the CT's voxels, no more and no fewer."""
        return self.size == tuple(ct.size) and not any(self.start)

    def turned(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """Return the mask's voxels [z, y, x] with the axes of the CT."""
        order = [2 - self.axes[2 - axis] for axis in range(3)]
        steps = tuple(slice(None, None, sign) for sign in reversed(self.signs))
        return voxels.transpose(order)[steps]


def alignment(ct: Grid, mask: Grid) -> Alignment | None:
    """Return how `mask` is part of the CT's lattice, or None if it is not within `GEOMETRY_TOLERANCE_MM`.

    A mask stored in another orientation, cropped, or without its empty slices is on the lattice: its voxels can
    be put in place without interpolation. Whether its header is to be believed is another question: a mask as
    large as its CT but shifted by whole voxels, or smaller but with the CT's origin, often has a wrong one.
    """
    turn = np.linalg.inv(ct.direction * np.asarray(ct.spacing)) @ (mask.direction * np.asarray(mask.spacing))
    along = np.abs(turn).argmax(axis=0)  # the CT's axis along which each of the mask's runs
    if sorted(along.tolist()) != [0, 1, 2]:
        return None
    signs = np.sign(turn[along, [0, 1, 2]]).astype(int)
    first = np.rint(ct.to_index(mask.origin)).astype(int)
    corners = np.array(list(product(*[(0, n - 1) for n in mask.size])))
    on_ct = np.tile(first, (len(corners), 1))
    on_ct[:, along] += signs * corners
    if np.linalg.norm(ct.to_mm(on_ct) - mask.to_mm(corners), axis=1).max() > GEOMETRY_TOLERANCE_MM:
        return None
    axes = tuple(along.tolist().index(axis) for axis in range(3))
    turned_size = tuple(mask.size[axis] for axis in axes)
    turned_signs = tuple(int(signs[axis]) for axis in axes)
    return Alignment(axes, turned_signs, tuple(on_ct.min(axis=0).tolist()), turned_size)


def mismatch(ct: Grid, mask: Grid, where: str | Path) -> GeometryMismatchError:
    """Return the error that tells how a mask's grid differs from its CT's: in voxels, mm and degrees."""
    mend = (
        "Pair it with the CT it was drawn on, or, if it is the right one, have it resampled:"
        " 'yes' in the column 'resample_mask'"
    )
    if ct.size != mask.size:
        counts = [" x ".join(map(str, grid.size)) for grid in (mask, ct)]
        what = f"the mask has {counts[0]} voxels, its CT has {counts[1]}"
        return GeometryMismatchError(what + _differences(ct, mask), where, mend)
    corners = np.array(list(product(*[(0, n - 1) for n in ct.size])))
    shift = float(np.linalg.norm(ct.to_mm(corners) - mask.to_mm(corners), axis=1).max())
    what = (
        f"the mask lies up to {shift:.4g} mm away from its CT (tolerance {GEOMETRY_TOLERANCE_MM} mm)"
        f"{_differences(ct, mask)}"
    )
    return GeometryMismatchError(what, where, mend)


def _differences(ct: Grid, mask: Grid) -> str:
    """List the differences in mm, direction as the angle that the worst axis is turned by."""
    spacing = np.abs(np.subtract(mask.spacing, ct.spacing)).max()
    origin = np.linalg.norm(np.subtract(mask.origin, ct.origin))
    cosines = np.clip((ct.direction * mask.direction).sum(axis=0), -1, 1)
    angle = np.degrees(np.arccos(cosines)).max()
    return f"; spacing differs by {spacing:.4g} mm, origin by {origin:.4g} mm, direction by {angle:.4g} degrees"
