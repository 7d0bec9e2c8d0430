"""What every CT encoder is: a card, its settings, and a builder, under a name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparra.encoders import EncoderCard
from sparra.radiology.encoders.region import RegionEncoder
from sparra.radiology.patches import Patches
from sparra.registry import Registry
from sparra.settings import Settings


class CtEncoder(Protocol):
    """Turns patches of a CT into features.

    Attributes
    ----------
    feature_names : tuple of str
        One name a feature, or empty where a network's features have none.
    """

    feature_names: tuple[str, ...]

    def encode(self, volume: NDArray[np.float32], mask: NDArray[np.bool_], patches: Patches) -> NDArray[np.float32]:
        """Encode every patch.

        Parameters
        ----------
        volume : ndarray of float32, shape (z, y, x)
            Region of interest in HU on the isotropic grid; an encoder applies its own window.
        mask : ndarray of bool, shape (z, y, x)
            The tumour.
        patches : Patches
            All within `volume`.

        Returns
        -------
        ndarray of float32, shape (n_patches, dimension of the card)
            Finite for every patch that holds tumour.
        """
        ...


@dataclass(frozen=True)
class CtEncoderEntry:
    """One registered encoder.

    Attributes
    ----------
    card : EncoderCard
    settings : type of Settings
        Its own options, which stand under ``encoder_options`` in the study file.
    build : callable
        Makes the encoder from an instance of `settings`: one of patches, or one that places its rows itself.
    """

    card: EncoderCard
    settings: type[Settings]
    build: Callable[[Any], CtEncoder | RegionEncoder]


ct_encoders: Registry[CtEncoderEntry] = Registry("CT encoder", "sparra.ct_encoders")
