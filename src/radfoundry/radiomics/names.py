"""Feature names: mirp's codes to `family_Feature`, as pyradiomics writes it where both mean the same.

A name that pyradiomics uses is given only to a feature with pyradiomics' definition. Where IBSI and
pyradiomics differ (kurtosis, axis lengths), or pyradiomics has no such feature, the name is another one, so
that two tables are never joined on numbers that mean different things. `docs/how-to/radiomics.md` lists them.

Left out of mirp's features, on purpose:

- Moran's I and Geary's C: quadratic in voxels, and estimated from random pairs in large masks.
- maximal correlation coefficient: mirp 2.5.0 leaves out elements of Q where the co-occurrence itself is 0.
- features of oriented bounding boxes and enclosing ellipsoids: IBSI has no consensus value for them.
- features with an intensity offset: copies of those without one.
"""

from __future__ import annotations

from radfoundry.radiomics.settings import Family

SHAPE = {
    "morph_volume": "MeshVolume",
    "morph_vol_approx": "VoxelVolume",
    "morph_area_mesh": "SurfaceArea",
    "morph_av": "SurfaceVolumeRatio",
    "morph_comp_1": "Compactness1",
    "morph_comp_2": "Compactness2",
    "morph_sph_dispr": "SphericalDisproportion",
    "morph_sphericity": "Sphericity",
    "morph_asphericity": "Asphericity",
    "morph_com": "CentreOfMassShift",
    "morph_integ_int": "IntegratedIntensity",
    "morph_diam": "Maximum3DDiameter",
    "morph_vol_dens_conv_hull": "VolumeDensityConvexHull",
    "morph_area_dens_conv_hull": "AreaDensityConvexHull",
    "morph_vol_dens_aabb": "VolumeDensityBox",
    "morph_area_dens_aabb": "AreaDensityBox",
    "morph_pca_maj_axis": "IbsiMajorAxisLength",
    "morph_pca_min_axis": "IbsiMinorAxisLength",
    "morph_pca_least_axis": "IbsiLeastAxisLength",
    "morph_pca_elongation": "Elongation",
    "morph_pca_flatness": "Flatness",
    "morph_vol_dens_aee": "VolumeDensityEllipsoid",
    "morph_area_dens_aee": "AreaDensityEllipsoid",
}

FIRSTORDER = {
    "stat_mean": "Mean",
    "stat_var": "Variance",
    "stat_skew": "Skewness",
    "stat_kurt": "ExcessKurtosis",
    "stat_median": "Median",
    "stat_min": "Minimum",
    "stat_p10": "10Percentile",
    "stat_p90": "90Percentile",
    "stat_max": "Maximum",
    "stat_iqr": "InterquartileRange",
    "stat_range": "Range",
    "stat_mad": "MeanAbsoluteDeviation",
    "stat_rmad": "RobustMeanAbsoluteDeviation",
    "stat_medad": "MedianAbsoluteDeviation",
    "stat_cov": "CoefficientOfVariation",
    "stat_qcod": "QuartileCoefficientOfDispersion",
    "stat_energy": "Energy",
    "stat_rms": "RootMeanSquared",
    "stat_total_energy": "TotalEnergy",
}

# pyradiomics files entropy and uniformity of the histogram under firstorder.
IN_FIRSTORDER = {"ih_entropy": "firstorder_Entropy", "ih_uniformity": "firstorder_Uniformity"}

HISTOGRAM = {
    "ih_entropy": "Entropy",
    "ih_uniformity": "Uniformity",
    "ih_mean": "Mean",
    "ih_var": "Variance",
    "ih_skew": "Skewness",
    "ih_kurt": "ExcessKurtosis",
    "ih_median": "Median",
    "ih_min": "Minimum",
    "ih_p10": "10Percentile",
    "ih_p90": "90Percentile",
    "ih_max": "Maximum",
    "ih_mode": "Mode",
    "ih_iqr": "InterquartileRange",
    "ih_range": "Range",
    "ih_mad": "MeanAbsoluteDeviation",
    "ih_rmad": "RobustMeanAbsoluteDeviation",
    "ih_medad": "MedianAbsoluteDeviation",
    "ih_cov": "CoefficientOfVariation",
    "ih_qcod": "QuartileCoefficientOfDispersion",
    "ih_max_grad": "MaximumGradient",
    "ih_max_grad_g": "MaximumGradientLevel",
    "ih_min_grad": "MinimumGradient",
    "ih_min_grad_g": "MinimumGradientLevel",
}

GLCM = {
    "cm_joint_max": "MaximumProbability",
    "cm_joint_avg": "JointAverage",
    "cm_joint_var": "SumSquares",
    "cm_joint_entr": "JointEntropy",
    "cm_diff_avg": "DifferenceAverage",
    "cm_diff_var": "DifferenceVariance",
    "cm_diff_entr": "DifferenceEntropy",
    "cm_sum_avg": "SumAverage",
    "cm_sum_var": "SumVariance",
    "cm_sum_entr": "SumEntropy",
    "cm_energy": "JointEnergy",
    "cm_contrast": "Contrast",
    "cm_dissimilarity": "Dissimilarity",
    "cm_inv_diff": "Id",
    "cm_inv_diff_norm": "Idn",
    "cm_inv_diff_mom": "Idm",
    "cm_inv_diff_mom_norm": "Idmn",
    "cm_inv_var": "InverseVariance",
    "cm_corr": "Correlation",
    "cm_auto_corr": "Autocorrelation",
    "cm_clust_tend": "ClusterTendency",
    "cm_clust_shade": "ClusterShade",
    "cm_clust_prom": "ClusterProminence",
    "cm_info_corr1": "Imc1",
    "cm_info_corr2": "Imc2",
}

GLRLM = {
    "rlm_sre": "ShortRunEmphasis",
    "rlm_lre": "LongRunEmphasis",
    "rlm_lgre": "LowGrayLevelRunEmphasis",
    "rlm_hgre": "HighGrayLevelRunEmphasis",
    "rlm_srlge": "ShortRunLowGrayLevelEmphasis",
    "rlm_srhge": "ShortRunHighGrayLevelEmphasis",
    "rlm_lrlge": "LongRunLowGrayLevelEmphasis",
    "rlm_lrhge": "LongRunHighGrayLevelEmphasis",
    "rlm_glnu": "GrayLevelNonUniformity",
    "rlm_glnu_norm": "GrayLevelNonUniformityNormalized",
    "rlm_rlnu": "RunLengthNonUniformity",
    "rlm_rlnu_norm": "RunLengthNonUniformityNormalized",
    "rlm_r_perc": "RunPercentage",
    "rlm_gl_var": "GrayLevelVariance",
    "rlm_rl_var": "RunVariance",
    "rlm_rl_entr": "RunEntropy",
}

GLSZM = {
    "szm_sze": "SmallAreaEmphasis",
    "szm_lze": "LargeAreaEmphasis",
    "szm_lgze": "LowGrayLevelZoneEmphasis",
    "szm_hgze": "HighGrayLevelZoneEmphasis",
    "szm_szlge": "SmallAreaLowGrayLevelEmphasis",
    "szm_szhge": "SmallAreaHighGrayLevelEmphasis",
    "szm_lzlge": "LargeAreaLowGrayLevelEmphasis",
    "szm_lzhge": "LargeAreaHighGrayLevelEmphasis",
    "szm_glnu": "GrayLevelNonUniformity",
    "szm_glnu_norm": "GrayLevelNonUniformityNormalized",
    "szm_zsnu": "SizeZoneNonUniformity",
    "szm_zsnu_norm": "SizeZoneNonUniformityNormalized",
    "szm_z_perc": "ZonePercentage",
    "szm_gl_var": "GrayLevelVariance",
    "szm_zs_var": "ZoneVariance",
    "szm_zs_entr": "ZoneEntropy",
}

GLDM = {  # IBSI: NGLDM with a difference of 0; pyradiomics: GLDM
    "ngl_lde": "SmallDependenceEmphasis",
    "ngl_hde": "LargeDependenceEmphasis",
    "ngl_lgce": "LowGrayLevelEmphasis",
    "ngl_hgce": "HighGrayLevelEmphasis",
    "ngl_ldlge": "SmallDependenceLowGrayLevelEmphasis",
    "ngl_ldhge": "SmallDependenceHighGrayLevelEmphasis",
    "ngl_hdlge": "LargeDependenceLowGrayLevelEmphasis",
    "ngl_hdhge": "LargeDependenceHighGrayLevelEmphasis",
    "ngl_glnu": "GrayLevelNonUniformity",
    "ngl_glnu_norm": "GrayLevelNonUniformityNormalized",
    "ngl_dcnu": "DependenceNonUniformity",
    "ngl_dcnu_norm": "DependenceNonUniformityNormalized",
    "ngl_gl_var": "GrayLevelVariance",
    "ngl_dc_var": "DependenceVariance",
    "ngl_dc_entr": "DependenceEntropy",
    "ngl_dc_energy": "DependenceEnergy",
}

NGTDM = {
    "ngt_coarseness": "Coarseness",
    "ngt_contrast": "Contrast",
    "ngt_busyness": "Busyness",
    "ngt_complexity": "Complexity",
    "ngt_strength": "Strength",
}

GLDZM = {
    "dzm_sde": "SmallDistanceEmphasis",
    "dzm_lde": "LargeDistanceEmphasis",
    "dzm_lgze": "LowGrayLevelZoneEmphasis",
    "dzm_hgze": "HighGrayLevelZoneEmphasis",
    "dzm_sdlge": "SmallDistanceLowGrayLevelEmphasis",
    "dzm_sdhge": "SmallDistanceHighGrayLevelEmphasis",
    "dzm_ldlge": "LargeDistanceLowGrayLevelEmphasis",
    "dzm_ldhge": "LargeDistanceHighGrayLevelEmphasis",
    "dzm_glnu": "GrayLevelNonUniformity",
    "dzm_glnu_norm": "GrayLevelNonUniformityNormalized",
    "dzm_zdnu": "ZoneDistanceNonUniformity",
    "dzm_zdnu_norm": "ZoneDistanceNonUniformityNormalized",
    "dzm_z_perc": "ZonePercentage",
    "dzm_gl_var": "GrayLevelVariance",
    "dzm_zd_var": "ZoneDistanceVariance",
    "dzm_zd_entr": "ZoneDistanceEntropy",
}

IVH = {
    "ivh_v10": "VolumeAt10",
    "ivh_v90": "VolumeAt90",
    "ivh_i10": "IntensityAt10",
    "ivh_i90": "IntensityAt90",
    "ivh_diff_v10_v90": "VolumeDifference",
    "ivh_diff_i10_i90": "IntensityDifference",
}

LOCAL = {"loc_peak_loc": "LocalPeak", "loc_peak_glob": "GlobalPeak"}

NAMES: dict[Family, dict[str, str]] = {
    "shape": SHAPE,
    "firstorder": FIRSTORDER,
    "histogram": HISTOGRAM,
    "glcm": GLCM,
    "glrlm": GLRLM,
    "glszm": GLSZM,
    "gldm": GLDM,
    "ngtdm": NGTDM,
    "gldzm": GLDZM,
    "ivh": IVH,
    "localintensity": LOCAL,
}


def names_of(families: tuple[Family, ...]) -> dict[str, str]:
    """mirp's code to `family_Feature`, in the order of the result.

    >>> list(names_of(("ngtdm",)).values())[:2]
    ['ngtdm_Coarseness', 'ngtdm_Contrast']
    """
    found: dict[str, str] = {}
    for family in families:
        found |= {code: IN_FIRSTORDER.get(code, f"{family}_{name}") for code, name in NAMES[family].items()}
    return found
