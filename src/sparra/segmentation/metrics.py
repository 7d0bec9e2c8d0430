"""Dice and surface Dice of two masks."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sparra.radiology.region import bounding_box
from sparra.segmentation.regions import SURFACE_TOLERANCES_MM, region_masks


def dice(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Return twice the overlap over the sum of both; NaN where both are empty."""
    total = int(prediction.sum()) + int(reference.sum())
    return 2 * int((prediction & reference).sum()) / total if total else float("nan")


def surface_dice(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float], tolerance_mm: float
) -> float:
    """Return the share of both surfaces that lies within a tolerance of the other one.

    Surface elements are weighed by their area, see Nikolov et al., J Med Internet Res 2021;23:e26151.

    Parameters
    ----------
    prediction, reference : ndarray of bool, shape (a, b, c)
    spacing : sequence of float
        Voxel size along a, b, c in mm.
    tolerance_mm : float

    Returns
    -------
    float
        NaN where both are empty, 0 where one is.
    """
    from monai.metrics import compute_surface_dice

    both = prediction | reference
    if not both.any():
        return float("nan")
    if not (prediction.any() and reference.any()):
        return 0.0
    box = bounding_box(both)
    pair = [torch.from_numpy(np.pad(mask[box], 2))[None, None] for mask in (prediction, reference)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of MONAI about its own arguments
        value = compute_surface_dice(
            pair[0], pair[1], [tolerance_mm], include_background=True, spacing=list(spacing), use_subvoxels=True
        )
    return float(value)


def region_scores(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8], spacing: Sequence[float]
) -> dict[str, tuple[float, float]]:
    """Return Dice and surface Dice of each region of two label maps, at the tolerances of KiTS23."""
    found, drawn = region_masks(prediction), region_masks(reference)
    return {
        name: (dice(found[name], drawn[name]), surface_dice(found[name], drawn[name], spacing, tolerance))
        for name, tolerance in SURFACE_TOLERANCES_MM.items()
    }


def mean_defined(values: Sequence[float]) -> float:
    """Return the mean of those that are numbers; NaN if none is."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def mean_by_region(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each region over cases."""
    return {name: mean_defined([case[name] for case in scores]) for name in (scores[0] if scores else {})}
