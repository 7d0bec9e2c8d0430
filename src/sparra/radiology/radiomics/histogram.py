"""IBSI intensity histogram features (reference manual, section 3.4): statistics of the grey levels."""

import numpy as np
from numpy.typing import NDArray

from sparra.radiology.radiomics.intensity import intensity_statistics

HISTOGRAM_IBSI_IDS = {
    "ih_mean": "X6K6",
    "ih_var": "CH89",
    "ih_skew": "88K1",
    "ih_kurt": "C3I7",
    "ih_median": "WIFQ",
    "ih_min": "1PR8",
    "ih_p10": "GPMT",
    "ih_p90": "OZ0C",
    "ih_max": "3NCY",
    "ih_iqr": "WR0O",
    "ih_range": "5Z3W",
    "ih_mad": "D2ZX",
    "ih_rmad": "WRZB",
    "ih_medad": "4RNL",
    "ih_cov": "CWYJ",
    "ih_qcod": "SLWD",
    "ih_mode": "AMMC",
    "ih_entropy": "TLU2",
    "ih_uniformity": "BJ5W",
    "ih_max_grad": "12CE",
    "ih_max_grad_g": "8E6O",
    "ih_min_grad": "VQB3",
    "ih_min_grad_g": "RHQZ",
}


def histogram_features(levels: NDArray[np.integer], n_levels: int) -> dict[str, NDArray[np.float64]]:
    """Compute the features of many patches at once.

    The gradient of the histogram is the central difference, one-sided at its ends; of equal modes the one nearest
    the mean is taken (of gradients the first).

    Parameters
    ----------
    levels : ndarray of int, shape (n_patches, n_voxels)
        Grey levels 1 to `n_levels`; 0 marks voxels that do not count.
    n_levels : int

    Returns
    -------
    dict of str to ndarray, each of shape (n_patches,)
        Keys of `HISTOGRAM_IBSI_IDS`, in that order.
    """
    statistics = intensity_statistics(levels.astype(np.float64), levels > 0)
    counts = level_counts(levels, n_levels)
    level = np.arange(1.0, n_levels + 1)
    mean = statistics["stat_mean"]
    # Less than 1 for the distance, so that only ties of whole counts are decided by it.
    ties = np.abs(level - mean[:, None]) / (n_levels + 1)
    gradient = np.gradient(counts, axis=1) if n_levels > 1 else np.zeros_like(counts)
    named = {name.replace("stat_", "ih_"): values for name, values in statistics.items()}
    named |= {
        "ih_mode": level[(counts - ties).argmax(axis=1)],
        **entropy_and_uniformity(counts),
        "ih_max_grad": gradient.max(axis=1),
        "ih_max_grad_g": level[gradient.argmax(axis=1)],
        "ih_min_grad": gradient.min(axis=1),
        "ih_min_grad_g": level[gradient.argmin(axis=1)],
    }
    return {name: named[name] for name in HISTOGRAM_IBSI_IDS}


def level_counts(levels: NDArray[np.integer], n_levels: int) -> NDArray[np.float64]:
    """Count the voxels of each level 1 to `n_levels`; shape (n_patches, n_levels)."""
    side = n_levels + 1
    row = np.arange(len(levels))[:, None] * side
    counts = np.bincount((levels.astype(np.int64) + row).ravel(), minlength=len(levels) * side)
    counted: NDArray[np.float64] = counts.reshape(-1, side)[:, 1:].astype(np.float64)
    return counted


def entropy_and_uniformity(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return ``ih_entropy`` (bits) and ``ih_uniformity`` of histograms (n_patches, n_levels)."""
    p = counts / counts.sum(axis=1, keepdims=True)
    logs = np.log2(np.where(p > 0, p, 1.0))
    return {"ih_entropy": np.maximum(-(p * logs).sum(axis=1), 0.0), "ih_uniformity": (p**2).sum(axis=1)}
