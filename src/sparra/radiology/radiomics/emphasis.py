"""The features that run length, size zone, distance zone and dependence matrices share (IBSI, 3.7 to 3.9 and 3.11).

Each of these matrices counts things (runs, zones, voxels) by grey level i and by a size j (run length, voxels of a
zone, distance from the border, alike neighbours plus one). IBSI gives the sixteen sums other names for each.
"""

import numpy as np
from numpy.typing import NDArray

from sparra.radiology.radiomics.summaries import summarise_sizes

#: Names and IBSI identifiers of a family, in the order of `emphasis_features`.
RUN_IBSI_IDS = {
    "rlm_sre": "22OV",
    "rlm_lre": "W4KF",
    "rlm_lgre": "V3SW",
    "rlm_hgre": "G3QZ",
    "rlm_srlge": "HTZT",
    "rlm_srhge": "GD3A",
    "rlm_lrlge": "IVPO",
    "rlm_lrhge": "3KUM",
    "rlm_glnu": "R5YN",
    "rlm_glnu_norm": "OVBL",
    "rlm_rlnu": "W92Y",
    "rlm_rlnu_norm": "IC23",
    "rlm_r_perc": "9ZK5",
    "rlm_gl_var": "8CE5",
    "rlm_rl_var": "SXLW",
    "rlm_rl_entr": "HJ9O",
}
ZONE_IBSI_IDS = {
    "szm_sze": "5QRC",
    "szm_lze": "48P8",
    "szm_lgze": "XMSY",
    "szm_hgze": "5GN9",
    "szm_szlge": "5RAI",
    "szm_szhge": "HW1V",
    "szm_lzlge": "YH51",
    "szm_lzhge": "J17V",
    "szm_glnu": "JNSA",
    "szm_glnu_norm": "Y1RO",
    "szm_zsnu": "4JP3",
    "szm_zsnu_norm": "VB3A",
    "szm_z_perc": "P30P",
    "szm_gl_var": "BYLV",
    "szm_zs_var": "3NSA",
    "szm_zs_entr": "GU8N",
}
DISTANCE_ZONE_IBSI_IDS = {
    "dzm_sde": "0GBI",
    "dzm_lde": "MB4I",
    "dzm_lgze": "S1RA",
    "dzm_hgze": "K26C",
    "dzm_sdlge": "RUVG",
    "dzm_sdhge": "DKNJ",
    "dzm_ldlge": "A7WM",
    "dzm_ldhge": "KLTH",
    "dzm_glnu": "VFT7",
    "dzm_glnu_norm": "7HP3",
    "dzm_zdnu": "V294",
    "dzm_zdnu_norm": "IATH",
    "dzm_z_perc": "VIWW",
    "dzm_gl_var": "QK93",
    "dzm_zd_var": "7WT1",
    "dzm_zd_entr": "GBDU",
}
DEPENDENCE_IBSI_IDS = {
    "ngl_lde": "SODN",
    "ngl_hde": "IMOQ",
    "ngl_lgce": "TL9H",
    "ngl_hgce": "OAE7",
    "ngl_ldlge": "EQ3F",
    "ngl_ldhge": "JA6D",
    "ngl_hdlge": "NBZI",
    "ngl_hdhge": "9QMG",
    "ngl_glnu": "FP8K",
    "ngl_glnu_norm": "5SPA",
    "ngl_dcnu": "Z87G",
    "ngl_dcnu_norm": "OKJI",
    "ngl_dc_perc": "6XV8",
    "ngl_gl_var": "1PFV",
    "ngl_dc_var": "DNX2",
    "ngl_dc_entr": "FCBV",
    "ngl_dc_energy": "CAS9",
}


def emphasis_features(
    counts: NDArray[np.float64], sizes: NDArray[np.float64], voxels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Compute the sums over many matrices at once.

    With N the sum of the counts c_ij, r_i its sum over sizes and s_j over levels: small, large (mean of j⁻², j²);
    low, high (of i⁻², i²); their four products; non-uniformity of levels, Σ r_i² / N, and the same over N; of sizes,
    Σ s_j² / N, and the same over N; percentage, N over the voxels; variance of levels; variance of sizes; entropy
    in bits of c_ij / N; energy, Σ (c_ij / N)².

    Parameters
    ----------
    counts : ndarray of float64, shape (n, levels, sizes)
        Row i holds level i + 1. Every matrix counts something.
    sizes : ndarray of float64, shape (n, sizes) or (1, sizes)
        Size that each column stands for; columns without counts may hold anything but 0.
    voxels : ndarray of float64, shape (n,)
        What the percentage refers to: voxels of the region, times the directions merged.

    Returns
    -------
    tuple of 17 ndarrays, each of shape (n,)
    """
    n, levels, columns = counts.shape
    of_level, of_size, sums = np.zeros((n, levels)), np.zeros((n, columns)), np.zeros((n, 7))
    summarise_sizes(counts, sizes, of_level, of_size, sums)
    total, low_small, high_small, low_large, high_large, entropy, squares = sums.T
    level = np.arange(1.0, levels + 1)
    level_uniformity, size_uniformity = (of_level**2).sum(axis=1), (of_size**2).sum(axis=1)
    mean_level = of_level @ level
    mean_size = (of_size * sizes).sum(axis=1)
    return (
        (of_size * sizes**-2).sum(axis=1),
        (of_size * sizes**2).sum(axis=1),
        of_level @ level**-2,
        of_level @ level**2,
        low_small,
        high_small,
        low_large,
        high_large,
        level_uniformity * total,
        level_uniformity,
        size_uniformity * total,
        size_uniformity,
        total / voxels,
        (of_level * (level - mean_level[:, None]) ** 2).sum(axis=1),
        (of_size * (sizes - mean_size[:, None]) ** 2).sum(axis=1),
        np.maximum(entropy, 0.0),
        squares,
    )
