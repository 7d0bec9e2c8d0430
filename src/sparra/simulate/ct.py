"""Contrast-enhanced abdominal CT around a kidney with a tumour, and the region that carries the hazard."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import fft, ndimage

from sparra.simulate.settings import SimulationSettings
from sparra.simulate.texture import Field, Mask, grow_region, largest_component, smooth_noise, soft_step

FIELD_OF_VIEW_MM = (156.0, 156.0, 130.0)  # x, y, z
KIDNEY, TUMOUR, CYST = 1, 2, 3  # labels of KiTS
AIR, FAT, MUSCLE, FLUID, BONE = -1000.0, -105.0, 58.0, 6.0, 420.0  # HU
TUMOUR_HU = 95.0
NECROSIS_HU = 105.0  # largest change of the planted region's mean, towards necrosis or enhancement
EDGE_MM = 2.0
NOISE_HU = 11.0

Point = tuple[float, float, float]


@dataclass(frozen=True)
class SimulatedCt:
    """One CT with its labels and its planted region, all ``(z, y, x)``.

    Attributes
    ----------
    hu : ndarray of int16
        Hounsfield units.
    labels : ndarray of uint8
        0 none, 1 kidney, 2 tumour, 3 cyst.
    region : ndarray of bool
        The planted region, within the tumour.
    spacing_mm : tuple of float
        Voxel spacing in x, y and z.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    region: Mask
    spacing_mm: Point

    def image(self, voxels: NDArray[np.int16] | NDArray[np.uint8]) -> sitk.Image:
        """Return voxels as an image in this CT's geometry; the centre is the origin of the patient axes."""
        image = sitk.GetImageFromArray(voxels)
        geometry: Any = image  # SimpleITK leaves these methods untyped
        geometry.SetSpacing(self.spacing_mm)
        geometry.SetOrigin([-(n - 1) * s / 2 for n, s in zip(geometry.GetSize(), self.spacing_mm, strict=True)])
        return image


@dataclass(frozen=True)
class _Grid:
    """Voxel centres in mm, patient axes left, posterior and superior, broadcastable as ``(z, y, x)``."""

    x: Field
    y: Field
    z: Field
    spacing_mm: Point

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.z.shape[0], self.y.shape[1], self.x.shape[2]

    def noise(self, generator: np.random.Generator, scale_mm: float) -> Field:
        return smooth_noise(generator, self.shape, [scale_mm / s for s in self.spacing_mm[::-1]])

    def ellipsoid(self, centre: Point, radii: Point) -> Field:
        """Approximate depth below an ellipsoid's surface, mm; negative outside."""
        x, y, z = ((axis - c) / r for axis, c, r in zip((self.x, self.y, self.z), centre, radii, strict=True))
        return np.asarray((1.0 - np.sqrt(x**2 + y**2 + z**2)) * min(radii), dtype=np.float32)


def simulate_ct(z_ct: float, settings: SimulationSettings, generator: np.random.Generator) -> SimulatedCt:
    """Paint the CT of a subject.

    In the planted region a high biomarker lowers the mean HU and makes the texture stronger and coarser, as
    necrosis does; a low one enhances it and smooths it. At 0 the region looks like the rest of the tumour.

    Parameters
    ----------
    z_ct : float
        Planted biomarker, in standard deviations.
    settings : SimulationSettings
        Spacing, share of the region, nuisance.
    generator : numpy.random.Generator
        Source of every draw.
    """
    grid = _make_grid(settings.ct_spacing_mm)
    hu = _paint_body(grid)
    kidney, sinus = _paint_kidney(hu, grid, settings.nuisance, generator)
    tumour, centre = _tumour_depth(grid, generator)
    cyst = _cyst_depth(grid, centre, generator)
    tumour_mask = largest_component(tumour > 0)
    region = _planted_region(grid, tumour_mask, settings.region_share, generator)
    _blend(hu, soft_step(cyst, EDGE_MM), FLUID)
    texture = _tumour_texture(grid, region, z_ct, settings.nuisance, generator)
    _blend(hu, soft_step(tumour, EDGE_MM), texture)
    labels = np.zeros(grid.shape, np.uint8)
    labels[(kidney > 0) & (sinus <= 0)] = KIDNEY
    labels[cyst > 0] = CYST
    labels[tumour_mask] = TUMOUR
    noisy = hu + _scanner_noise(grid, settings.nuisance, generator)
    voxels = np.clip(np.rint(noisy), -1024, 3071).astype(np.int16)
    return SimulatedCt(voxels, labels, region, settings.ct_spacing_mm)


def _make_grid(spacing_mm: Point) -> _Grid:
    counts = [round(extent / step) for extent, step in zip(FIELD_OF_VIEW_MM, spacing_mm, strict=True)]
    x, y, z = (
        ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32) for n, step in zip(counts, spacing_mm, strict=True)
    )
    return _Grid(x[None, None, :], y[None, :, None], z[:, None, None], spacing_mm)


def _blend(hu: Field, weight: Field, value: Field | float) -> None:
    """Paint a tissue over what lies there, in place."""
    hu += weight * (value - hu)


def _paint_body(grid: _Grid) -> Field:
    """Air, wall, ribs, spine, aorta, psoas and spleen of a left flank."""
    hu = np.full(grid.shape, AIR, np.float32)
    body = grid.ellipsoid((-70.0, -35.0, 0.0), (152.0, 116.0, 1e5))
    _blend(hu, soft_step(body, EDGE_MM), FAT)
    wall = soft_step(body - 13.0, EDGE_MM) - soft_step(body - 25.0, EDGE_MM)
    _blend(hu, wall, MUSCLE)
    angle = np.arctan2(grid.y + 35.0, grid.x + 70.0)
    ribs = np.abs(body - 19.0) - 4.0 + 60.0 * np.abs(np.sin(3.0 * angle + grid.z / 22.0))
    _blend(hu, soft_step(3.0 - ribs, EDGE_MM), BONE)
    spleen = grid.ellipsoid((18.0, -78.0, 25.0), (44.0, 36.0, 70.0))
    _blend(hu, soft_step(np.minimum(spleen, body - 28.0), EDGE_MM), 118.0)
    psoas = grid.ellipsoid((-50.0, 28.0, 0.0), (15.0, 19.0, 1e5))
    _blend(hu, soft_step(psoas, EDGE_MM), MUSCLE)
    back = grid.ellipsoid((-44.0, 74.0, 0.0), (30.0, 22.0, 1e5))
    _blend(hu, soft_step(np.minimum(back, body - 14.0), EDGE_MM), MUSCLE)
    vertebra = grid.ellipsoid((-84.0, 26.0, 0.0), (26.0, 21.0, 1e5))
    _blend(hu, soft_step(vertebra, EDGE_MM), BONE)
    _blend(hu, soft_step(vertebra - 3.0, EDGE_MM), 190.0)
    aorta = grid.ellipsoid((-66.0, -9.0, 0.0), (9.5, 9.5, 1e5))
    _blend(hu, soft_step(aorta, EDGE_MM), 210.0)
    return hu


def _paint_kidney(hu: Field, grid: _Grid, nuisance: float, generator: np.random.Generator) -> tuple[Field, Field]:
    """Paint cortex, medulla, sinus fat and pelvis; return the depths below kidney and sinus, mm."""
    enhancement = 15.0 * nuisance * generator.standard_normal()
    outline = 1.5 * grid.noise(generator, 14.0)
    kidney = grid.ellipsoid((0.0, 0.0, 0.0), (27.0, 29.0, 50.0)) + outline
    sinus = grid.ellipsoid((-19.0, -6.0, 0.0), (18.0, 11.0, 26.0)) + outline
    _blend(hu, soft_step(kidney, EDGE_MM), 185.0 + enhancement)
    turn = np.arctan2(grid.y, grid.x + 6.0)
    pyramids = np.minimum(kidney - 7.0, 4.0 * np.cos(7.0 * turn) + 3.0 * np.cos(grid.z / 3.0) + 3.0)
    _blend(hu, soft_step(pyramids, 2 * EDGE_MM), 145.0 + enhancement)
    _blend(hu, soft_step(np.minimum(sinus, kidney + 3.0), EDGE_MM), FAT + 15.0)
    pelvis = grid.ellipsoid((-20.0, -5.0, 0.0), (13.0, 5.0, 12.0))
    _blend(hu, soft_step(pelvis, EDGE_MM), 25.0)
    vessel = grid.ellipsoid((-40.0, -8.0, 4.0), (28.0, 4.0, 4.0))
    _blend(hu, soft_step(vessel, EDGE_MM), 190.0 + enhancement)
    return kidney, sinus


def _tumour_depth(grid: _Grid, generator: np.random.Generator) -> tuple[Field, Point]:
    """Depth below the surface of an irregular ellipsoid on the kidney's front or side, 35 to 60 mm wide."""
    mean_radius = generator.uniform(18.5, 27.0)
    ratios = np.exp(generator.normal(0.0, 0.08, 3))
    radii = np.clip(mean_radius * ratios / ratios.prod() ** (1 / 3), 17.5, 30.0)
    azimuth = generator.uniform(-1.9, 0.1)  # from left (lateral) to front, away from spine and back
    height = generator.uniform(-0.75, 0.75)
    level = np.sqrt(1.0 - height**2)
    surface = np.array([27.0 * np.cos(azimuth) * level, 29.0 * np.sin(azimuth) * level, 50.0 * height])
    limit = np.array([44.0, 60.0, 58.0]) - radii
    x, y, z = np.clip(0.95 * surface, -limit, limit)
    centre = (float(x), float(y), float(z))
    depth = grid.ellipsoid(centre, (float(radii[0]), float(radii[1]), float(radii[2])))
    return depth + 1.6 * grid.noise(generator, 8.0), centre


def _cyst_depth(grid: _Grid, tumour_centre: Point, generator: np.random.Generator) -> Field:
    """Depth below the surface of a cyst at the pole away from the tumour, in a third of subjects."""
    radius = generator.uniform(7.0, 12.0)
    height = -30.0 if tumour_centre[2] > 0 else 30.0
    centre = (float(generator.uniform(4.0, 14.0)), float(generator.uniform(4.0, 14.0)), height)
    present = generator.random() < 1 / 3
    if not present:
        return np.full(grid.shape, -100.0, np.float32)
    return grid.ellipsoid(centre, (radius, radius, radius))


def _planted_region(grid: _Grid, tumour: Mask, share: float, generator: np.random.Generator) -> Mask:
    """Grow an irregular ball from a point well inside the tumour."""
    depth = ndimage.distance_transform_edt(tumour, sampling=grid.spacing_mm[::-1])
    candidates = np.argwhere(depth > 0.4 * depth.max())
    k, j, i = candidates[generator.integers(len(candidates))]
    offsets = (grid.x - grid.x[0, 0, i], grid.y - grid.y[0, j, 0], grid.z - grid.z[k, 0, 0])
    distance = np.sqrt(sum(offset**2 for offset in offsets))
    order = np.asarray(distance + 1.5 * grid.noise(generator, 5.0), dtype=np.float32)
    return grow_region(tumour, order, share)


def _tumour_texture(grid: _Grid, region: Mask, z_ct: float, nuisance: float, generator: np.random.Generator) -> Field:
    """HU of the tumour: the patient's own level and texture, changed by the biomarker within the region."""
    level = TUMOUR_HU + 4.5 * nuisance * generator.standard_normal()
    amplitude = 11.0 * np.exp(0.15 * nuisance * generator.standard_normal())
    coarseness = np.clip(0.35 + 0.1 * nuisance * generator.standard_normal(), 0.0, 1.0)
    sigma = [0.8 / step for step in grid.spacing_mm[::-1]]
    weight = np.asarray(ndimage.gaussian_filter(region.astype(np.float32), sigma), dtype=np.float32)
    mixing = coarseness + weight * (np.tanh(coarseness + z_ct / 2) - np.tanh(coarseness))
    mixing = np.clip(mixing, 0.0, 1.0)
    fine, coarse = grid.noise(generator, 1.5), grid.noise(generator, 4.5)
    texture = (np.sqrt(1.0 - mixing) * fine + np.sqrt(mixing) * coarse) * amplitude * np.exp(0.5 * z_ct * weight)
    return np.asarray(level - NECROSIS_HU * np.tanh(z_ct / 2) * weight + texture, dtype=np.float32)


def _scanner_noise(grid: _Grid, nuisance: float, generator: np.random.Generator) -> Field:
    """Noise with the power spectrum of filtered back projection: |f| with a soft cut-off, slice by slice."""
    level = NOISE_HU * np.exp(0.15 * nuisance * generator.standard_normal())
    _, rows, columns = grid.shape
    x_step, y_step, _ = grid.spacing_mm
    radial = np.hypot(fft.fftfreq(rows, y_step)[:, None], fft.rfftfreq(columns, x_step)[None, :])
    gain = np.sqrt(radial * np.exp(-((radial / 0.2) ** 2))).astype(np.float32)
    white = generator.standard_normal(grid.shape, dtype=np.float32)
    noise = fft.irfft2(fft.rfft2(white) * gain, s=(rows, columns))
    return np.asarray(level * noise / noise.std(), dtype=np.float32)
