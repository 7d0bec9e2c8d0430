"""The IBSI 1 phantoms, their published configurations, and our values beside the consensus values."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from sparra.radiology.geometry import Grid
from sparra.radiology.radiomics.discretisation import resegment
from sparra.radiology.radiomics.region import REGION_IBSI_IDS, RadiomicsSettings, region_features
from sparra.radiology.radiomics.texture import TEXTURE_IBSI_IDS, Aggregation
from sparra.radiology.region import bounding_box
from sparra.radiology.resample import centred_grid, resample_image, resample_mask_linearly

IBSI = Path(__file__).parents[3] / "shared" / "data" / "ibsi"
#: Suffix of the reference tables for each aggregation.
SUFFIX: dict[Aggregation, str] = {
    "3d_merged": "3D_comb",
    "3d_averaged": "3D_avg",
    "2d_averaged": "2D_avg",
    "2d_merged": "2D_comb",
    "2.5d_averaged": "2_5D_avg",
    "2.5d_merged": "2_5D_comb",
}
VOLUMES: tuple[Aggregation, ...] = ("3d_merged", "3d_averaged")
SLICES: tuple[Aggregation, ...] = ("2d_averaged", "2d_merged", "2.5d_averaged", "2.5d_merged")
#: Families of the reference tables that we do not compute, and what describes the image rather than being a feature.
NOT_COMPUTED = ("ivh_", "loc_")
DIAGNOSTICS = ("img_", "vox_", "int_mask_", "morph_mask_", "mean_int_", "min_int_", "max_int_")


@dataclass(frozen=True)
class Configuration:
    """One column of IBSI's table of configurations (reference manual, section 5.1).

    Attributes
    ----------
    phantom : str
        Folder of the image.
    aggregations : tuple of str
    options : mapping
        Options of `RadiomicsSettings`.
    spacing_mm : tuple of float or None
        Along x, y, z; None leaves the image as it is, 0 leaves an axis as it is.
    order : {1, 3}
        Linear or cubic interpolation.
    """

    phantom: str
    aggregations: tuple[Aggregation, ...]
    options: dict[str, Any]
    spacing_mm: tuple[float, float, float] | None = None
    order: Any = 1


CT = "ibsi_1_ct_radiomics_phantom"
BINS_32 = {"bin_width_hu": None, "bin_count": 32}
CONFIGURATIONS = {
    "dig_phantom": Configuration("ibsi_1_digital_phantom", VOLUMES + SLICES, {"bin_width_hu": 1}),
    "chest_config_a": Configuration(CT, SLICES, {"intensity_range": (-500, 400)}),
    "chest_config_b": Configuration(CT, SLICES, {"intensity_range": (-500, 400), **BINS_32}, (2, 2, 0)),
    "chest_config_c": Configuration(CT, VOLUMES, {"intensity_range": (-1000, 400)}, (2, 2, 2)),
    "chest_config_d": Configuration(CT, VOLUMES, {"outlier_sigma": 3, **BINS_32}, (2, 2, 2)),
    "chest_config_e": Configuration(
        CT, VOLUMES, {"intensity_range": (-1000, 400), "outlier_sigma": 3, **BINS_32}, (2, 2, 2), 3
    ),
}


@dataclass(frozen=True)
class Row:
    """One feature beside its consensus value.

    Attributes
    ----------
    tag : str
        Name in the reference table.
    family : str
    ibsi_id : str or None
    found, expected : float
    allowed : float
        The published tolerance, or half a unit of the third significant digit, to which values are published.
    """

    tag: str
    family: str
    ibsi_id: str | None
    found: float
    expected: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether the value found lies within what is allowed."""
        return bool(abs(self.found - self.expected) <= self.allowed)


def prepared(configuration: Configuration) -> tuple[NDArray[np.float32], NDArray[np.bool_], tuple[float, ...]]:
    """Read the phantom and resample it: HU rounded, mask kept where at least half covered."""
    folder = IBSI / configuration.phantom / "nifti"
    image = sitk.ReadImage(str(folder / "image" / "phantom.nii.gz"))
    volume = sitk.GetArrayFromImage(image).astype(np.float32)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "mask" / "mask.nii.gz"))) == 1
    grid = Grid.of(image)
    if configuration.spacing_mm is None:
        return volume, mask, grid.spacing
    x, y, z = (wanted or own for wanted, own in zip(configuration.spacing_mm, grid.spacing, strict=True))
    target = centred_grid(grid, (x, y, z))
    resampled = np.rint(resample_image(volume, grid, target, configuration.order))
    return resampled, resample_mask_linearly(mask, grid, target), target.spacing


def reference_values(name: str, diagnostics: bool = False) -> dict[str, tuple[float, float]]:
    """Return the consensus value and its tolerance of each feature that has one, or of what describes the image."""
    with (IBSI / "ibsi_reference_values" / f"ibsi_1_{name}.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter=";"))
    values = {}
    for row in rows:
        if row["reference value"] and row["tag"].startswith(DIAGNOSTICS) == diagnostics:
            expected = float(row["reference value"])
            rounding = 0.5 * 10.0 ** (np.floor(np.log10(abs(expected))) - 2) if expected else 0.0
            # A little more, for values that end in a 5.
            values[row["tag"]] = expected, max(float(row["tolerance"]), float(rounding)) * (1 + 1e-9)
    return values


def compare(name: str) -> tuple[list[Row], list[str]]:
    """Compute a configuration; returns a row a value, and the reference tags that we have no value for."""
    configuration = CONFIGURATIONS[name]
    volume, mask, spacing_mm = prepared(configuration)
    reference = reference_values(name)
    rows: dict[str, Row] = {}
    for aggregation in configuration.aggregations:
        settings = RadiomicsSettings(aggregation=aggregation, **configuration.options)
        found = region_features(volume, mask, spacing_mm, settings)
        for family in settings.families:
            for feature, ibsi_id in REGION_IBSI_IDS[family].items():
                tag = _tag(feature, family, aggregation)
                if tag in reference:
                    rows[tag] = Row(tag, family, ibsi_id, found[feature], *reference[tag])
    return list(rows.values()), [tag for tag in reference if tag not in rows]


def _tag(feature: str, family: str, aggregation: Aggregation) -> str:
    """Name a feature as the reference tables do."""
    if family not in TEXTURE_IBSI_IDS:
        return feature
    suffix = SUFFIX[aggregation]
    return f"{feature}_{suffix if family in ('glcm', 'glrlm') else suffix.rsplit('_', 1)[0]}"


def processing(name: str) -> dict[str, tuple[float, float, float]]:
    """Describe a configuration's resampled image and region; returns (found, expected, allowed) of each tag."""
    configuration = CONFIGURATIONS[name]
    volume, mask, spacing_mm = prepared(configuration)
    options = configuration.options
    kept = resegment(volume, mask, options.get("intensity_range"), options.get("outlier_sigma"))
    found: dict[str, float] = {}
    for axis, size, spacing in zip("xyz", volume.shape[::-1], spacing_mm, strict=True):
        found |= {f"img_dim_{axis}_interp_img": size, f"vox_dim_{axis}_interp_img": spacing}
    for stage, intensities in (("interp", mask), ("reseg", kept)):
        values = volume[intensities].astype(np.float64)
        found |= {
            f"int_mask_vox_count_{stage}_roi": values.size,
            f"morph_mask_vox_count_{stage}_roi": mask.sum(),
            f"int_mask_mean_int_{stage}_roi": values.mean(),
            f"int_mask_min_int_{stage}_roi": values.min(),
            f"int_mask_max_int_{stage}_roi": values.max(),
        }
        for kind, region in (("int", intensities), ("morph", mask)):
            for axis, side in zip("xyz", bounding_box(region)[::-1], strict=True):
                found[f"{kind}_mask_bb_dim_{axis}_{stage}_roi"] = side.stop - side.start
    expected = reference_values(name, diagnostics=True)
    return {tag: (float(value), *expected[tag]) for tag, value in found.items() if tag in expected}
