"""Fast detection of nuclei in the haematoxylin of a stack of tiles: where they lie, their area and their shape."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from sparra.pathology.encoders.stains import Planes

# All lengths in pixels of 1 µm.
EDGE_SIGMA = 1.0
PEAK_SIGMA = 1.5
NEIGHBOURHOOD = 21
EDGE_WINDOW = 7
PEAK_WINDOW = 5
SMALLEST_NUCLEUS_UM2 = 8
LEAST_EXCESS = np.float32(0.1)
# A slope too small to move a peak makes one pixel of a flat top the highest.
TIE_SLOPE = 1e-5
_WITHIN_TILE = np.zeros((3, 3, 3), dtype=bool)
_WITHIN_TILE[1] = True


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of a stack of tiles at 1 µm a pixel.

    Attributes
    ----------
    mask : ndarray of bool, shape (batch, height, width)
        Nuclear area.
    tile : ndarray of int, shape (n_nuclei,)
        Tile of each nucleus, ascending.
    touching : ndarray of bool, shape (n_nuclei,)
        Whether its area is joined to that of another.
    area_um2 : ndarray of float64, shape (n_nuclei,)
        Area of the nuclear pixels that are nearest to its centre.
    axis_ratio : ndarray of float64, shape (n_nuclei,)
        Minor over major axis of the ellipse with the same second moments; 1 is round. NaN without area.
    spacing_um : ndarray of float64, shape (n_nuclei,)
        Distance to the nearest other centre in the tile; NaN where there is none.
    """

    mask: NDArray[np.bool_]
    tile: NDArray[np.intp]
    touching: NDArray[np.bool_]
    area_um2: NDArray[np.float64]
    axis_ratio: NDArray[np.float64]
    spacing_um: NDArray[np.float64]


def detect_nuclei(haematoxylin: Planes) -> Nuclei:
    """Find nuclei as blobs darker in haematoxylin than their surroundings.

    Nuclear area is where haematoxylin (smoothed by 1 µm) exceeds its mean over 21 x 21 µm by 0.1 optical
    density and by half of the largest excess within 7 x 7 µm, in pieces of at least 8 µm²; each maximum of
    haematoxylin (smoothed by 1.5 µm, within 5 x 5 µm) in it is a nucleus. A tile without nuclei has none,
    since the least excess is absolute. A nucleus cut by the tile's border counts.

    Parameters
    ----------
    haematoxylin : ndarray of float32, shape (batch, height, width)
        Haematoxylin at 1 µm a pixel, in optical density.
    """
    smooth = ndimage.gaussian_filter(haematoxylin, (0, EDGE_SIGMA, EDGE_SIGMA), truncate=3)
    blobs = ndimage.gaussian_filter(haematoxylin, (0, PEAK_SIGMA, PEAK_SIGMA), truncate=3)
    surroundings = ndimage.uniform_filter(haematoxylin, (1, NEIGHBOURHOOD, NEIGHBOURHOOD))
    excess = smooth - surroundings
    # At half the height of a blurred edge, the edge is where it was before the blur.
    half_height = ndimage.maximum_filter(excess, (1, EDGE_WINDOW, EDGE_WINDOW)) / 2
    labels, pieces = ndimage.label(excess > np.maximum(LEAST_EXCESS, half_height), structure=_WITHIN_TILE)
    large = np.bincount(labels.ravel(), minlength=pieces + 1) >= SMALLEST_NUCLEUS_UM2
    large[0] = False
    mask: NDArray[np.bool_] = large[labels]
    blobs += TIE_SLOPE * np.add.outer(np.arange(blobs.shape[1]) * np.sqrt(2), np.arange(blobs.shape[2]))
    peaks = mask & (ndimage.maximum_filter(blobs, (1, PEAK_WINDOW, PEAK_WINDOW)) == blobs)
    piece_of_peak = labels[peaks]
    joined = np.bincount(piece_of_peak, minlength=pieces + 1)[piece_of_peak] > 1
    # Tile by tile, so that a pixel as near to two centres never falls to the other one in another batch.
    measured = [_measure(tile_mask, np.argwhere(tile_peaks)) for tile_mask, tile_peaks in zip(mask, peaks, strict=True)]
    area, axis_ratio, spacing = (np.concatenate(values) for values in zip(*measured, strict=True))
    return Nuclei(mask, np.nonzero(peaks)[0], joined, area, axis_ratio, spacing)


def _measure(
    mask: NDArray[np.bool_], centres: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return area, axis ratio and distance to the nearest other centre, each of shape (n_centres,)."""
    count = len(centres)
    if not count:
        return np.empty(0), np.empty(0), np.empty(0)
    tree = KDTree(centres)
    spacing = tree.query(centres, k=2)[0][:, 1]
    pixels = np.argwhere(mask)
    nucleus = tree.query(pixels)[1]
    area = np.bincount(nucleus, minlength=count).astype(np.float64)
    offset = (pixels - centres[nucleus]).astype(np.float64)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(nucleus, values, count) / np.where(area > 0, area, np.nan)

    y, x = mean(offset[:, 0]), mean(offset[:, 1])
    # A pixel is a square, whose own variance is 1/12.
    yy, xx = mean(offset[:, 0] ** 2) - y**2 + 1 / 12, mean(offset[:, 1] ** 2) - x**2 + 1 / 12
    xy = mean(offset[:, 0] * offset[:, 1]) - x * y
    middle, half_gap = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    axis_ratio = np.sqrt((middle - half_gap) / (middle + half_gap))
    return area, axis_ratio, np.where(np.isfinite(spacing), spacing, np.nan)
