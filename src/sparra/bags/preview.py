"""A small picture of the image a bag came from, so that maps can be drawn without the original."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.bags.bag import Modality


@dataclass(frozen=True)
class Preview:
    """Slide thumbnail, or the resampled region of interest of a CT.

    Attributes
    ----------
    modality : {"ct", "slide"}
    pixels : ndarray
        Slide: uint8, shape (height, width, 3). CT: int16 in HU, shape (z, y, x).
    mask : ndarray of bool or None
        Tissue or tumour, shape of `pixels` without colour.
    spacing : tuple of float
        Size of a pixel along (x, y) in µm or (x, y, z) in mm.
    origin : tuple of float
        Position of the centre of the first pixel, in the same axes and unit.
    direction : ndarray of float64, shape (dimensions, dimensions)
        Columns are the axes' directions in the positions' coordinates; identity for slides.
    """

    modality: Modality
    pixels: NDArray[Any]
    mask: NDArray[np.bool_] | None
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: NDArray[np.float64]

    def to_pixels(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert positions (µm or mm), shape (n, d), to fractional pixel indices (x, y[, z]), shape (n, d)."""
        steps = (positions - np.asarray(self.origin)) @ np.linalg.inv(self.direction).T
        indices: NDArray[np.float64] = steps / np.asarray(self.spacing)
        return indices
