"""All feature families of one whole region, with IBSI's choices of processing as settings."""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sparra.errors import UserError
from sparra.radiology.radiomics.discretisation import fixed_bin_number, fixed_bin_size, resegment
from sparra.radiology.radiomics.histogram import HISTOGRAM_IBSI_IDS, histogram_features
from sparra.radiology.radiomics.intensity import INTENSITY_IBSI_IDS, intensity_statistics
from sparra.radiology.radiomics.shape import (
    PLANE_DIAMETERS,
    SHAPE_IBSI_IDS,
    SPATIAL_IBSI_IDS,
    shape_features,
    spatial_features,
)
from sparra.radiology.radiomics.texture import TEXTURE_IBSI_IDS, Aggregation, TextureFamily, texture_features
from sparra.radiology.region import bounding_box
from sparra.settings import Settings

Family = Literal["shape", "spatial", "intensity", "histogram"] | TextureFamily

#: Names and IBSI identifiers of each family's features; None where IBSI has no such feature.
REGION_IBSI_IDS: dict[Family, dict[str, str | None]] = {
    "shape": {**SHAPE_IBSI_IDS, **dict.fromkeys(PLANE_DIAMETERS)},
    "spatial": {**SPATIAL_IBSI_IDS},
    "intensity": {**INTENSITY_IBSI_IDS},
    "histogram": {**HISTOGRAM_IBSI_IDS},
    **{family: {**ids} for family, ids in TEXTURE_IBSI_IDS.items()},
}


#: Features that encoders leave out: equal to another one up to a factor, always 1, or unbounded near water, since HU
#: have no absolute zero.
UNINFORMATIVE = frozenset({"cm_sum_avg", "cm_sum_var", "cm_dissimilarity", "ngl_dc_perc", "stat_cov", "stat_qcod"})
_MAXIMUM_LEVELS = 1024


class RadiomicsSettings(Settings):
    """Choices of image processing after resampling, in IBSI's terms.

    Attributes
    ----------
    families : tuple of str
        Keys of `REGION_IBSI_IDS`. ``shape`` looks at the mask alone.
    intensity_range : tuple of float or None
        Resegmentation: voxels outside this range (HU) do not count, except for shape.
    outlier_sigma : float or None
        Resegmentation: voxels farther from the mean than so many standard deviations do not count, except for shape.
    bin_width_hu : float or None
        Fixed bin size: level 1 begins at the lower end of `intensity_range`, or at the smallest intensity.
    bin_count : int or None
        Fixed bin number, instead of a fixed size.
    aggregation : str
        How directions and slices are joined; see `texture_features`.
    """

    families: tuple[Family, ...] = Field(default=tuple(REGION_IBSI_IDS), min_length=1)
    intensity_range: tuple[float, float] | None = None
    outlier_sigma: float | None = Field(default=None, gt=0)
    bin_width_hu: float | None = Field(default=25.0, gt=0)
    bin_count: int | None = Field(default=None, ge=2, le=_MAXIMUM_LEVELS)
    aggregation: Aggregation = "3d_merged"

    @model_validator(mode="after")
    def _choices_fit(self) -> Self:
        if (self.bin_width_hu is None) == (self.bin_count is None):
            raise ValueError("give either bin_width_hu or bin_count, and set the other one to null")
        if self.intensity_range is not None and not self.intensity_range[0] < self.intensity_range[1]:
            raise ValueError("intensity_range must rise")
        if len(set(self.families)) < len(self.families):
            raise ValueError("a family occurs twice")
        return self

    @property
    def ibsi_ids(self) -> dict[str, str | None]:
        """IBSI identifier of each feature of the chosen families, in order."""
        return {name: ibsi for family in self.families for name, ibsi in REGION_IBSI_IDS[family].items()}


def region_features(
    volume: NDArray[np.floating],
    mask: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    settings: RadiomicsSettings,
) -> dict[str, float]:
    """Compute the chosen families of one region.

    Parameters
    ----------
    volume : ndarray, shape (z, y, x)
        HU, already resampled.
    mask : ndarray of bool, shape (z, y, x)
        The region; not empty.
    spacing_mm : sequence of float
        Size of a voxel along x, y, z.
    settings : RadiomicsSettings

    Returns
    -------
    dict of str to float
        Keys of `RadiomicsSettings.ibsi_ids`, in that order.

    Raises
    ------
    UserError
        If resegmentation leaves no voxel or the levels are too many, or the region is flat while its shape is wanted.
    """
    box = bounding_box(mask)
    volume, mask = volume[box], mask[box]
    found: dict[str, float] = {}
    if "shape" in settings.families:
        found |= shape_features(mask, spacing_mm)
    if set(settings.families) != {"shape"}:
        found |= _of_intensities(volume, mask, spacing_mm, settings)
    return {name: found[name] for name in settings.ibsi_ids}


def _of_intensities(
    volume: NDArray[np.floating],
    mask: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    settings: RadiomicsSettings,
) -> dict[str, float]:
    kept = resegment(volume, mask, settings.intensity_range, settings.outlier_sigma)
    found: dict[str, float] = {}
    if "spatial" in settings.families:
        found |= spatial_features(volume, mask, kept, spacing_mm)
    many = intensity_statistics(volume[kept][None], np.ones((1, int(kept.sum())), bool))
    if settings.bin_width_hu is not None:
        lowest = settings.intensity_range[0] if settings.intensity_range is not None else None
        levels, n_levels = fixed_bin_size(volume, kept, settings.bin_width_hu, lowest)
    else:
        levels, n_levels = fixed_bin_number(volume, kept, settings.bin_count or 0)
    if n_levels > _MAXIMUM_LEVELS:
        what = f"the region has {n_levels} grey levels, more than the {_MAXIMUM_LEVELS} allowed"
        raise UserError(what, mend="Widen bin_width_hu, or narrow intensity_range")
    many |= histogram_features(levels[kept][None], n_levels)
    texture = [family for family in TEXTURE_IBSI_IDS if family in settings.families]
    many |= texture_features(levels[None], n_levels, texture, settings.aggregation, region=mask[None])
    return found | {name: float(values[0]) for name, values in many.items()}
