"""What the network sees: an isotropic RAS volume of normalised HU, and the way back to the CT's own grid."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sparra.radiology.geometry import Grid
from sparra.radiology.region import bounding_box
from sparra.radiology.resample import isotropic_grid
from sparra.radiology.volume import image_on

AIR_HU = -1024.0
#: Voxels denser than this are body, and table: what lies beside them is cut off.
BODY_HU = -500.0
MARGIN_VOXELS = 10
#: R, A and S in LPS coordinates.
_RAS = (-1.0, -1.0, 1.0)


@dataclass(frozen=True)
class Prepared:
    """A CT as the network sees it.

    Attributes
    ----------
    hu : ndarray of int16, shape (x, y, z)
        Axes run to the right, to the front and up, as in MONAI's networks.
    grid : Grid
    """

    hu: NDArray[np.int16]
    grid: Grid


def working_grid(scan: Grid, spacing_mm: float) -> Grid:
    """Return the isotropic grid over a scan whose axes run nearest to right, front and up."""
    _, axes = linear_sum_assignment(-np.abs(scan.direction))
    signs = [np.sign(scan.direction[row, axis]) * _RAS[row] for row, axis in enumerate(axes)]
    first = [0 if signs[list(axes).index(axis)] > 0 else scan.size[axis] - 1 for axis in range(3)]
    turned = Grid(
        tuple(int(scan.size[axis]) for axis in axes),
        tuple(float(scan.spacing[axis]) for axis in axes),
        tuple(scan.to_mm(first).tolist()),
        np.stack([sign * scan.direction[:, axis] for sign, axis in zip(signs, axes, strict=True)], axis=1),
    )
    return isotropic_grid(turned, spacing_mm)


def prepare(ct: sitk.Image, spacing_mm: float) -> Prepared:
    """Resample a CT (linear) to the working grid and cut it to the body with a margin."""
    grid = working_grid(Grid.of(ct), spacing_mm)
    hu = _resampled(ct, grid, sitk.sitkLinear, AIR_HU, sitk.sitkFloat32)
    hu = np.rint(np.nan_to_num(hu, nan=AIR_HU, posinf=3071, neginf=AIR_HU)).clip(AIR_HU, 3071).astype(np.int16)
    body = hu > BODY_HU
    if not body.any():
        return Prepared(hu, grid)
    box = bounding_box(body)
    low = np.array([max(b.start - MARGIN_VOXELS, 0) for b in box])
    high = np.array([min(b.stop + MARGIN_VOXELS, n) for b, n in zip(box, hu.shape, strict=True)])
    part = hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return Prepared(np.ascontiguousarray(part), grid.part(low, high - low))


def resample_labels(labels: sitk.Image, grid: Grid) -> NDArray[np.uint8]:
    """Take the nearest label for each voxel of `grid`, shape (x, y, z)."""
    return _resampled(labels, grid, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)


def to_scan(probability: NDArray[np.float32], grid: Grid, scan: Grid) -> NDArray[np.float32]:
    """Interpolate a probability (x, y, z) onto a scan's own grid, shape (z, y, x)."""
    image = image_on(grid, np.ascontiguousarray(probability.transpose(2, 1, 0)))
    return _resampled(image, scan, sitk.sitkLinear, 0.0, sitk.sitkFloat32).transpose(2, 1, 0)


def _resampled(image: sitk.Image, grid: Grid, how: int, beyond: float, kind: int) -> NDArray[Any]:
    direction = grid.direction.ravel().tolist()
    transform = sitk.Transform()
    result = sitk.Resample(image, grid.size, transform, how, grid.origin, grid.spacing, direction, beyond, kind)
    voxels: NDArray[Any] = sitk.GetArrayFromImage(result).transpose(2, 1, 0)
    return voxels


def normalise(hu: Tensor, intensity_hu: tuple[float, float]) -> Tensor:
    """Map `intensity_hu` to -1 and 1, then squash by a sigmoid, so that metal and air stay bounded."""
    low, high = intensity_hu
    return torch.sigmoid((hu.to(torch.float32) - low) / (high - low) * 2 - 1)
