"""What every slide encoder is: a card, its options, and a builder of something that encodes tiles."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sparra.encoders import EncoderCard
from sparra.pathology.settings import SlideSettings
from sparra.settings import Settings


class SlideEncoder(Protocol):
    """Turns tiles into feature vectors, each tile by itself: a batch gives what its tiles give singly."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name a feature, or empty for the anonymous features of a network."""

    def encode(self, tiles: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
        """Encode tiles of shape (batch, height, width, 3) at `mpp` µm a pixel into (batch, D)."""


@runtime_checkable
class SlideSummary(Protocol):
    """What an encoder is besides if it makes one vector of all tiles of a slide."""

    def summarise(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn the tiles' features, shape (n, d), into one row, shape (1, D)."""


class NoOptions(Settings):
    """Of an encoder without options."""


@dataclass(frozen=True)
class SlideEncoderEntry:
    """One line of the registry.

    Attributes
    ----------
    card : EncoderCard
    build : callable
        Takes the slide settings, loads whatever it needs, returns the encoder.
    options : type of Settings
        Its own options, which stand under ``encoder_options`` in the study file.
    check : callable or None
        Takes the slide settings and raises a `UserError` if they do not fit the encoder; loads nothing.
    """

    card: EncoderCard
    build: Callable[[SlideSettings], SlideEncoder]
    options: type[Settings] = NoOptions
    check: Callable[[SlideSettings], None] | None = None

    def options_in(self, settings: SlideSettings) -> Any:
        """Return the validated options of this encoder in `settings`.

        Raises
        ------
        UserError
            For an unknown key or an impossible value.
        """
        return self.options.from_mapping(settings.encoder_options, where="slide.encoder_options")

    def require(self, settings: SlideSettings) -> None:
        """Check options and resolution before anything is read.

        Raises
        ------
        UserError
        """
        self.options_in(settings)
        if self.check is not None:
            self.check(settings)
