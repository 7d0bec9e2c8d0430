"""Which feature of ours is which of PyRadiomics', where both have the same definition."""

from collections.abc import Mapping
from typing import Any

_ORDERED = {
    "glrlm": (
        "rlm_",
        "sre lre lgre hgre srlge srhge lrlge lrhge glnu glnu_norm rlnu rlnu_norm r_perc gl_var rl_var rl_entr",
        "ShortRunEmphasis LongRunEmphasis LowGrayLevelRunEmphasis HighGrayLevelRunEmphasis ShortRunLowGrayLevelEmphasis"
        " ShortRunHighGrayLevelEmphasis LongRunLowGrayLevelEmphasis LongRunHighGrayLevelEmphasis GrayLevelNonUniformity"
        " GrayLevelNonUniformityNormalized RunLengthNonUniformity RunLengthNonUniformityNormalized RunPercentage"
        " GrayLevelVariance RunVariance RunEntropy",
    ),
    "glszm": (
        "szm_",
        "sze lze lgze hgze szlge szhge lzlge lzhge glnu glnu_norm zsnu zsnu_norm z_perc gl_var zs_var zs_entr",
        "SmallAreaEmphasis LargeAreaEmphasis LowGrayLevelZoneEmphasis HighGrayLevelZoneEmphasis"
        " SmallAreaLowGrayLevelEmphasis SmallAreaHighGrayLevelEmphasis LargeAreaLowGrayLevelEmphasis"
        " LargeAreaHighGrayLevelEmphasis GrayLevelNonUniformity GrayLevelNonUniformityNormalized SizeZoneNonUniformity"
        " SizeZoneNonUniformityNormalized ZonePercentage GrayLevelVariance ZoneVariance ZoneEntropy",
    ),
    "gldm": (
        "ngl_",
        "lde hde lgce hgce ldlge ldhge hdlge hdhge glnu dcnu dcnu_norm gl_var dc_var dc_entr",
        "SmallDependenceEmphasis LargeDependenceEmphasis LowGrayLevelEmphasis HighGrayLevelEmphasis"
        " SmallDependenceLowGrayLevelEmphasis SmallDependenceHighGrayLevelEmphasis LargeDependenceLowGrayLevelEmphasis"
        " LargeDependenceHighGrayLevelEmphasis GrayLevelNonUniformity DependenceNonUniformity"
        " DependenceNonUniformityNormalized GrayLevelVariance DependenceVariance DependenceEntropy",
    ),
    "ngtdm": (
        "ngt_",
        "coarseness contrast busyness complexity strength",
        "Coarseness Contrast Busyness Complexity Strength",
    ),
    "glcm": (
        "cm_",
        "joint_max joint_avg joint_var joint_entr diff_avg diff_var diff_entr sum_avg sum_entr energy contrast inv_diff"
        " inv_diff_norm inv_diff_mom inv_diff_mom_norm inv_var corr auto_corr clust_tend clust_shade clust_prom"
        " info_corr1 info_corr2",
        "MaximumProbability JointAverage SumSquares JointEntropy DifferenceAverage DifferenceVariance DifferenceEntropy"
        " SumAverage SumEntropy JointEnergy Contrast Id Idn Idm Idmn InverseVariance Correlation Autocorrelation"
        " ClusterTendency ClusterShade ClusterProminence Imc1 Imc2",
    ),
    "firstorder": (
        "stat_",
        "mean var skew kurt median min p10 p90 max iqr range mad rmad energy rms",
        "Mean Variance Skewness Kurtosis Median Minimum 10Percentile 90Percentile Maximum InterquartileRange Range"
        " MeanAbsoluteDeviation RobustMeanAbsoluteDeviation Energy RootMeanSquared",
    ),
    "firstorder-histogram": ("ih_", "entropy uniformity", "Entropy Uniformity"),
    "shape": (
        "morph_",
        "volume vol_approx area_mesh av sphericity diam diam_xy diam_xz diam_yz",
        "MeshVolume VoxelVolume SurfaceArea SurfaceVolumeRatio Sphericity Maximum3DDiameter Maximum2DDiameterSlice"
        " Maximum2DDiameterColumn Maximum2DDiameterRow",
    ),
}

#: Our name to ``family_Feature``. PyRadiomics' kurtosis is 3 larger: `their_value` takes that off. Left out: the
#: lengths of the principal axes (it divides by n, IBSI's consensus by n - 1), MCC, total energy. Areas of meshes agree
#: to 0.5 %, since cubes with ambiguous corners may be cut in two ways.
PYRADIOMICS_NAMES = {
    prefix + mine: f"{family.split('-')[0]}_{theirs}"
    for family, (prefix, ours, names) in _ORDERED.items()
    for mine, theirs in zip(ours.split(), names.split(), strict=True)
}


def their_value(name: str, values: Mapping[str, Any]) -> float:
    """Return PyRadiomics' value of our feature `name` from its output of the original image."""
    value = float(values[f"original_{PYRADIOMICS_NAMES[name]}"])
    return value - 3 if name == "stat_kurt" else value
