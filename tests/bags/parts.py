"""What every writer of a foreign layout is given and returns."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.bags.settings import ImportSettings

TILE_UM = 128.0
GRID_MPP = 0.5
GRID_PX = 256


@dataclass(frozen=True)
class Made:
    """A written file, and what a user has to say to import it."""

    path: Path
    mpp: float | None = None
    settings: ImportSettings = field(default_factory=ImportSettings)
    encoder: str = "unknown"


Array = NDArray[Any]


def corners_px(tiles: Array, mpp: float) -> Array:
    """Top-left corners in pixels of level 0."""
    return (tiles * (TILE_UM / mpp)).astype(np.int64)
