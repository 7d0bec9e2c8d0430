"""IBSI neighbourhood grey tone difference features (reference manual, section 3.10)."""

import numpy as np
from numpy.typing import NDArray

NEIGHBOURHOOD_IBSI_IDS = {
    "ngt_coarseness": "QCDE",
    "ngt_contrast": "65HE",
    "ngt_busyness": "NQ30",
    "ngt_complexity": "HDEZ",
    "ngt_strength": "1X9X",
}
#: IBSI's value of coarseness where no voxel differs from its neighbours.
LARGEST_COARSENESS = 1e6


def neighbourhood_features(differences: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Compute the five features of many matrices at once.

    Where all voxels have one level, or none has a neighbour, coarseness is 1e6 (IBSI) and the others are 0.

    Parameters
    ----------
    differences : ndarray of float64, shape (n, 2, levels)
        Voxels n_i of each level that have neighbours, and the sum s_i of their absolute differences from the mean
        of their neighbours.

    Returns
    -------
    dict of str to ndarray, each of shape (n,)
        Keys of `NEIGHBOURHOOD_IBSI_IDS`, in that order.
    """
    count, s = differences[:, 0], differences[:, 1]
    total = np.maximum(count.sum(axis=1), 1.0)
    p = count / total[:, None]
    level = np.arange(1.0, p.shape[1] + 1)
    difference_sum = s.sum(axis=1)
    weighted = (p * s).sum(axis=1)
    present = p > 0
    pairs = present[:, :, None] & present[:, None, :]
    step = np.abs(level[:, None] - level)
    p_sum = p[:, :, None] + p[:, None, :]
    groups = present.sum(axis=1)
    products = p * level
    swing = np.abs(products[:, :, None] - products[:, None, :]).sum(axis=(1, 2), where=pairs)
    apart = np.einsum("ni,nj,ij->n", p, p, step**2) / np.maximum(groups * (groups - 1.0), 1.0)
    ps = p * s
    exchange = step * (ps[:, :, None] + ps[:, None, :]) / np.where(pairs, p_sum, 1.0)
    strength = (p_sum * step**2).sum(axis=(1, 2), where=pairs)
    return {
        "ngt_coarseness": _ratio(np.ones_like(weighted), weighted, LARGEST_COARSENESS),
        "ngt_contrast": apart * difference_sum / total,
        "ngt_busyness": _ratio(weighted, swing, 0.0),
        "ngt_complexity": exchange.sum(axis=(1, 2), where=pairs) / total,
        "ngt_strength": _ratio(strength, difference_sum, 0.0),
    }


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], otherwise: float) -> NDArray[np.float64]:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), otherwise)
