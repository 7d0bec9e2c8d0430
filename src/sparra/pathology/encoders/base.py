"""What every slide encoder is: a card, and a builder of something that encodes tiles."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparra.encoders import EncoderCard
from sparra.pathology.settings import SlideSettings


class SlideEncoder(Protocol):
    """Turns tiles into feature vectors, each tile by itself: a batch gives what its tiles give singly."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name a feature, or empty for the anonymous features of a network."""

    def encode(self, tiles: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
        """Encode tiles of shape (batch, height, width, 3) at `mpp` µm a pixel into (batch, D)."""


@dataclass(frozen=True)
class SlideEncoderEntry:
    """One line of the registry.

    Attributes
    ----------
    card : EncoderCard
    build : callable
        Takes the slide settings, loads whatever it needs, returns the encoder.
    """

    card: EncoderCard
    build: Callable[[SlideSettings], SlideEncoder]
