"""What a map says of itself, wherever it is opened."""

from dataclasses import dataclass
from typing import Literal

from sparra import RESEARCH_USE_ONLY
from sparra.maps.scores import ImageScores, Normalisation

Verdict = Literal["trusted", "failed", "untested"]

NORMALISED: dict[Normalisation, str] = {
    "none": "raw: share of the subject's importance, of the patch's node",
    "rank": "rank among the patches of this image, in (0, 1]",
    "minmax": "stretched from this image's smallest to its largest, to [0, 1]",
}


@dataclass(frozen=True)
class MapLabel:
    """Words that every file of a map carries.

    Attributes
    ----------
    title : str
        Of what model the importance is.
    verdict : {"trusted", "failed", "untested"}
        What the checks of `sparra.maps.trust` came to.
    sentence : str
        The verdict in words.
    """

    title: str
    verdict: Verdict = "untested"
    sentence: str = "This map's agreement with its model has not been tested."

    @property
    def class_name(self) -> str:
        """Name of the tiles' class in QuPath, and short heading elsewhere; a failed map's says so."""
        return "Importance (FAILED ITS CHECKS)" if self.verdict == "failed" else "Importance"

    def describe(self, scores: ImageScores) -> dict[str, str | int]:
        """Return the metadata of a file, JSON-ready."""
        return {
            "title": self.title,
            "verdict": self.verdict,
            "verdict_sentence": self.sentence,
            "normalisation": scores.normalisation,
            "score": NORMALISED[scores.normalisation],
            "standard_deviation": scores.spread if scores.normalisation != "rank" else "undefined for ranks",
            "models": scores.n_models,
            "note": RESEARCH_USE_ONLY,
        }
