"""Which voxels count and what grey level each has (IBSI reference manual, sections 2.5 to 2.7)."""

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError


def resegment(
    volume: NDArray[np.floating],
    mask: NDArray[np.bool_],
    intensity_range: tuple[float, float] | None = None,
    outlier_sigma: float | None = None,
) -> NDArray[np.bool_]:
    """Return the intensity mask: the mask without voxels outside the range or beyond some standard deviations.

    Mean and standard deviation are those of the whole mask; both conditions must hold.

    Raises
    ------
    UserError
        If no voxel is left.
    """
    kept = mask.copy()
    if intensity_range is not None:
        kept &= (volume >= intensity_range[0]) & (volume <= intensity_range[1])
    if outlier_sigma is not None:
        values = volume[mask].astype(np.float64)
        reach = outlier_sigma * values.std()
        kept &= np.abs(volume - values.mean()) <= reach
    if not kept.any():
        what = "no voxel of the region is left by the intensity range and the outlier filter"
        raise UserError(what, mend="Widen intensity_range or outlier_sigma")
    return kept


def fixed_bin_size(
    volume: NDArray[np.floating], inside: NDArray[np.bool_], width: float, lowest: float | None = None
) -> tuple[NDArray[np.int_], int]:
    """Give each voxel inside the level 1 + floor((intensity - lowest) / width); 0 outside.

    `lowest` is the lower end of the resegmentation range where there is one, else the smallest intensity inside.
    Returns the levels and the highest one.
    """
    begin = float(volume[inside].min()) if lowest is None else lowest
    steps = (np.where(inside, volume, begin).astype(np.float64) - begin) / width
    levels: NDArray[np.int_] = np.where(inside, np.floor(steps).astype(np.int_) + 1, 0)
    return levels, int(levels.max())


def fixed_bin_number(
    volume: NDArray[np.floating], inside: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.int_], int]:
    """Divide the range of the intensities inside into `count` equal levels from 1; 0 outside.

    Returns the levels and `count` (1 where there is one intensity only).
    """
    values = volume[inside].astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if high == low:
        return inside.astype(np.int_), 1
    steps = np.floor(count * (np.where(inside, volume, low).astype(np.float64) - low) / (high - low)).astype(np.int_)
    levels: NDArray[np.int_] = np.where(inside, np.minimum(steps, count - 1) + 1, 0)
    return levels, count
