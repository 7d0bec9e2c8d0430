"""The two kinds of image, and the unit of positions in each."""

from collections.abc import Mapping
from typing import Literal

Modality = Literal["ct", "slide"]
MODALITIES: tuple[Modality, ...] = ("ct", "slide")
UNIT_OF_MODALITY: Mapping[Modality, str] = {"ct": "mm", "slide": "um"}
