"""IBSI grey level co-occurrence features (reference manual, section 3.6) of many patches at once."""

import numpy as np
from numpy.typing import NDArray

from sparra.radiology.radiomics.summaries import summarise_pairs

#: Feature names with the permanent identifiers of the IBSI reference manual.
COOCCURRENCE_IBSI_IDS = {
    "cm_joint_max": "GYBY",
    "cm_joint_avg": "60VM",
    "cm_joint_var": "UR99",
    "cm_joint_entr": "TU9B",
    "cm_diff_avg": "TF7R",
    "cm_diff_var": "D3YU",
    "cm_diff_entr": "NTRS",
    "cm_sum_avg": "ZGXS",
    "cm_sum_var": "OEEB",
    "cm_sum_entr": "P6QZ",
    "cm_energy": "8ZQL",
    "cm_contrast": "ACUI",
    "cm_dissimilarity": "8S9J",
    "cm_inv_diff": "IB1Z",
    "cm_inv_diff_norm": "NDRX",
    "cm_inv_diff_mom": "WF0Z",
    "cm_inv_diff_mom_norm": "1QCO",
    "cm_inv_var": "E8JP",
    "cm_corr": "NI2N",
    "cm_auto_corr": "QWB0",
    "cm_clust_tend": "DG8W",
    "cm_clust_shade": "7NFM",
    "cm_clust_prom": "AE86",
    "cm_info_corr1": "R8DG",
    "cm_info_corr2": "JN9H",
}


def cooccurrence_features(matrix: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Compute the 25 IBSI features of symmetric co-occurrence counts.

    Where all voxels have one level, correlation is 1 and both information correlations are 0.

    Parameters
    ----------
    matrix : ndarray of float64, shape (n_patches, n_levels, n_levels)
        Counts or probabilities; none is empty.

    Returns
    -------
    dict of str to ndarray, each of shape (n_patches,)
        Keys of `COOCCURRENCE_IBSI_IDS`, in that order.
    """
    n = matrix.shape[1]
    level = np.arange(1.0, n + 1)
    marginal, difference, sums = np.zeros((len(matrix), n)), np.zeros((len(matrix), n)), np.zeros((len(matrix), 4))
    total = np.zeros((len(matrix), 2 * n - 1))
    summarise_pairs(matrix, marginal, difference, total, sums)
    largest, energy, joint_entropy, product_moment = sums.T
    mean = marginal @ level
    # Symmetric, so rows and columns share mean and variance.
    variance = (marginal * (level - mean[:, None]) ** 2).sum(axis=1)
    k = np.arange(n)
    both = np.arange(2.0, 2 * n + 1)
    cluster = both - 2 * mean[:, None]
    diff_avg = difference @ k
    marginal_entropy = _entropy(marginal)
    # By symmetry both of IBSI's HXY1 and HXY2 equal twice the marginal entropy.
    excess = np.maximum(2 * marginal_entropy - joint_entropy, 0.0)
    varied = (marginal > 0).sum(axis=1) > 1
    square, cube = total * cluster**2, total * cluster**3
    return {
        "cm_joint_max": largest,
        "cm_joint_avg": mean,
        "cm_joint_var": variance,
        "cm_joint_entr": np.maximum(joint_entropy, 0.0),
        "cm_diff_avg": diff_avg,
        "cm_diff_var": (difference * (k - diff_avg[:, None]) ** 2).sum(axis=1),
        "cm_diff_entr": _entropy(difference),
        "cm_sum_avg": total @ both,
        "cm_sum_var": square.sum(axis=1),
        "cm_sum_entr": _entropy(total),
        "cm_energy": energy,
        "cm_contrast": difference @ k**2,
        "cm_dissimilarity": diff_avg,
        "cm_inv_diff": difference @ (1 / (1 + k)),
        "cm_inv_diff_norm": difference @ (1 / (1 + k / n)),
        "cm_inv_diff_mom": difference @ (1 / (1 + k**2)),
        "cm_inv_diff_mom_norm": difference @ (1 / (1 + k**2 / n**2)),
        "cm_inv_var": difference[:, 1:] @ (1 / k[1:] ** 2),
        "cm_corr": np.where(varied, product_moment / np.where(varied, variance, 1.0), 1.0),
        "cm_auto_corr": product_moment + mean**2,
        "cm_clust_tend": square.sum(axis=1),
        "cm_clust_shade": cube.sum(axis=1),
        "cm_clust_prom": (cube * cluster).sum(axis=1),
        "cm_info_corr1": -excess / np.where(marginal_entropy > 0, marginal_entropy, 1.0),
        "cm_info_corr2": np.sqrt(1 - np.exp(-2 * excess)),
    }


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in bits along axis 1; 0 log 0 is 0."""
    logs = np.log2(np.where(probabilities > 0, probabilities, 1.0))
    entropy: NDArray[np.float64] = -(probabilities * logs).sum(axis=1)
    return np.maximum(entropy, 0.0)
