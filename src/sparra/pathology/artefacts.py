"""What covers tissue without being tissue: ink of a pen, and places out of focus."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sparra.pathology.masks import Mask, closed, drop_small, grown, strips
from sparra.pathology.slide import Slide

# Optical densities (decadic) and their ratios. Of haematoxylin, red is 0.93 of green and blue 0.41; of eosin red
# is 0.07 (Ruifrok 2001). Mixed with either, no tissue absorbs red more than green, as blue and green ink do.
LEAST_INK, COOL_RED_TO_GREEN = 0.15, 1.05
LEAST_BLUE_INK, BLUE_RED_TO_GREEN, BLUE_BLUE_TO_GREEN = 0.3, 0.8, 0.35
LEAST_BLACK, BLACK_SPREAD = 0.5, 0.45
# Eosin absorbs a ninth as much blue as green and blood three quarters; red ink absorbs both alike.
LEAST_RED, RED_RED_TO_GREEN, RED_BLUE_TO_GREEN = 0.35, 0.12, 0.85
# On tissue, nuclei add to the red and eosin to the green, but then both together absorb more than tissue alone does.
LEAST_RED_ON_TISSUE, ON_TISSUE_RED_TO_GREEN, ON_TISSUE_BLUE_TO_GREEN = 0.55, 0.3, 0.82
SMALLEST_INK_UM2, INK_RIM_UM, INK_GAP_UM = 10_000.0, 24.0, 24.0

FOCUS_MPP = 2.0
FOCUS_BLOCK_UM, FOCUS_CELL_UM, FOCUS_WINDOW = 1024.0, 32.0, 3
REBLUR_UM = 2.0
HALO_PX = 8
# Mean squared gradient, in grey levels a pixel, below which there is no edge to judge by.
LEAST_EDGES = 1.0


def ink_colours(picture: NDArray[np.uint8], white: NDArray[np.float32]) -> Mask:
    """Find the pixels that have the colour of a blue, green, black or red pen.

    Ratios of optical densities do not change with the amount of ink.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
    white : ndarray of float32, shape (3,)
        Colour of empty glass.
    """
    ink = np.zeros(picture.shape[:2], dtype=bool)
    for rows in strips(ink.shape):
        ink[rows] = _ink_colours(picture[rows], white)
    return ink


def ink_strokes(colours: Mask, mpp: float) -> Mask:
    """Return strokes of a pen from the pixels of its colour.

    Strokes are closed over gaps, pieces below 0.01 mm² are left (pigment, folds), and a rim of 24 µm is added,
    where the ink fades.

    Parameters
    ----------
    colours : ndarray of bool, shape (rows, columns)
    mpp : float
        µm per pixel.
    """
    if not colours.any():
        return colours
    strokes = closed(colours, INK_GAP_UM / mpp)
    drop_small(strokes, SMALLEST_INK_UM2 / mpp**2)
    return grown(strokes, INK_RIM_UM / mpp)


def _ink_colours(picture: NDArray[np.uint8], white: NDArray[np.float32]) -> Mask:
    density = -np.log10(np.clip((picture + np.float32(1)) / (white + np.float32(1)), 1e-3, 1.0))
    red, green, blue = np.moveaxis(density, -1, 0)
    mean = density.mean(axis=-1)
    spread = density.max(axis=-1) - density.min(axis=-1)
    cool = (red > COOL_RED_TO_GREEN * green) & (mean > LEAST_INK)
    deep_blue = (red > BLUE_RED_TO_GREEN * green) & (blue < BLUE_BLUE_TO_GREEN * green) & (mean > LEAST_BLUE_INK)
    black = (mean > LEAST_BLACK) & (spread < BLACK_SPREAD * mean)
    warm = (red < RED_RED_TO_GREEN * green) & (blue > RED_BLUE_TO_GREEN * green) & (green > LEAST_RED)
    warm |= (
        (red < ON_TISSUE_RED_TO_GREEN * green)
        & (blue > ON_TISSUE_BLUE_TO_GREEN * green)
        & (green > LEAST_RED_ON_TISSUE)
    )
    found: Mask = cool | deep_blue | black | warm
    return found


def blurred_mask(slide: Slide, tissue: Mask, mpp: float, largest_blur_um: float) -> Mask | None:
    """Find tissue that is out of focus.

    Blurred once more by a known amount, a sharp edge loses much of its gradient and a blurred one little. From
    the mean squared gradients of both, the blur itself follows, in µm, whatever the tissue's contrast
    (Zhuo and Sim, Pattern Recognition 2011;44:1852-1858, here for whole windows of 96 µm).

    Parameters
    ----------
    slide : Slide
    tissue : ndarray of bool, shape (rows, columns)
        Only what holds tissue is read, at 2 µm a pixel.
    mpp : float
        µm per pixel of `tissue`.
    largest_blur_um : float
        Standard deviation of the blur above which a place is left out.

    Returns
    -------
    ndarray of bool, shape of `tissue`, or None if the slide itself is too coarse to tell
    """
    if max(slide.resolution.x, slide.resolution.y) > FOCUS_MPP:
        return None
    rows, columns = (math.ceil(side * mpp / FOCUS_CELL_UM) for side in tissue.shape)
    energies = np.zeros((2, rows, columns), dtype=np.float32)
    per_block = round(FOCUS_BLOCK_UM / FOCUS_CELL_UM)
    for row in range(0, rows, per_block):
        for column in range(0, columns, per_block):
            x_um, y_um = column * FOCUS_CELL_UM, row * FOCUS_CELL_UM
            here = _window(tissue, (x_um, y_um), FOCUS_BLOCK_UM, mpp)
            if here.any():
                block = _edge_energies(slide, x_um, y_um)
                height, width = min(per_block, rows - row), min(per_block, columns - column)
                energies[:, row : row + height, column : column + width] = block[:, :height, :width]
    blur_um = blur_from_energies(energies)
    place = [((np.arange(side) + 0.5) * mpp / FOCUS_CELL_UM).astype(np.intp) for side in tissue.shape]
    blurred = tissue.copy()
    for strip in strips(tissue.shape):
        blurred[strip] &= (blur_um > largest_blur_um)[np.ix_(place[0][strip], place[1])]
    return blurred


def blur_from_energies(energies: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the blur in µm of each cell from its neighbourhood; 0 where there is no edge.

    Parameters
    ----------
    energies : ndarray of float32, shape (2, rows, columns)
        Mean squared gradient as read, and after blurring by `REBLUR_UM`.
    """
    plain, reblurred = ndimage.uniform_filter(energies, (0, FOCUS_WINDOW, FOCUS_WINDOW), mode="nearest")
    excess = np.maximum(plain / np.maximum(reblurred, 1e-6) - 1, 1e-3)
    blur: NDArray[np.float32] = np.where(plain > LEAST_EDGES, REBLUR_UM / np.sqrt(excess), 0).astype(np.float32)
    return blur


def _edge_energies(slide: Slide, x_um: float, y_um: float) -> NDArray[np.float32]:
    """Return the mean squared gradients of one block, shape (2, cells, cells)."""
    halo_um = HALO_PX * FOCUS_MPP
    side = round(FOCUS_BLOCK_UM / FOCUS_MPP) + 2 * HALO_PX
    picture = slide.read_um(x_um - halo_um, y_um - halo_um, side * FOCUS_MPP, side)
    # The green channel holds most of what both stains absorb.
    green = picture[..., 1].astype(np.float32)
    per_cell = round(FOCUS_CELL_UM / FOCUS_MPP)
    return np.stack(
        [_cell_means(_squared_gradient(plane), per_cell) for plane in (green, _gaussian(green, REBLUR_UM / FOCUS_MPP))]
    )


def _gaussian(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(plane, sigma, mode="nearest")
    return blurred


def _squared_gradient(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the squared differences of neighbours, without the halo; wider differences would blur themselves."""
    inner, after = slice(HALO_PX, -HALO_PX), slice(HALO_PX + 1, 1 - HALO_PX)
    squared: NDArray[np.float32] = (plane[inner, after] - plane[inner, inner]) ** 2
    squared += (plane[after, inner] - plane[inner, inner]) ** 2
    return squared


def _cell_means(plane: NDArray[np.float32], per_cell: int) -> NDArray[np.float32]:
    cells = len(plane) // per_cell
    means: NDArray[np.float32] = plane.reshape(cells, per_cell, cells, per_cell).mean(axis=(1, 3))
    return means


def _window(mask: Mask, corner_um: tuple[float, float], side_um: float, mpp: float) -> Mask:
    left, top = (int(edge / mpp) for edge in corner_um)
    right, bottom = (math.ceil((edge + side_um) / mpp) for edge in corner_um)
    return mask[top:bottom, left:right]
