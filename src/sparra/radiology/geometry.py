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


def require_same_grid(ct: Grid, mask: Grid, where: str | Path) -> None:
    """Check that a mask lies on the CT's grid, every corner within `GEOMETRY_TOLERANCE_MM`.

    Raises
    ------
    GeometryMismatchError
        Naming what differs: size in voxels, spacing, origin and far corner in mm.
    """
    mend = "Resample the mask onto the CT's grid, or pair it with the CT it was drawn on"
    if ct.size != mask.size:
        counts = [" x ".join(map(str, grid.size)) for grid in (mask, ct)]
        what = f"the mask has {counts[0]} voxels, its CT has {counts[1]}{_differences(ct, mask)}"
        raise GeometryMismatchError(what, where, mend)
    corners = np.array(list(product(*[(0, n - 1) for n in ct.size])))
    shift = float(np.linalg.norm(ct.to_mm(corners) - mask.to_mm(corners), axis=1).max())
    if shift > GEOMETRY_TOLERANCE_MM:
        what = (
            f"the mask lies up to {shift:.4g} mm away from its CT (tolerance {GEOMETRY_TOLERANCE_MM} mm)"
            f"{_differences(ct, mask)}"
        )
        raise GeometryMismatchError(what, where, mend)


def _differences(ct: Grid, mask: Grid) -> str:
    """List the differences in mm, direction as the angle that the worst axis is turned by."""
    spacing = np.abs(np.subtract(mask.spacing, ct.spacing)).max()
    origin = np.linalg.norm(np.subtract(mask.origin, ct.origin))
    cosines = np.clip((ct.direction * mask.direction).sum(axis=0), -1, 1)
    angle = np.degrees(np.arccos(cosines)).max()
    return f"; spacing differs by {spacing:.4g} mm, origin by {origin:.4g} mm, direction by {angle:.4g} degrees"
