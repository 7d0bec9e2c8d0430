"""The default CT encoder: IBSI intensity statistics and co-occurrence texture of each patch; no weights."""

import math
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sparra.encoders import EncoderCard
from sparra.radiology.encoders.base import CtEncoderEntry, ct_encoders
from sparra.radiology.encoders.cooccurrence import (
    COOCCURRENCE_IBSI_IDS,
    cooccurrence_features,
    cooccurrence_matrices,
)
from sparra.radiology.encoders.intensity import INTENSITY_IBSI_IDS, intensity_statistics
from sparra.radiology.patches import Patches
from sparra.settings import Settings

#: Equal to another feature up to a factor; kept, they would only count twice in distances between patches.
_REDUNDANT = {"cm_sum_avg", "cm_sum_var", "cm_dissimilarity"}

#: IBSI identifier of each feature, in the order of the columns.
LOCAL_IBSI_IDS = {
    name: identifier
    for name, identifier in (INTENSITY_IBSI_IDS | COOCCURRENCE_IBSI_IDS).items()
    if name not in _REDUNDANT
}

#: Voxels worked on at once: bounds memory at about 200 MB whatever the tumour's size.
_VOXELS_AT_ONCE = 1_000_000
_MAXIMUM_LEVELS = 128


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
    """

    bin_width_hu: float = Field(25.0, gt=0)
    hu_range: tuple[float, float] = (-200.0, 300.0)
    masked: bool = True

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
    """16 intensity statistics and 22 three-dimensional co-occurrence features of each patch.

    Texture is counted at distance 1 in 13 directions, symmetric, merged (IBSI "3D, merged"), in grey levels
    of fixed width. All features are finite for every patch with at least one voxel inside; conventions for
    patches of one level are stated at `intensity_statistics` and `cooccurrence_features`.
    """

    feature_names = tuple(LOCAL_IBSI_IDS)

    def __init__(self, settings: LocalEncoderSettings) -> None:
        self.settings = settings

    def encode(self, volume: NDArray[np.float32], mask: NDArray[np.bool_], patches: Patches) -> NDArray[np.float32]:
        """Encode every patch; see `CtEncoder.encode`."""
        cube = (patches.edge,) * 3
        windows = sliding_window_view(volume, cube)
        inside = sliding_window_view(mask, cube)
        step = max(1, _VOXELS_AT_ONCE // patches.edge**3)
        blocks = [tuple(patches.starts[first : first + step].T) for first in range(0, len(patches), step)]
        return np.concatenate([self._encode_block(windows[block], inside[block]) for block in blocks])

    def _encode_block(self, hu: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
        settings = self.settings
        low, high = settings.hu_range
        if not settings.masked:
            inside = np.ones_like(inside)
        hu = hu.clip(low, high)
        # The upper end belongs to the last level.
        levels = np.floor((hu - low) / settings.bin_width_hu).astype(np.int64).clip(max=settings.n_levels - 1)
        levels = np.where(inside, levels + 1, 0)
        rows = len(hu)
        features = intensity_statistics(hu.reshape(rows, -1), inside.reshape(rows, -1))
        features |= cooccurrence_features(cooccurrence_matrices(levels, settings.n_levels))
        return np.stack([features[name] for name in self.feature_names], axis=1).astype(np.float32)


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
