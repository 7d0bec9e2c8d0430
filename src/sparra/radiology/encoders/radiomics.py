"""IBSI radiomics of the whole tumour: one row, so that the tumour's graph has one node."""

from typing import Any

import numpy as np

from sparra.encoders import EncoderCard
from sparra.errors import UserError
from sparra.radiology.encoders.base import CtEncoderEntry, ct_encoders
from sparra.radiology.encoders.region import CtRegion, Rows, Triple
from sparra.radiology.geometry import Grid
from sparra.radiology.radiomics.region import (
    REGION_IBSI_IDS,
    UNINFORMATIVE,
    Family,
    RadiomicsSettings,
    region_features,
)
from sparra.radiology.region import bounding_box

#: What the encoder computes unless told otherwise; the spatial family's sums over all pairs of voxels are left out.
_DEFAULT_FAMILIES: tuple[Family, ...] = ("shape", "intensity", "histogram", "glcm", "glrlm", "glszm", "ngtdm", "gldm")


class RadiomicsEncoderSettings(RadiomicsSettings):
    """Options of the encoder ``radiomics``: those of `RadiomicsSettings`, without the costliest families."""

    families: tuple[Family, ...] = _DEFAULT_FAMILIES
    intensity_range: tuple[float, float] | None = (-200.0, 300.0)


class RadiomicsEncoder:
    """Encodes the tumour as a whole.

    Parameters
    ----------
    settings : RadiomicsSettings
    """

    def __init__(self, settings: RadiomicsSettings) -> None:
        self.settings = settings
        self.feature_names = tuple(name for name in settings.ibsi_ids if name not in UNINFORMATIVE)

    def extent(self, box: Triple, grid: Grid) -> Triple:
        """See `RegionEncoder.extent`: nothing beyond the tumour."""
        return box

    def encode_region(self, region: CtRegion) -> Rows:
        """See `RegionEncoder.encode_region`."""
        found = region_features(region.volume, region.mask, region.grid.spacing, self.settings)
        return one_tumour_row({name: found[name] for name in self.feature_names}, region)


def one_tumour_row(features: dict[str, Any], region: CtRegion) -> Rows:
    """Make the one row of a bag: it stands for the tumour's box.

    Raises
    ------
    UserError
        If a feature is not finite, naming the first ones.
    """
    row = np.array([[float(value) for value in features.values()]])
    broken = [name for name, finite in zip(features, np.isfinite(row[0]), strict=True) if not finite]
    if broken:
        what = f"{len(broken)} features are undefined for this tumour: {', '.join(broken[:5])}"
        raise UserError(what, mend="Check the mask, or leave the feature's family out in encoder_options")
    z, y, x = bounding_box(region.mask)
    centre = np.array([[(side.start + side.stop - 1) / 2 for side in (x, y, z)]])
    size = (float(x.stop - x.start), float(y.stop - y.start), float(z.stop - z.start))
    return Rows(row.astype(np.float32), centre, size, np.array([region.mask[z, y, x].mean()], np.float32), 1)


ct_encoders.register("radiomics")(
    CtEncoderEntry(
        card=EncoderCard(
            name="radiomics",
            modality="ct",
            dimension=sum(
                name not in UNINFORMATIVE for family in _DEFAULT_FAMILIES for name in REGION_IBSI_IDS[family]
            ),
            input_description="the whole tumour in HU and its mask; one row. With families [shape] the mask alone",
            resolution="any",
            intensity="voxels outside intensity_range (-200 to 300 HU by default) do not count; 25 HU grey levels",
            licence="GPL-3.0-or-later",
            weights="none",
            weights_sha256=None,
            gated=False,
            pretraining="none",
            reference="Zwanenburg et al., Radiology 2020;295:328-338 (IBSI)",
        ),
        settings=RadiomicsEncoderSettings,
        build=RadiomicsEncoder,
    )
)
