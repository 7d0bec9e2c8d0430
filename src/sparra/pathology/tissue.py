"""Where the tissue is: a mask of the whole slide at low magnification."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from sparra.pathology.settings import SlideSettings

# Otsu alone always splits a slide in two. Empty glass stays below the lower bound and solid tissue above the
# upper one, so that neither an empty nor an all-tissue slide is split in its noise.
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.03, 0.08


@dataclass(frozen=True)
class Tissue:
    """Tissue mask of one slide.

    Attributes
    ----------
    mask : ndarray of bool, shape (rows, columns)
        Pixel (row, column) covers ``[column, column + 1] * mpp`` by ``[row, row + 1] * mpp`` µm.
    mpp : float
        µm per pixel of the mask.
    threshold : float
        Value of `stain_signal` above which a pixel is tissue.
    """

    mask: NDArray[np.bool_]
    mpp: float
    threshold: float

    @property
    def area_mm2(self) -> float:
        """Area of the tissue in mm²."""
        return float(self.mask.sum()) * self.mpp**2 / 1e6


def stain_signal(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much more green light a pixel absorbs than red or blue, from -1 to 1.

    Haematoxylin, eosin and DAB absorb green more than red or blue, while glass, dust, shadows, black pen and
    black padding are grey, and green pen absorbs green least. Each channel is taken relative to the slide's
    own white so that a tinted background counts as grey.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    # The bounds keep a slide without any glass from calling its palest tissue white.
    white = np.clip(np.percentile(picture.reshape(-1, 3), 99, axis=0), 220, 255).astype(np.float32)
    red, green, blue = np.moveaxis(np.minimum(picture / white, np.float32(1.0)), -1, 0)
    signal: NDArray[np.float32] = np.maximum(red, blue) - green
    return signal


def find_tissue(picture: NDArray[np.uint8], mpp: float, settings: SlideSettings) -> Tissue:
    """Find the tissue in an overview of a slide.

    The stain signal, smoothed, is cut at Otsu's threshold held between sane limits; small holes are filled
    and small pieces dropped.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
        The whole slide at `mpp`.
    mpp : float
        µm per pixel of `picture`.
    settings : SlideSettings

    Returns
    -------
    Tissue
        The mask may be empty.
    """
    signal = ndimage.gaussian_filter(stain_signal(picture), settings.tissue_smoothing_um / mpp, mode="nearest")
    flat = float(signal.min()) == float(signal.max())
    otsu = LOWEST_THRESHOLD if flat else float(threshold_otsu(signal))  # type: ignore[no-untyped-call]
    threshold = min(max(otsu, LOWEST_THRESHOLD), HIGHEST_THRESHOLD)
    mask = ~_without_small(~(signal > threshold), settings.largest_hole_um2 / mpp**2)
    return Tissue(_without_small(mask, settings.smallest_tissue_um2 / mpp**2), mpp, threshold)


def _without_small(mask: NDArray[np.bool_], area_px: float) -> NDArray[np.bool_]:
    """Drop the connected parts of a mask with fewer than `area_px` pixels."""
    labels, _ = ndimage.label(mask)
    keep = np.bincount(labels.ravel()) >= area_px
    keep[0] = False
    kept: NDArray[np.bool_] = keep[labels]
    return kept
