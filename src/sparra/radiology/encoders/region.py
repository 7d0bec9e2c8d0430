"""Encoders that look at the whole region of interest and place their rows themselves."""

from dataclasses import dataclass
from itertools import permutations
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sparra.radiology.geometry import Grid
from sparra.radiology.region import Tumour

Triple = tuple[int, int, int]

#: Unit vectors of the directions in LPS coordinates.
_TOWARDS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


@dataclass(frozen=True)
class CtRegion:
    """What such an encoder gets.

    Attributes
    ----------
    volume : ndarray of float32, shape (z, y, x)
        HU on the isotropic grid; the tumour's box lies in its middle.
    mask : ndarray of bool, shape (z, y, x)
        The tumour.
    inside : ndarray of bool, shape (z, y, x)
        Where the scan is; beyond it `volume` repeats the scan's edge.
    grid : Grid
    scan : ndarray of float32, shape (z, y, x)
        The whole scan in HU on its own grid, for intensities that are normalised over it.
    minimum_tumour_fraction : float
        Of the stage's settings.
    scan_grid : Grid or None
        Grid of `scan`.
    tumour : Tumour or None
        The tumour on that grid.
    """

    volume: NDArray[np.float32]
    mask: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    grid: Grid
    scan: NDArray[np.float32]
    minimum_tumour_fraction: float
    scan_grid: Grid | None = None
    tumour: Tumour | None = None


@dataclass(frozen=True)
class Rows:
    """The rows of a bag, in voxels of the region.

    Attributes
    ----------
    features : ndarray of float32, shape (n, D)
    centres : ndarray of float64, shape (n, 3)
        Fractional voxel indices (x, y, z).
    size : tuple of float
        Voxels that a row stands for along x, y, z.
    tumour_fraction : ndarray of float32, shape (n,)
    candidates : int
        Rows before those with too little tumour were left out.
    """

    features: NDArray[np.float32]
    centres: NDArray[np.float64]
    size: tuple[float, float, float]
    tumour_fraction: NDArray[np.float32]
    candidates: int


@runtime_checkable
class RegionEncoder(Protocol):
    """Turns the region of interest into rows."""

    feature_names: tuple[str, ...]

    def extent(self, box: Triple, grid: Grid) -> Triple:
        """Return how many voxels (z, y, x) of `grid` the region must reach over around a tumour's box of `box`."""
        ...

    def encode_region(self, region: CtRegion) -> Rows:
        """Encode a region that reaches over `extent` at least."""
        ...


@dataclass(frozen=True)
class Orientation:
    """Which axes of an array run where, and which of them are turned round.

    Attributes
    ----------
    axes : tuple of int
        For each axis of the oriented array the axis of the original.
    flipped : tuple of bool
        Whether that axis then runs backwards.
    """

    axes: Triple
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, grid: Grid, towards: str) -> "Orientation":
        """Find the axes of an array [z, y, x] on `grid` that point most `towards`, e.g. ``"SAR"``.

        The letters are the directions of the oriented array's axes: L, R, P, A, S or I.
        """
        wanted = np.array([_TOWARDS[letter] for letter in towards], np.float64)
        cosines = wanted @ grid.direction[:, ::-1]
        best = max(permutations(range(3)), key=lambda axes: float(np.abs(cosines[range(3), axes]).sum()))
        backwards = [bool(cosines[i, axis] < 0) for i, axis in enumerate(best)]
        return cls((best[0], best[1], best[2]), (backwards[0], backwards[1], backwards[2]))

    def turn(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the array, oriented (a view)."""
        steps = tuple(slice(None, None, -1 if backwards else 1) for backwards in self.flipped)
        return array.transpose(self.axes)[steps]

    def back(self, points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Bring (fractional) indices of the oriented array, shape (n, 3), to those of the original of `shape`."""
        original = np.empty_like(points)
        for i, axis in enumerate(self.axes):
            original[:, axis] = shape[axis] - 1 - points[:, i] if self.flipped[i] else points[:, i]
        return original

    def turn_size(self, size: tuple[int, ...]) -> Triple:
        """Bring lengths along the original array's axes to the oriented ones."""
        return (size[self.axes[0]], size[self.axes[1]], size[self.axes[2]])

    def back_size(self, size: tuple[float, float, float]) -> tuple[float, float, float]:
        """Bring lengths along the oriented axes to the original ones, as (x, y, z)."""
        lengths = [0.0, 0.0, 0.0]
        for i, axis in enumerate(self.axes):
            lengths[axis] = size[i]
        return (lengths[2], lengths[1], lengths[0])
