"""A CT and its mask as they might have come out of another scan or another hand: rotated, moved, noisy, redrawn."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat
from scipy import ndimage

from sparra.radiology.geometry import Grid
from sparra.radiology.region import bounding_box
from sparra.radiology.resample import isotropic_grid
from sparra.settings import Settings

_AIR_HU = -1024.0
#: An eroded mask keeps this part of its volume at least.
_LEAST_VOLUME = 0.5


class PerturbationSettings(Settings):
    """How far measurements are perturbed; 0 leaves a kind out.

    Attributes
    ----------
    repeats : int
        Perturbed measurements of each tumour, besides the one as it is.
    rotation_degrees : float
        Largest rotation about each of the three axes.
    translation_mm : float
        Largest shift of the voxel grid along each axis.
    noise_hu : float
        Standard deviation of normal noise added to the scan's voxels.
    boundary_mm : float
        Largest distance by which the mask's border moves outwards (dilation) or inwards (erosion). An erosion that
        would take more than half of the volume is made smaller.
    context_mm : float
        Width of the scan around the tumour that encoders see; networks that take in more need more.
    seed : int
    """

    repeats: int = Field(default=8, ge=1)
    rotation_degrees: float = Field(default=4.0, ge=0, le=45)
    translation_mm: float = Field(default=0.5, ge=0)
    noise_hu: float = Field(default=5.0, ge=0)
    boundary_mm: float = Field(default=1.0, ge=0)
    context_mm: PositiveFloat = 25.0
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Perturbation:
    """One way of measuring again.

    Attributes
    ----------
    rotation_degrees, translation_mm : tuple of float
        About and along x, y, z of the patient (LPS).
    noise_hu : float
    boundary_mm : float
        Above 0 the mask grows.
    """

    rotation_degrees: tuple[float, ...] = (0.0, 0.0, 0.0)
    translation_mm: tuple[float, ...] = (0.0, 0.0, 0.0)
    noise_hu: float = 0.0
    boundary_mm: float = 0.0


def draw_perturbations(settings: PerturbationSettings) -> list[Perturbation]:
    """Return the unperturbed measurement and the `repeats` others: the same for every tumour of a seed."""
    rng = np.random.default_rng([_STREAM, settings.seed])
    drawn = [Perturbation()]
    for _ in range(settings.repeats):
        angles, shifts = rng.uniform(-1, 1, (2, 3))
        drawn.append(
            Perturbation(
                tuple((angles * settings.rotation_degrees).tolist()),
                tuple((shifts * settings.translation_mm).tolist()),
                settings.noise_hu,
                float(rng.uniform(-1, 1)) * settings.boundary_mm,
            )
        )
    return drawn


# A stream of its own, see docs/architecture.md.
_STREAM = 11


def perturb(
    ct: sitk.Image,
    mask: sitk.Image,
    perturbation: Perturbation,
    spacing_mm: float,
    context_mm: float,
    rng: np.random.Generator,
) -> tuple[sitk.Image, sitk.Image]:
    """Measure a tumour again, on the isotropic grid that the CT stage resamples to.

    Noise is added to the scan's own voxels; scan and mask are then turned about the tumour's centre, shifted and
    resampled in one step (cubic B-spline; linear, at least half inside); last the mask's border is moved.

    Parameters
    ----------
    ct, mask : SimpleITK.Image
        On one grid; the mask holds 0 and 1, and is not empty.
    perturbation : Perturbation
    spacing_mm : float
    context_mm : float
        How much of the scan is kept around the tumour.
    rng : Generator
        Of the noise.

    Returns
    -------
    ct, mask : SimpleITK.Image
        float32 HU and uint8.
    """
    scan = Grid.of(ct)
    box = bounding_box(sitk.GetArrayViewFromImage(mask).astype(bool))[::-1]
    start, stop = (np.array([getattr(side, end) for side in box], float) for end in ("start", "stop"))
    noisy = ct
    if perturbation.noise_hu > 0:
        values = sitk.GetArrayFromImage(ct)
        values += rng.normal(0, perturbation.noise_hu, values.shape).astype(np.float32)
        noisy = _like(values, scan)
    whole = isotropic_grid(scan, spacing_mm)
    corners = whole.to_index(scan.to_mm(np.array([start - 0.5, stop - 0.5])))
    rim = context_mm / spacing_mm
    first, last = np.floor(corners[0] - rim).astype(int), np.ceil(corners[1] + rim).astype(int)
    target = whole.part(first, last - first + 1)
    motion = sitk.Euler3DTransform()
    motion.SetCenter(scan.to_mm((start + stop - 1) / 2).tolist())
    motion.SetRotation(*np.radians(perturbation.rotation_degrees).tolist())
    motion.SetTranslation(perturbation.translation_mm)
    reference = _like(np.zeros(target.size[::-1], np.uint8), target)
    moved = sitk.Resample(noisy, reference, motion, sitk.sitkBSpline, _AIR_HU, sitk.sitkFloat32)
    covered = sitk.Resample(mask, reference, motion, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    original = sitk.GetArrayViewFromImage(noisy)
    # A spline overshoots beside bone and air.
    limits = min(float(original.min()), _AIR_HU), float(original.max())
    inside = sitk.GetArrayFromImage(covered) >= 0.5
    redrawn = move_boundary(inside, spacing_mm, perturbation.boundary_mm)
    return _like(sitk.GetArrayFromImage(moved).clip(*limits), target), _like(redrawn.astype(np.uint8), target)


def move_boundary(mask: NDArray[np.bool_], spacing_mm: float, distance_mm: float) -> NDArray[np.bool_]:
    """Move the border of a mask outwards (above 0) or inwards, by Euclidean distance.

    The border lies half a voxel from the centres beside it. An erosion that would take more than half of the volume
    is made smaller.
    """
    if distance_mm == 0 or not mask.any():
        return mask
    reach = int(np.ceil(abs(distance_mm) / spacing_mm)) + 1
    padded = np.pad(mask, reach)
    box = tuple(slice(side.start - reach, side.stop + reach) for side in bounding_box(padded))
    padded[box] = _moved(padded[box], spacing_mm, distance_mm)
    moved: NDArray[np.bool_] = padded[reach:-reach, reach:-reach, reach:-reach]
    return moved


def _moved(mask: NDArray[np.bool_], spacing_mm: float, distance_mm: float) -> NDArray[np.bool_]:
    outside = ndimage.distance_transform_edt(~mask) - 0.5
    within = ndimage.distance_transform_edt(mask) - 0.5
    signed = np.where(mask, -within, outside) * spacing_mm
    moved: NDArray[np.bool_] = signed <= distance_mm
    least = _LEAST_VOLUME * float(mask.sum())
    while moved.sum() < least:
        distance_mm /= 2
        moved = signed <= distance_mm
    return moved


def _like(voxels: NDArray[np.generic], grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
    return image
