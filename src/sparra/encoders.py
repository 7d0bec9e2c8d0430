"""What a user must know of an encoder before trusting its features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sparra.weights.source import WeightsSource

#: Said of a digest where the publisher of the weights states none.
NOT_PUBLISHED = "not published"


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
        Of the first of `files`; None where there are no weights or no digest is published.
    gated : bool
        Whether the weights need an accepted licence and a token.
    pretraining : str
        Data it was trained on.
    reference : str
    overlap : str
        Warning where the pre-training may have seen public cohorts (TCGA, CPTAC, KiTS, TCIA); empty if none
        is known.
    input_size : tuple of int
        Pixels (rows, columns) or voxels (z, y, x) that the network sees; empty where any size is taken.
    trained_at : tuple of float
        mpp in µm or spacing in mm of the training images; empty if it has no preference.
    tile_px : tuple of int
        Sides of tiles that its published transform was made for; empty for any.
    files : tuple of WeightsSource
        The published files of weights.
    parameters_millions : float or None
        Size of the network.
    notes : str
        What else one must know.
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
    overlap: str = ""
    input_size: tuple[int, ...] = ()
    trained_at: tuple[float, ...] = ()
    tile_px: tuple[int, ...] = ()
    files: tuple[WeightsSource, ...] = ()
    parameters_millions: float | None = None
    notes: str = ""


def weights_of(encoder: object) -> dict[str, Any]:
    """Return what a built encoder says of the weights it loaded (for a bag's provenance); empty without any."""
    provenance = getattr(encoder, "provenance", {})
    return dict(provenance) if isinstance(provenance, Mapping) else {}
