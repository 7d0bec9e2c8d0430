"""The default CT encoder: IBSI first-order and texture features of each patch; no weights."""

import math
from typing import Literal, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sparra.encoders import EncoderCard
from sparra.memory import batch_within_memory
from sparra.radiology.encoders.base import CtEncoderEntry, ct_encoders
from sparra.radiology.patches import Patches
from sparra.radiology.radiomics.histogram import HISTOGRAM_IBSI_IDS, entropy_and_uniformity, level_counts
from sparra.radiology.radiomics.intensity import INTENSITY_IBSI_IDS, intensity_statistics
from sparra.radiology.radiomics.kernels import DIRECTIONS
from sparra.radiology.radiomics.region import REGION_IBSI_IDS, UNINFORMATIVE
from sparra.radiology.radiomics.shape import shape_features
from sparra.radiology.radiomics.texture import TEXTURE_IBSI_IDS, TextureFamily, texture_features
from sparra.radiology.region import bounding_box
from sparra.settings import Settings

LocalFamily = Literal["firstorder", "glcm", "glrlm", "glszm", "ngtdm", "gldm"]
#: The patches' families, and the shape of the tumour that they lie in.
Family = LocalFamily | Literal["shape"]

_HISTOGRAM = ("ih_entropy", "ih_uniformity")

#: IBSI identifiers of each family's features, in the order of the columns.
LOCAL_FAMILIES: dict[LocalFamily, dict[str, str]] = {
    "firstorder": INTENSITY_IBSI_IDS | {name: HISTOGRAM_IBSI_IDS[name] for name in _HISTOGRAM},
    "glcm": TEXTURE_IBSI_IDS["glcm"],
    "glrlm": TEXTURE_IBSI_IDS["glrlm"],
    "glszm": TEXTURE_IBSI_IDS["glszm"],
    "ngtdm": TEXTURE_IBSI_IDS["ngtdm"],
    "gldm": TEXTURE_IBSI_IDS["gldm"],
}
LOCAL_FAMILIES = {
    family: {name: ibsi for name, ibsi in ids.items() if name not in UNINFORMATIVE}
    for family, ids in LOCAL_FAMILIES.items()
}
#: IBSI identifier of each feature.
LOCAL_IBSI_IDS = {name: ibsi for ids in LOCAL_FAMILIES.values() for name, ibsi in ids.items()}

#: Voxels and matrix cells worked on at once: they bound memory at about 300 MB whatever the tumour's size.
_VOXELS_AT_ONCE = 1_000_000
_CELLS_AT_ONCE = 3_000_000
_MAXIMUM_LEVELS = 128
#: Coarseness of a patch of one level, for which IBSI has 1e6: beside that, all other patches would look alike.
#: No other patch comes near it.
_LARGEST_COARSENESS = 10.0


class LocalEncoderSettings(Settings):
    """Options of the encoder ``local``.

    Attributes
    ----------
    bin_width_hu : float
        Width of a grey level for the texture features.
    hu_range : tuple of float
        Intensities are clipped to this range first, so that metal, bone at the rim or air cannot dominate;
        grey level 1 begins at its lower end (IBSI: fixed bin size with a resegmentation range, but clipped
        voxels stay in).
    masked : bool
        Use only the patch's tumour voxels; else all of its voxels.
    families : tuple of str
        Keys of `LOCAL_FAMILIES`; and ``shape``, the shape of the whole tumour, the same in each of its rows.
    aggregation : {"3d_merged", "3d_averaged"}
        Co-occurrence and run length matrices of the 13 directions are added up, or their features averaged as
        PyRadiomics does.
    """

    bin_width_hu: float = Field(25.0, gt=0)
    hu_range: tuple[float, float] = (-200.0, 300.0)
    masked: bool = True
    families: tuple[Family, ...] = Field(default=tuple(LOCAL_FAMILIES), min_length=1)
    aggregation: Literal["3d_merged", "3d_averaged"] = "3d_merged"

    @model_validator(mode="after")
    def _levels_are_sensible(self) -> Self:
        low, high = self.hu_range
        if not low < high:
            raise ValueError(f"hu_range must rise, not go from {low:g} to {high:g} HU")
        if not 2 <= self.n_levels <= _MAXIMUM_LEVELS:
            raise ValueError(
                f"bin_width_hu {self.bin_width_hu:g} makes {self.n_levels} grey levels of hu_range {low:g} to"
                f" {high:g} HU; 2 to {_MAXIMUM_LEVELS} are allowed"
            )
        return self

    @property
    def n_levels(self) -> int:
        """Number of grey levels."""
        return math.ceil((self.hu_range[1] - self.hu_range[0]) / self.bin_width_hu)


class LocalEncoder:
    """First-order and three-dimensional texture features of each patch.

    Parameters
    ----------
    settings : LocalEncoderSettings
    """

    def __init__(self, settings: LocalEncoderSettings) -> None:
        self.settings = settings
        # Each family once, in the order of the columns, however the settings list them.
        self.families = tuple(family for family in LOCAL_FAMILIES if family in settings.families)
        self.patch_names = tuple(name for family in self.families for name in LOCAL_FAMILIES[family])
        self.shape_names = tuple(REGION_IBSI_IDS["shape"]) if "shape" in settings.families else ()
        self.feature_names = self.patch_names + self.shape_names

    def encode(self, volume: NDArray[np.float32], mask: NDArray[np.bool_], patches: Patches) -> NDArray[np.float32]:
        """Encode every patch; see `CtEncoder.encode`."""
        return self.encode_exactly(volume, mask, patches).astype(np.float32)

    def encode_exactly(
        self, volume: NDArray[np.float32], mask: NDArray[np.bool_], patches: Patches
    ) -> NDArray[np.float64]:
        """Encode every patch in double precision."""
        parts = [self._encode_patches(volume, mask, patches)] if self.families else []
        if self.shape_names:
            if patches.spacing_mm is None:
                raise ValueError("shape needs the patches' spacing_mm")
            shape = shape_features(mask[bounding_box(mask)], (patches.spacing_mm,) * 3)
            parts.append(np.tile([shape[name] for name in self.shape_names], (len(patches), 1)))
        return np.concatenate(parts, axis=1)

    def _encode_patches(
        self, volume: NDArray[np.float32], mask: NDArray[np.bool_], patches: Patches
    ) -> NDArray[np.float64]:
        cube = (patches.edge,) * 3
        windows = sliding_window_view(volume, cube)
        inside = sliding_window_view(mask, cube)
        directions = 1 if self.settings.aggregation == "3d_merged" else len(DIRECTIONS)
        cells = directions * self.settings.n_levels * max(self.settings.n_levels, patches.edge)
        step = batch_within_memory(max(1, min(_VOXELS_AT_ONCE // patches.edge**3, _CELLS_AT_ONCE // cells)))
        blocks = [tuple(patches.starts[first : first + step].T) for first in range(0, len(patches), step)]
        return np.concatenate([self._encode_block(windows[block], inside[block]) for block in blocks])

    def _encode_block(self, hu: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
        settings = self.settings
        low, high = settings.hu_range
        if not settings.masked:
            inside = np.ones_like(inside)
        hu = hu.clip(low, high)
        # The upper end belongs to the last level.
        levels = np.floor((hu - low) / settings.bin_width_hu).astype(np.int64).clip(max=settings.n_levels - 1)
        levels = np.where(inside, levels + 1, 0)
        rows = len(hu)
        textures: list[TextureFamily] = [family for family in self.families if family != "firstorder"]
        features = texture_features(levels, settings.n_levels, textures, settings.aggregation)
        if "firstorder" in self.families:
            features |= intensity_statistics(hu.reshape(rows, -1), inside.reshape(rows, -1))
            features |= entropy_and_uniformity(level_counts(levels.reshape(rows, -1), settings.n_levels))
        if "ngt_coarseness" in features:
            features["ngt_coarseness"] = np.minimum(features["ngt_coarseness"], _LARGEST_COARSENESS)
        return np.stack([features[name] for name in self.patch_names], axis=1)


ct_encoders.register("local")(
    CtEncoderEntry(
        card=EncoderCard(
            name="local",
            modality="ct",
            dimension=len(LOCAL_IBSI_IDS),
            input_description="cubic patch of a single-channel CT in HU and the tumour mask, [z, y, x]",
            resolution="any",
            intensity="clips to hu_range (-200 to 300 HU by default), 25 HU grey levels",
            licence="GPL-3.0-or-later",
            weights="none",
            weights_sha256=None,
            gated=False,
            pretraining="none",
            reference="Zwanenburg et al., Radiology 2020;295:328-338 (IBSI)",
        ),
        settings=LocalEncoderSettings,
        build=LocalEncoder,
    )
)
