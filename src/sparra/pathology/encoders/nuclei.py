"""Fast detection of nuclei in the haematoxylin of a stack of tiles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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
    count : ndarray of int, shape (batch,)
        Nuclei.
    touching : ndarray of int, shape (batch,)
        Nuclei whose area is joined to that of another.
    """

    mask: NDArray[np.bool_]
    count: NDArray[np.int64]
    touching: NDArray[np.int64]


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
    tile_of_peak = np.nonzero(peaks)[0]
    joined = np.bincount(piece_of_peak, minlength=pieces + 1)[piece_of_peak] > 1
    batch = len(haematoxylin)
    return Nuclei(
        mask=mask,
        count=np.bincount(tile_of_peak, minlength=batch),
        touching=np.bincount(tile_of_peak[joined], minlength=batch),
    )
