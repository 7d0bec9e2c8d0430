"""One image as a bag of patches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.modality import UNIT_OF_MODALITY, Modality

__all__ = ["Bag", "Modality"]


@dataclass(frozen=True)
class Bag:
    """Features and positions of the patches of one image.

    Attributes
    ----------
    modality : {"ct", "slide"}
    features : ndarray of float, shape (n_patches, n_features)
    positions : ndarray of float64, shape (n_patches, 2) or (n_patches, 3), or None
        Centres of the patches. Slides: (x, y) in micrometres from the top-left corner of level 0. CT:
        (x, y, z) in millimetres in the scanner's LPS coordinates. None where the source holds no positions.
    patch_size : tuple of float or None
        Side lengths of a patch in the same unit and axis order as `positions`.
    feature_names : tuple of str
        One name a feature, or empty where the features are anonymous (a network's).
    extras : mapping of str to ndarray, each of shape (n_patches,)
        Further per-patch values, e.g. ``tumour_fraction`` or ``tissue_fraction``.
    provenance : mapping
        JSON-ready: encoder, its settings, source file's hash, versions, grid geometry for drawing maps.

    Raises
    ------
    UserError
        If shapes disagree, there is no patch, or a feature or position is not finite.
    """

    modality: Modality
    features: NDArray[np.floating[Any]]
    positions: NDArray[np.float64] | None
    patch_size: tuple[float, ...] | None = None
    feature_names: tuple[str, ...] = ()
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or 0 in self.features.shape:
            raise UserError(f"a bag needs features of shape (patches, features), not {self.features.shape}")
        if not np.isfinite(self.features).all():
            rows = np.flatnonzero(~np.isfinite(self.features).all(axis=1))
            raise UserError(f"{len(rows)} patches hold NaN or infinite features, first at row {rows[0]}")
        dimensions = 3 if self.modality == "ct" else 2
        if self.positions is not None:
            expected = (len(self.features), dimensions)
            if self.positions.shape != expected:
                raise UserError(f"positions have shape {self.positions.shape}, expected {expected}")
            if not np.isfinite(self.positions).all():
                raise UserError("positions hold NaN or infinite values")
        if self.feature_names and len(self.feature_names) != self.features.shape[1]:
            raise UserError(f"{len(self.feature_names)} feature names for {self.features.shape[1]} features")
        if self.patch_size is not None and len(self.patch_size) != dimensions:
            raise UserError(f"{len(self.patch_size)} sides of a patch in {dimensions} dimensions")
        for name, values in self.extras.items():
            if values.shape != self.features.shape[:1]:
                raise UserError(f"'{name}' has shape {values.shape}, expected {self.features.shape[:1]}")

    @property
    def unit(self) -> str:
        """Unit of positions and patch size: ``"mm"`` for CT, ``"um"`` for slides."""
        return UNIT_OF_MODALITY[self.modality]

    def __len__(self) -> int:
        return len(self.features)
