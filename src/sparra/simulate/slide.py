"""H&E-like slide with tubules, stroma and nuclei, and the region that carries the hazard."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from sparra.simulate.artefacts import draw_blur, draw_pen
from sparra.simulate.settings import SimulationSettings
from sparra.simulate.texture import Field, Mask, grow_region, largest_component, smooth_noise, soft_step

LAYOUT_MPP = 2.0  # tissue, tubules and regions are laid out on this grid and then enlarged
TISSUE_SHARE = 0.5  # of the slide's area
TUBULE_STEP_UM = 88.0
NUCLEUS_STEP_UM = 8.0
LARGEST_NUCLEUS_UM = 8.0  # longest half axis
TRUTH_DOWNSAMPLE = 16  # of the planted region's mask against level 0
LEVEL_DOWNSAMPLE, LEVELS, TILE = 4, 3, 256
BACKGROUND = 244.5
# Optical density of one unit of stain in red, green and blue (Macenko 2009, reference of the method).
HAEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062], np.float32)
EOSIN = np.array([0.2159, 0.8012, 0.5581], np.float32)


@dataclass(frozen=True)
class SimulatedSlide:
    """One slide at level 0 with its planted region.

    Attributes
    ----------
    rgb : ndarray of uint8, shape = (side, side, 3)
        The picture.
    tissue, region : ndarray of bool, shape = (side // 16, side // 16)
        Tissue, and the planted region within it.
    mpp : float
        Micrometres a pixel of `rgb`.
    blurred, inked : ndarray of bool, shape = (side // 16, side // 16)
        Tissue out of focus, and places under ink.
    """

    rgb: NDArray[np.uint8]
    tissue: Mask
    region: Mask
    mpp: float
    blurred: Mask
    inked: Mask


@dataclass(frozen=True)
class _Patient:
    """What differs between patients: the biomarker, and nuisance that has nothing to do with the hazard."""

    z_slide: float
    density: float
    tubule_um: float
    haematoxylin: Field
    eosin: Field


@dataclass(frozen=True)
class _Layout:
    """Fields on a grid of about `LAYOUT_MPP`; `place` is 0 at a tubule's centre and 1 at its outline."""

    um: float
    tissue: Mask
    region: Mask
    weight: Field
    place: Field
    lumen: Field


def simulate_slide(z_slide: float, settings: SimulationSettings, generator: np.random.Generator) -> SimulatedSlide:
    """Paint the slide of a subject.

    In the planted region a high biomarker gives more, larger and darker nuclei and narrower lumina; a low
    one the contrary. At 0 the region looks like the rest of the tissue.

    Parameters
    ----------
    z_slide : float
        Planted biomarker, in standard deviations.
    settings : SimulationSettings
        Size, mpp, share of the region, nuisance.
    generator : numpy.random.Generator
        Source of every draw.
    """
    side = round(settings.slide_um / settings.slide_mpp)
    patient = _draw_patient(z_slide, settings.nuisance, generator)
    layout = _lay_out(settings, patient, generator)
    haematoxylin, eosin = _stroma_and_tubules(layout, side, generator)
    np.maximum(haematoxylin, _nuclei(layout, patient, side, settings.slide_mpp, generator), out=haematoxylin)
    rgb = _stain(haematoxylin, eosin, patient, generator)
    small = side // TRUTH_DOWNSAMPLE
    tissue, region = (_resized(mask, small) > 0.5 for mask in (layout.tissue, layout.region))
    blurred = np.zeros_like(tissue)
    if settings.blurred_share:
        blurred = draw_blur(rgb, tissue, settings.slide_mpp, settings.blurred_share, settings.blur_um, generator)
    inked = draw_pen(rgb, settings.slide_mpp, settings.pen_marks, generator, TRUTH_DOWNSAMPLE)
    # Enlarging and rounding may cut a bridge one pixel wide.
    region = largest_component(region & tissue)
    return SimulatedSlide(rgb, tissue, region, settings.slide_mpp, blurred, inked)


def write_slide(path: Path, slide: SimulatedSlide) -> None:
    """Write a tiled pyramidal TIFF (JPEG, one page a level) that OpenSlide and QuPath read with its mpp."""
    level = Image.fromarray(slide.rgb)
    with tifffile.TiffWriter(path) as writer:
        for number in range(LEVELS):
            if number:
                level = level.reduce(LEVEL_DOWNSAMPLE)
            pixels_per_cm = 1e4 / (slide.mpp * LEVEL_DOWNSAMPLE**number)
            writer.write(
                np.asarray(level),
                tile=(TILE, TILE),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 85},
                resolution=(pixels_per_cm, pixels_per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(number > 0),
                description="SPARRA synthetic slide" if number == 0 else None,
                metadata=None,
                maxworkers=1,
            )


def _draw_patient(z_slide: float, nuisance: float, generator: np.random.Generator) -> _Patient:
    amounts = np.exp(0.07 * nuisance * generator.standard_normal(2)).astype(np.float32)
    hues = np.exp(0.05 * nuisance * generator.standard_normal((2, 3))).astype(np.float32)
    return _Patient(
        z_slide=z_slide,
        density=float(np.exp(0.07 * nuisance * generator.standard_normal())),
        tubule_um=float(34.0 * np.exp(0.06 * nuisance * generator.standard_normal())),
        haematoxylin=HAEMATOXYLIN * hues[0] * amounts[0],
        eosin=EOSIN * hues[1] * amounts[1],
    )


def _lay_out(settings: SimulationSettings, patient: _Patient, generator: np.random.Generator) -> _Layout:
    side = round(settings.slide_um / LAYOUT_MPP)
    um = settings.slide_um / side
    tissue = _tissue(side, generator)
    region = _planted_region(tissue, um, settings.region_share, generator)
    weight = np.asarray(ndimage.uniform_filter(region.astype(np.float32), round(24.0 / um)), dtype=np.float32)
    place = _tubules(side, um, patient.tubule_um, generator)
    lumen = np.asarray(0.42 * np.exp(-0.2 * patient.z_slide * weight), dtype=np.float32)
    return _Layout(um, tissue, region, weight, place, lumen)


def _tissue(side: int, generator: np.random.Generator) -> Mask:
    """One irregular piece in the middle of the slide."""
    axis = np.linspace(-1.0, 1.0, side, dtype=np.float32)
    rows, columns = axis[:, None], axis[None, :]
    radius = np.hypot(rows, columns)
    rough = smooth_noise(generator, (side, side), (side / 9, side / 9))
    fine = smooth_noise(generator, (side, side), (side / 60, side / 60))
    # Near the border the height falls steeply, so that the piece ends before it and never in a straight cut.
    wall = 6.0 * np.maximum(np.maximum(np.abs(rows), np.abs(columns)) - 0.82, 0.0)
    height = 0.2 * rough + 0.03 * fine - radius - wall
    piece = largest_component(height > np.quantile(height, 1.0 - TISSUE_SHARE))
    return np.asarray(ndimage.binary_fill_holes(piece))


def _planted_region(tissue: Mask, um: float, share: float, generator: np.random.Generator) -> Mask:
    depth = ndimage.distance_transform_edt(tissue)
    candidates = np.argwhere(depth > 0.4 * depth.max())
    row, column = candidates[generator.integers(len(candidates))]
    rows, columns = (np.arange(n, dtype=np.float32) for n in tissue.shape)
    distance = um * np.hypot(rows[:, None] - row, columns[None, :] - column)
    order = distance + 50.0 * smooth_noise(generator, tissue.shape, (90.0 / um, 90.0 / um))
    return grow_region(tissue, order.astype(np.float32), share)


def _jittered_grid(
    extent_um: float, step_um: float, jitter: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Points of a hexagonal grid, each moved by up to `jitter` steps; ``(n, 2)``, rows and columns in µm."""
    count = int(extent_um / step_um)
    rows, columns = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
    grid = np.stack([rows + 0.5, columns + 0.25 + 0.5 * (rows % 2)], axis=-1).reshape(-1, 2)
    return ((grid + generator.uniform(-jitter, jitter, grid.shape)) * step_um).astype(np.float32)


def _windows(centres: NDArray[np.float32], half: int) -> tuple[NDArray[np.intp], Field, Field]:
    """Pixels of the square around each centre: rows and columns as an index, and offsets from the centre."""
    corner = np.floor(centres).astype(np.intp) - half
    steps = np.arange(2 * half + 2)
    index = corner[:, :, None] + steps
    offset = (index - centres[:, :, None]).astype(np.float32)
    return index, offset[:, 0, :, None], offset[:, 1, None, :]


def _tubules(side: int, um: float, radius_um: float, generator: np.random.Generator) -> Field:
    """Relative distance from the centre of the nearest tubule: 1 at its outline, capped at 9."""
    centres = _jittered_grid(side * um, TUBULE_STEP_UM, 0.22, generator) / np.float32(um)
    half = int(1.9 * radius_um / um)
    index, rows, columns = _windows(centres, half)
    shape = (len(centres), 1, 1)
    radius = radius_um / um * generator.uniform(0.75, 1.2, shape)
    angle = np.arctan2(rows, columns)
    for waves, amplitude in ((2, 0.2), (3, 0.1)):
        radius = radius * (1.0 + amplitude * np.cos(waves * angle + generator.uniform(0.0, 2 * np.pi, shape)))
    relative = (np.hypot(rows, columns) / radius).astype(np.float32)
    place = np.full((side + 2 * half + 2, side + 2 * half + 2), 9.0, np.float32)
    np.minimum.at(place, (index[:, 0, :, None] + half, index[:, 1, None, :] + half), relative)
    return place[half : half + side, half : half + side]


def _resized(field: Field | Mask, side: int) -> Field:
    """Enlarge or shrink a square field of amounts; where the cubic would overshoot below 0, give 0."""
    picture = Image.fromarray(field.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    return np.maximum(np.asarray(picture, dtype=np.float32), 0.0)


def _stroma_and_tubules(layout: _Layout, side: int, generator: np.random.Generator) -> tuple[Field, Field]:
    """Amounts of haematoxylin and eosin without the nuclei, at level 0."""
    shape = layout.tissue.shape
    direction = smooth_noise(generator, shape, (120.0 / layout.um, 120.0 / layout.um))
    waves = smooth_noise(generator, shape, (14.0 / layout.um, 14.0 / layout.um))
    fibres = np.sin(9.0 * direction + 5.0 * waves).astype(np.float32)
    grain = smooth_noise(generator, shape, (0.7, 0.7))
    inside = soft_step(np.float32(1.0) - layout.place, 0.15)
    lumen = soft_step(layout.lumen - layout.place, 0.12)
    stroma = 0.50 + 0.10 * fibres + 0.04 * grain
    cytoplasm = 0.34 + 0.05 * grain
    solid = 1.0 - lumen
    tissue = layout.tissue.astype(np.float32)
    eosin = tissue * solid * (stroma + inside * (cytoplasm - stroma))
    haematoxylin = tissue * solid * (0.07 + 0.06 * inside + 0.02 * grain)
    return _resized(haematoxylin, side), _resized(eosin, side)


def _nuclei(layout: _Layout, patient: _Patient, side: int, mpp: float, generator: np.random.Generator) -> Field:
    """Haematoxylin of all nuclei at level 0: soft ellipses, round in tubules and long in the stroma."""
    points = _jittered_grid(side * mpp, NUCLEUS_STEP_UM, 0.38, generator)
    here = tuple(np.minimum(points / layout.um, layout.tissue.shape[0] - 1).astype(np.intp).T)
    place, signal = layout.place[here], patient.z_slide * layout.weight[here]
    in_wall = (place > layout.lumen[here] + 0.12) & (place < 0.98)
    chance = np.where(in_wall, 0.42, np.where(place >= 1.05, 0.16, 0.0)) * patient.density * np.exp(0.4 * signal)
    kept = layout.tissue[here] & (generator.random(len(points)) < np.minimum(chance, 0.95))
    points, place, signal = points[kept], place[kept], signal[kept]
    count = len(points)
    stretch = np.where(place < 1.0, 1.1, 1.8) * np.exp(0.12 * generator.standard_normal(count))
    radius = np.where(place < 1.0, 3.3, 2.6) * np.exp(0.12 * signal + 0.1 * generator.standard_normal(count))
    darkness = 1.0 * np.exp(0.18 * signal + 0.12 * generator.standard_normal(count))
    half_axes = np.minimum(np.stack([radius * np.sqrt(stretch), radius / np.sqrt(stretch)]), LARGEST_NUCLEUS_UM)
    return _draw_ellipses(
        points / np.float32(mpp), half_axes / mpp, generator.uniform(0, np.pi, count), darkness, side, mpp
    )


def _draw_ellipses(
    centres: NDArray[np.float32],
    half_axes: NDArray[np.float64],
    angle: NDArray[np.float64],
    value: NDArray[np.float64],
    side: int,
    mpp: float,
) -> Field:
    """Draw ellipses with soft edges and a slightly pale middle; where two overlap the darker wins."""
    half = int(np.ceil(LARGEST_NUCLEUS_UM / mpp)) + 1
    canvas = np.zeros((side + 2 * half + 2) ** 2, np.float32)
    long, short, cosine, sine, value = (
        a.astype(np.float32)[:, None, None] for a in (*half_axes, np.cos(angle), np.sin(angle), value)
    )
    for start in range(0, len(centres), 2000):  # a batch at a time bounds the memory
        part = slice(start, start + 2000)
        index, rows, columns = _windows(centres[part], half)
        along = (columns * cosine[part] + rows * sine[part]) / long[part]
        across = (rows * cosine[part] - columns * sine[part]) / short[part]
        distance = np.sqrt(along**2 + across**2)
        edge = soft_step((1.0 - distance) * short[part], 1.5)
        flat = (index[:, 0, :, None] + half) * (side + 2 * half + 2) + index[:, 1, None, :] + half
        ink = value[part] * edge * (0.82 + 0.18 * distance)
        np.maximum.at(canvas, flat.ravel(), ink.ravel())
    return canvas.reshape(side + 2 * half + 2, -1)[half : half + side, half : half + side]


def _stain(haematoxylin: Field, eosin: Field, patient: _Patient, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Turn amounts of stain into RGB by the law of Beer and Lambert, with a little grain and sensor noise."""
    side = haematoxylin.shape[0]
    grain = 1.0 + 0.10 * smooth_noise(generator, (TILE, side), (0.9, 0.9))
    noise = 1.2 * smooth_noise(generator, (TILE, side), (0.6, 0.6))
    rgb = np.empty((side, side, 3), np.uint8)
    for start in range(0, side, TILE):  # strips bound the memory
        rows = slice(start, min(start + TILE, side))
        height = rows.stop - rows.start
        shift = int(generator.integers(side))
        mottle = np.roll(grain[:height], shift, axis=1)
        speckle = np.roll(noise[:height], shift, axis=1)
        for channel in range(3):
            density = patient.haematoxylin[channel] * haematoxylin[rows] * mottle
            density = density + patient.eosin[channel] * eosin[rows]
            rgb[rows, :, channel] = np.clip(BACKGROUND * np.exp(-density) + speckle, 0.0, 255.0)
    return rgb
