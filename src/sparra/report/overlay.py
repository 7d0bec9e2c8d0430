"""A CT preview with its axes along the patient's, and the patch to look at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sparra.bags.preview import Preview


def focus_patch(positions: NDArray[np.float64], values: NDArray[np.float64]) -> int:
    """Return the most important patch; of patches that tie (those of one node), the most central one."""
    tied = np.flatnonzero(values >= values.max() * (1 - 1e-9))
    distances = np.linalg.norm(positions[tied] - positions[tied].mean(axis=0), axis=1)
    return int(tied[np.argmin(distances)])


@dataclass(frozen=True)
class PatientVolume:
    """A CT preview with its axes along the patient's: x to the left, y to the back, z to the head.

    Attributes
    ----------
    pixels : ndarray, shape (z, y, x)
        HU.
    mask : ndarray of bool, shape (z, y, x), or None
    spacing_mm : tuple of float
        Along (x, y, z).
    centres : ndarray of float64, shape (n_patches, 3)
        Patch centres (x, y, z) in pixel indices.
    """

    pixels: NDArray[np.int16]
    mask: NDArray[np.bool_] | None
    spacing_mm: tuple[float, float, float]
    centres: NDArray[np.float64]


def patient_volume(preview: Preview, positions: NDArray[np.float64]) -> PatientVolume:
    """Swap and flip the axes of a CT preview so that each runs along the nearest patient axis (LPS).

    Nothing is resampled: an oblique scan stays oblique, as in common viewers.
    """
    _, array_axis = linear_sum_assignment(-np.abs(preview.direction))
    signs = np.sign(preview.direction[np.arange(3), array_axis])
    centres = preview.to_pixels(positions)[:, array_axis]
    order = tuple(2 - int(axis) for axis in array_axis[::-1])
    flips = tuple(2 - int(axis) for axis in np.flatnonzero(signs < 0))
    pixels = np.flip(preview.pixels.transpose(order), flips)
    mask = None if preview.mask is None else np.flip(preview.mask.transpose(order), flips)
    lengths = np.asarray(pixels.shape[::-1])
    centres = np.where(signs < 0, lengths - 1 - centres, centres)
    x, y, z = (float(preview.spacing[axis]) for axis in array_axis)
    return PatientVolume(pixels, mask, (x, y, z), centres)
