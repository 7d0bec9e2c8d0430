"""What a user must know of an encoder before trusting its features."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EncoderCard:
    """Facts that every registered encoder carries (design: registries).

    Attributes
    ----------
    name : str
        Registry name.
    modality : {"ct", "slide"}
    dimension : int
        Number of features D of one patch.
    input_description : str
        Size and channel layout of what it takes.
    resolution : str
        Spacing in mm or mpp in µm it is meant for; ``"any"`` if it has no preference.
    intensity : str
        Intensity window or normalisation that it applies itself.
    licence : str
    weights : str
        Where the weights come from; ``"none"`` for hand-crafted features.
    weights_sha256 : str or None
    gated : bool
        Whether the weights need an accepted licence and a token.
    pretraining : str
        Data it was trained on, with a warning where that may overlap the user's cohort.
    reference : str
    """

    name: str
    modality: Literal["ct", "slide"]
    dimension: int
    input_description: str
    resolution: str
    intensity: str
    licence: str
    weights: str
    weights_sha256: str | None
    gated: bool
    pretraining: str
    reference: str
