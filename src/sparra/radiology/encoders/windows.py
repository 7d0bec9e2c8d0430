"""From HU to the 0-to-1 intensities that networks take."""

import numpy as np
from numpy.typing import NDArray

Window = tuple[float, float]

#: Level 40, width 400 HU: soft tissue of the abdomen.
SOFT_TISSUE: Window = (-160.0, 240.0)
_PERCENTILES = (0.05, 99.95)


def foreground_window(scan: NDArray[np.float32]) -> Window:
    """Find the intensities that SegVol's foreground normalisation keeps, over the whole scan.

    Foreground is what lies above the scan's mean; intensities are clipped to its percentiles 0.05 and 99.95.
    The z-score that follows and the scaling to 0 to 1 after it are linear, so that together they are the
    window between the two percentiles. Computed from whole HU, slice by slice.

    Parameters
    ----------
    scan : ndarray of float32, shape (z, y, x)
        In HU; voxels that are not finite are left out.

    Returns
    -------
    tuple of float
        (low, high) in HU; high is above low even in a scan of one value.
    """
    counts = _histogram(scan)
    levels = np.array(sorted(counts))
    number = np.array([counts[level] for level in levels], np.float64)
    mean = float((levels * number).sum() / max(number.sum(), 1))
    above = levels > mean
    if not above.any():
        return float(levels[-1]) - 1.0, float(levels[-1])
    low, high = (_percentile(levels[above], number[above], percent) for percent in _PERCENTILES)
    # Where the whole scan lies above its own percentile, scaling to 0 to 1 begins at the scan's least value.
    return max(low, float(levels[0])), max(high, low + 1e-8)


def into_window(hu: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Clip HU to a window and scale it to 0 to 1."""
    low, high = window
    scaled: NDArray[np.float32] = ((hu.clip(low, high) - low) / (high - low)).astype(np.float32)
    return scaled


def _histogram(scan: NDArray[np.float32]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for plane in scan:
        values, number = np.unique(np.rint(plane[np.isfinite(plane)]).astype(np.int64), return_counts=True)
        for value, n in zip(values.tolist(), number.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + n
    return counts or {0: 1}


def _percentile(levels: NDArray[np.int64], number: NDArray[np.float64], percent: float) -> float:
    """Percentile of a histogram, interpolated linearly between order statistics as NumPy does."""
    cumulative = number.cumsum()
    place = (cumulative[-1] - 1) * percent / 100
    below, above = (
        levels[np.searchsorted(cumulative, index, side="right")] for index in (np.floor(place), np.ceil(place))
    )
    return float(below + (above - below) * (place - np.floor(place)))
