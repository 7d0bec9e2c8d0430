"""Where the tissue is: the outline of one slide, found at low magnification or given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry import MultiPolygon
from skimage.filters import threshold_otsu

from sparra.pathology.artefacts import ink_colours, ink_strokes
from sparra.pathology.geojson import TISSUE
from sparra.pathology.masks import Mask, drop_small, fill_small, strips, without
from sparra.pathology.outline import as_areas, mask_of, outline_of, snapped
from sparra.pathology.settings import SlideSettings

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


class Stain(NamedTuple):
    """What the colours of a slide tell.

    Attributes
    ----------
    stained : ndarray of bool, shape (rows, columns)
        Where the smoothed `stain_signal` exceeds the threshold.
    ink_colours : ndarray of bool, shape (rows, columns)
        Pixels of a pen's colour.
    threshold : float
    mpp : float
        µm per pixel.
    """

    stained: Mask
    ink_colours: Mask
    threshold: float
    mpp: float


def white_of(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the slide's own white, shape (3,): its brightest hundredth, within bounds.

    The bounds keep a slide without any glass from calling its palest tissue white.
    """
    levels = [np.zeros(256, dtype=np.int64) for _ in range(3)]
    for rows in strips(picture.shape):
        for channel, counts in enumerate(levels):
            counts += np.bincount(picture[rows, :, channel].ravel(), minlength=256)
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


def find_stain(picture: NDArray[np.uint8], mpp: float, settings: SlideSettings) -> Stain:
    """Find what has the colour of tissue and of ink, after which the colours of a slide can be let go.

    Tissue is where the stain signal, smoothed, exceeds Otsu's threshold held between sane limits.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
        The whole slide at `mpp`.
    mpp : float
        µm per pixel of `picture`.
    settings : SlideSettings
    """
    white = white_of(picture)
    ink = ink_colours(picture, white) if settings.leave_out_ink else np.zeros(picture.shape[:2], dtype=bool)
    stained, threshold = _stained(picture, white, settings.tissue_smoothing_um / mpp)
    return Stain(stained, ink, threshold, mpp)


def find_tissue(
    picture: NDArray[np.uint8],
    mpp: float,
    settings: SlideSettings,
    level0_mpp: tuple[float, float] | None = None,
    find_blur: FindBlur | None = None,
) -> Tissue:
    """Find the tissue in an overview of a slide, by this slide alone: `find_stain`, then `outline_tissue`.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns, 3)
        The whole slide at `mpp`.
    mpp : float
        µm per pixel of `picture`.
    settings : SlideSettings
    level0_mpp, find_blur
        See `outline_tissue`.

    Returns
    -------
    Tissue
        The outline may be empty.
    """
    return outline_tissue(find_stain(picture, mpp, settings), settings, level0_mpp, find_blur)


def outline_tissue(
    stain: Stain,
    settings: SlideSettings,
    level0_mpp: tuple[float, float] | None = None,
    find_blur: FindBlur | None = None,
) -> Tissue:
    """Outline what is stained, less ink, small pieces, and what is out of focus, with small holes filled.

    Parameters
    ----------
    stain : Stain
    settings : SlideSettings
    level0_mpp : tuple of float, optional
        µm per pixel of level 0, on whose grid the outline is laid; default: that of `stain`.
    find_blur : callable (mask, mpp) -> mask or None, optional
        Finds what is out of focus in a mask; gives None where it cannot tell.

    Returns
    -------
    Tissue
        The outline may be empty.
    """
    stained, mpp = stain.stained, stain.mpp
    ink = ink_strokes(stain.ink_colours, mpp)
    mask = _cleaned(without(stained, ink), ink, mpp, settings)
    blurred = find_blur(mask, mpp) if find_blur and settings.largest_blur_um is not None and mask.any() else None
    if blurred is not None:
        mask = _cleaned(without(mask, blurred), ink | blurred, mpp, settings)
    own = level0_mpp or (mpp, mpp)
    left_out = {PEN: ink & stained, BLUR: blurred if blurred is not None else np.zeros_like(mask)}
    outlines = {name: _outline(part, mpp, settings, own) for name, part in left_out.items() if part.any()}
    outline = _outline(mask, mpp, settings, own)
    if outlines:  # simplified apart, they may overlap by a little
        outline = snapped(as_areas([outline.difference(as_areas(outlines.values()))]), own)
    return Tissue(outline, mpp, stain.threshold, outlines, blurred is not None)


def _stained(picture: NDArray[np.uint8], white: NDArray[np.float32], sigma: float) -> tuple[Mask, float]:
    """Return where the smoothed stain signal exceeds its threshold."""
    reach = int(np.ceil(4 * sigma)) + 1
    signal = np.empty(picture.shape[:2], dtype=np.int16)
    for rows in strips(signal.shape):
        first = max(0, rows.start - reach)
        smooth = ndimage.gaussian_filter(stain_signal(picture[first : rows.stop + reach], white), sigma, mode="nearest")
        signal[rows] = np.rint(smooth[rows.start - first : rows.stop - first] / SIGNAL_STEP)
    threshold = min(max(_otsu(signal), LOWEST_THRESHOLD), HIGHEST_THRESHOLD)
    return signal > round(threshold / float(SIGNAL_STEP)), threshold


def _otsu(signal: NDArray[np.int16]) -> float:
    lowest, highest = int(signal.min()), int(signal.max())
    if lowest == highest:
        return LOWEST_THRESHOLD
    counts = np.zeros(highest - lowest + 1, dtype=np.int64)
    for rows in strips(signal.shape):
        counts += np.bincount((signal[rows].astype(np.int32) - lowest).ravel(), minlength=len(counts))
    values = np.arange(lowest, highest + 1) * float(SIGNAL_STEP)
    return float(threshold_otsu(hist=(counts, values)))  # type: ignore[no-untyped-call]


def _cleaned(mask: Mask, left_out: Mask, mpp: float, settings: SlideSettings) -> Mask:
    """Fill small holes of a mask, other than those left out, and drop small pieces, in its own memory."""
    fill_small(mask, settings.largest_hole_um2 / mpp**2)
    np.greater(mask, left_out, out=mask)
    drop_small(mask, settings.smallest_tissue_um2 / mpp**2)
    return mask


def _outline(mask: Mask, mpp: float, settings: SlideSettings, level0_mpp: tuple[float, float]) -> MultiPolygon:
    return snapped(outline_of(mask, (mpp, mpp), settings.outline_tolerance_um), level0_mpp)
