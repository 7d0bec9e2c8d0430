"""What spoils real slides: strokes of a pen on the glass, and places out of focus."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sparra.simulate.texture import Field, Mask, grow_region, smooth_noise, soft_step

#: Optical density (natural) of a stroke in red, green and blue.
PENS = {
    "blue": (1.6, 1.0, 0.25),
    "green": (1.7, 0.55, 1.1),
    "black": (1.9, 1.9, 1.9),
    "red": (0.12, 1.6, 1.5),
}
STROKE_UM = 220.0
# Of the camera, which sees what is out of focus as sharply as the rest.
SENSOR_NOISE = 1.0


def draw_blur(
    rgb: NDArray[np.uint8], tissue: Mask, mpp: float, share: float, blur_um: float, generator: np.random.Generator
) -> Mask:
    """Put one connected part of the tissue out of focus, in place.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (side, side, 3)
    tissue : ndarray of bool, shape (rows, columns)
        On any coarser grid of the whole slide.
    mpp : float
        µm per pixel of `rgb`.
    share : float
        Of the tissue's area.
    blur_um : float
        Standard deviation of the Gaussian.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of bool, shape of `tissue`
        The part of the tissue that is blurred.
    """
    rows, columns = np.indices(tissue.shape, dtype=np.float32)
    # From one side inwards, as where a section lifts from the glass.
    angle = generator.uniform(0, 2 * np.pi)
    rough = smooth_noise(generator, tissue.shape, [side / 12 for side in tissue.shape])
    order = rows * np.cos(angle) + columns * np.sin(angle) + 0.06 * len(tissue) * rough
    blurred = grow_region(tissue, order.astype(np.float32), share)
    # The glass around it is out of focus too, or the tissue's edge would stay sharp.
    nearest = ndimage.distance_transform_edt(~tissue, return_distances=False, return_indices=True)
    around = blurred[tuple(nearest)]
    _blend_blurred(rgb, around, blur_um / mpp, generator)
    return blurred


def _blend_blurred(rgb: NDArray[np.uint8], where: Mask, sigma_px: float, generator: np.random.Generator) -> None:
    side = len(rgb)
    at = np.minimum(np.arange(side) * len(where) // side, len(where) - 1)
    noise = SENSOR_NOISE * smooth_noise(generator, rgb.shape[:2], (0.6, 0.6))
    for channel in range(3):
        plane = ndimage.gaussian_filter(rgb[..., channel].astype(np.float32), sigma_px, mode="nearest")
        plane += noise
        mask = where[np.ix_(at, at)]
        rgb[..., channel][mask] = np.clip(np.rint(plane[mask]), 0, 255).astype(np.uint8)


def draw_pen(rgb: NDArray[np.uint8], mpp: float, marks: int, generator: np.random.Generator, downsample: int) -> Mask:
    """Draw strokes across the slide, in place, in the colours of `PENS` in turn.

    Ink absorbs light on top of what lies below, more or less along the stroke, and fades at its edges.

    Returns
    -------
    ndarray of bool, shape (side // downsample, side // downsample)
        Where there is ink.
    """
    side = len(rgb)
    inked = np.zeros((side // downsample,) * 2, dtype=bool)
    for mark in range(marks):
        stroke = _stroke(inked.shape[0], mpp * downsample, generator)
        amount = np.asarray(ndimage.zoom(stroke, side / len(stroke), order=1), dtype=np.float32)[:side, :side]
        for channel, density in enumerate(list(PENS.values())[mark % len(PENS)]):
            plane = rgb[..., channel]
            plane[:] = np.rint(plane * np.exp(-np.float32(density) * amount)).astype(np.uint8)
        inked |= stroke > 0.5
    return inked


def _stroke(side: int, um: float, generator: np.random.Generator) -> Field:
    """Return the amount of ink, 0 to about 1.2, of one bent stroke from border to border."""
    rows, columns = np.indices((side, side), dtype=np.float32) / side - 0.5
    angle, bend = generator.uniform(0, np.pi), generator.uniform(-0.5, 0.5)
    along, across = (
        rows * np.cos(angle) + columns * np.sin(angle),
        columns * np.cos(angle) - rows * np.sin(angle) - generator.uniform(-0.35, 0.35),
    )
    distance_um = np.abs(across - bend * along**2) * side * um
    uneven = 1.0 + 0.1 * smooth_noise(generator, (side, side), (side / 20, side / 20))
    return soft_step(STROKE_UM / 2 - distance_um, 30.0) * uneven
