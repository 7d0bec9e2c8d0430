"""Pixels of a slide's level 0 that patches in µm lie on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.maps.scores import ImageScores


@dataclass(frozen=True)
class SlideGrid:
    """Level 0 of a slide.

    Attributes
    ----------
    mpp : tuple of float
        µm per pixel along (x, y).
    dimensions : tuple of int or None
        (width, height) in pixels; None where only imported features say how large the slide is, which they do not.
    """

    mpp: tuple[float, float]
    dimensions: tuple[int, int] | None = None

    @classmethod
    def of(cls, provenance: Mapping[str, Any] | None, where: str) -> "SlideGrid":
        """Take it from what a bag tells of its slide.

        Raises
        ------
        UserError
            If the bag does not know the µm per pixel of level 0.
        """
        told = provenance or {}
        slide = told.get("slide") or {}
        if "mpp_x" in slide:
            levels = slide.get("level_dimensions")
            size = (int(levels[0][0]), int(levels[0][1])) if levels else None
            return cls((float(slide["mpp_x"]), float(slide["mpp_y"])), size)
        if told.get("mpp"):
            return cls((float(told["mpp"]), float(told["mpp"])))
        raise UserError(
            "the µm per pixel of the slide's level 0 are not known", where, "Import the features with their mpp"
        )

    def covering(self, scores: ImageScores) -> tuple[int, int]:
        """Return (width, height) of level 0; where it is not known, of the part that the patches reach."""
        if self.dimensions is not None:
            return self.dimensions
        width, height = np.ceil(corners_px(scores, self)[:, 2:].max(axis=0) - 1e-6).astype(int).tolist()
        return width, height


def corners_px(scores: ImageScores, grid: SlideGrid) -> NDArray[np.float64]:
    """Return the patches' boxes in pixels of level 0, not rounded.

    Returns
    -------
    ndarray of float64, shape (n_patches, 4)
        Left, top, right, bottom; the top-left corner of the slide's first pixel is (0, 0).
    """
    half = np.asarray(scores.patch_size[:2]) / 2
    mpp = np.asarray(grid.mpp)
    return np.hstack([(scores.positions - half) / mpp, (scores.positions + half) / mpp])
