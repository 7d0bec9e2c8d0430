"""A regular grid of cubic patches over the tumour."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparra.radiology.region import bounding_box


@dataclass(frozen=True)
class Patches:
    """Cubic patches of one volume.

    Attributes
    ----------
    starts : ndarray of int, shape (n_patches, 3)
        First voxel of each patch, [z, y, x].
    edge : int
        Voxels along each side.
    tumour_fraction : ndarray of float32, shape (n_patches,)
        Part of each patch's voxels that is tumour.
    candidates : int
        Patches of the grid before those with too little tumour were left out.
    spacing_mm : float or None
        Edge of a voxel, for encoders that measure lengths.
    """

    starts: NDArray[np.int_]
    edge: int
    tumour_fraction: NDArray[np.float32]
    candidates: int
    spacing_mm: float | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def centres(self) -> NDArray[np.float64]:
        """Centres as fractional voxel indices in (x, y, z) order, shape (n_patches, 3)."""
        return (self.starts + (self.edge - 1) / 2)[:, ::-1].astype(np.float64)


def place_patches(mask: NDArray[np.bool_], edge: int, stride: int, minimum_tumour_fraction: float) -> Patches:
    """Lay a grid of patches centred on the tumour's box and keep those with enough tumour.

    The patch with most tumour is always kept. The mask must leave room around the tumour: at least
    ``overhang(edge)`` voxels on every side.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
    edge, stride : int
        In voxels, ``stride <= edge``.
    minimum_tumour_fraction : float
        Of all voxels of the patch, 0 to 1.
    """
    axes = [_starts(box.start, box.stop, edge, stride) for box in bounding_box(mask)]
    fraction = _box_sums(mask, axes, edge) / edge**3
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    fraction = fraction.ravel()
    keep = fraction >= minimum_tumour_fraction
    keep[fraction.argmax()] = True
    # A threshold of 0 would keep patches without any tumour voxel, of which nothing could be said.
    keep &= fraction > 0
    return Patches(grid[keep], edge, fraction[keep].astype(np.float32), len(grid))


def overhang(edge: int) -> int:
    """Return by how many voxels at most a patch reaches beyond the tumour's box."""
    return (edge + 1) // 2


def _starts(begin: int, end: int, edge: int, stride: int) -> NDArray[np.int_]:
    """First voxels of the fewest patches that cover begin..end, centred on it."""
    length = end - begin
    count = max(0, -(-(length - edge) // stride)) + 1
    covered = edge + (count - 1) * stride
    return begin - (covered - length) // 2 + stride * np.arange(count)


def _box_sums(mask: NDArray[np.bool_], axes: list[NDArray[np.int_]], edge: int) -> NDArray[np.int_]:
    """Tumour voxels in each cube, from running sums along one axis after the other."""
    sums: NDArray[np.int_] = mask.astype(np.int64)
    for axis, starts in enumerate(axes):
        running = np.cumsum(sums, axis=axis)
        running = np.insert(running, 0, 0, axis=axis)
        sums = running.take(starts + edge, axis=axis) - running.take(starts, axis=axis)
    return sums
