"""Where the tissue is: the outline of one slide, found at low magnification or given."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon
from skimage.filters import threshold_otsu

from sparra.pathology.artefacts import STRIP_ROWS, ink_mask, without_small
from sparra.pathology.geojson import TISSUE
from sparra.pathology.outline import as_areas, mask_of, outline_of, snapped
from sparra.pathology.settings import SlideSettings

Mask = NDArray[np.bool_]

# Otsu alone always splits a slide in two. Empty glass stays below the lower bound and solid tissue above the
# upper one, so that neither an empty nor an all-tissue slide is split in its noise.
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.03, 0.08
# The stain signal is kept as whole numbers of this fraction.
SIGNAL_STEP = np.float32(1 / 10_000)
PEN, BLUR = "Pen*", "Blur*"

FindBlur = Callable[[Mask, float], Mask | None]


@dataclass(frozen=True)
class Tissue:
    """Tissue of one slide.

    Attributes
    ----------
    outline : MultiPolygon
        In µm from the top-left corner of level 0.
    mpp : float
        µm per pixel of the mask it was found on, or of `mask` where it was given.
    threshold : float or None
        Value of `stain_signal` above which a pixel is tissue; None where the outline was given.
    left_out : mapping of str to MultiPolygon
        Stained places that are not tissue: under ink (``Pen*``) or out of focus (``Blur*``).
    focus_checked : bool
        Whether the focus could be judged.
    """

    outline: MultiPolygon
    mpp: float
    threshold: float | None = None
    left_out: dict[str, MultiPolygon] = field(default_factory=dict)
    focus_checked: bool = False

    @property
    def area_mm2(self) -> float:
        """Area of the tissue in mm²."""
        return float(self.outline.area) / 1e6

    def mask(self, shape: tuple[int, int]) -> Mask:
        """Return the outline filled on a grid of `mpp` µm a pixel."""
        return mask_of(self.outline, shape, self.mpp)

    def classes(self) -> dict[str, MultiPolygon]:
        """Return all outlines by the class under which they are written."""
        return {TISSUE: self.outline, **self.left_out}

    def summary(self) -> dict[str, float | bool | None]:
        """Return areas in mm² and how they were found (JSON-ready)."""
        areas = {f"{name.rstrip('*').lower()}_mm2": float(part.area) / 1e6 for name, part in self.left_out.items()}
        return {
            "area_mm2": self.area_mm2,
            **areas,
            "pieces": len(self.outline.geoms),
            "threshold": self.threshold,
            "mpp": self.mpp,
            "focus_checked": self.focus_checked,
        }


def white_of(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the slide's own white, shape (3,): its brightest hundredth, within bounds.

    The bounds keep a slide without any glass from calling its palest tissue white.
    """
    levels = [np.zeros(256, dtype=np.int64) for _ in range(3)]
    for top in range(0, len(picture), STRIP_ROWS):
        for channel, counts in enumerate(levels):
            counts += np.bincount(picture[top : top + STRIP_ROWS, :, channel].ravel(), minlength=256)
    brightest = [int(np.searchsorted(np.cumsum(counts), 0.99 * counts.sum())) for counts in levels]
    return np.clip(np.array(brightest, dtype=np.float32), 220, 255)


def stain_signal(picture: NDArray[np.uint8], white: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much more green light a pixel absorbs than red or blue, from -1 to 1.

    Haematoxylin, eosin and DAB absorb green more than red or blue, while glass, dust, shadows, black pen and
    black padding are grey, and green pen absorbs green least. Each channel is taken relative to the slide's
    own white so that a tinted background counts as grey.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
    white : ndarray of float32, shape (3,)

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    red, green, blue = np.moveaxis(np.minimum(picture / white, np.float32(1.0)), -1, 0)
    signal: NDArray[np.float32] = np.maximum(red, blue) - green
    return signal


def find_tissue(
    picture: NDArray[np.uint8],
    mpp: float,
    settings: SlideSettings,
    level0_mpp: tuple[float, float] | None = None,
    find_blur: FindBlur | None = None,
) -> Tissue:
    """Find the tissue in an overview of a slide, by this slide alone.

    The stain signal, smoothed, is cut at Otsu's threshold held between sane limits; ink is taken out, small
    holes are filled, small pieces and what is out of focus are dropped.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
        The whole slide at `mpp`.
    mpp : float
        µm per pixel of `picture`.
    settings : SlideSettings
    level0_mpp : tuple of float, optional
        µm per pixel of level 0, on whose grid the outline is laid; default: that of `picture`.
    find_blur : callable (mask, mpp) -> mask or None, optional
        Finds what is out of focus in a mask; gives None where it cannot tell.

    Returns
    -------
    Tissue
        The outline may be empty.
    """
    white = white_of(picture)
    stained, threshold = _stained(picture, white, settings.tissue_smoothing_um / mpp)
    ink = ink_mask(picture, white, mpp) if settings.leave_out_ink else np.zeros_like(stained)
    mask = _cleaned(stained & ~ink, ink, mpp, settings)
    blurred = find_blur(mask, mpp) if find_blur and settings.largest_blur_um is not None and mask.any() else None
    if blurred is not None:
        mask = _cleaned(mask & ~blurred, ink | blurred, mpp, settings)
    own = level0_mpp or (mpp, mpp)
    left_out = {PEN: ink & stained, BLUR: blurred if blurred is not None else np.zeros_like(mask)}
    outlines = {name: _outline(part, mpp, settings, own) for name, part in left_out.items() if part.any()}
    outline = _outline(mask, mpp, settings, own)
    if outlines:  # simplified apart, they may overlap by a little
        outline = snapped(as_areas([outline.difference(as_areas(outlines.values()))]), own)
    return Tissue(outline, mpp, threshold, outlines, blurred is not None)


def _stained(picture: NDArray[np.uint8], white: NDArray[np.float32], sigma: float) -> tuple[Mask, float]:
    """Return where the smoothed stain signal exceeds its threshold, strip by strip to save memory."""
    reach = int(np.ceil(4 * sigma)) + 1
    signal = np.empty(picture.shape[:2], dtype=np.int16)
    for top in range(0, len(picture), STRIP_ROWS):
        first, last = max(0, top - reach), top + STRIP_ROWS + reach
        smooth = ndimage.gaussian_filter(stain_signal(picture[first:last], white), sigma, mode="nearest")
        strip = smooth[top - first : top - first + STRIP_ROWS]
        signal[top : top + len(strip)] = np.rint(strip / SIGNAL_STEP)
    threshold = min(max(_otsu(signal), LOWEST_THRESHOLD), HIGHEST_THRESHOLD)
    return signal > round(threshold / float(SIGNAL_STEP)), threshold


def _otsu(signal: NDArray[np.int16]) -> float:
    lowest, highest = int(signal.min()), int(signal.max())
    if lowest == highest:
        return LOWEST_THRESHOLD
    counts = np.zeros(highest - lowest + 1, dtype=np.int64)
    for top in range(0, len(signal), STRIP_ROWS):
        counts += np.bincount((signal[top : top + STRIP_ROWS].astype(np.int32) - lowest).ravel(), minlength=len(counts))
    values = np.arange(lowest, highest + 1) * float(SIGNAL_STEP)
    return float(threshold_otsu(hist=(counts, values)))  # type: ignore[no-untyped-call]


def _cleaned(mask: Mask, left_out: Mask, mpp: float, settings: SlideSettings) -> Mask:
    """Fill small holes, other than those left out, and drop small pieces."""
    filled = ~without_small(~mask, settings.largest_hole_um2 / mpp**2) & ~left_out
    return without_small(filled, settings.smallest_tissue_um2 / mpp**2)


def _outline(mask: Mask, mpp: float, settings: SlideSettings, level0_mpp: tuple[float, float]) -> MultiPolygon:
    return snapped(outline_of(mask, (mpp, mpp), settings.outline_tolerance_um), level0_mpp)
