"""What all figures share: colours, fonts, and the way from a figure to a data URI."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from matplotlib.figure import Figure

from sparra.files import PNG_COMPRESSION

# Okabe & Ito's palette, told apart by colour-blind readers; SPARRA has the page's accent.
AGGREGATOR_COLOURS: Mapping[str, str] = {"mean": "#8c8c8c", "abmil": "#e69f00", "sparra": "#0072b2"}
OTHER_COLOURS = ("#d55e00", "#56b4e9", "#009e73")
# Okabe & Ito's purple and green look like the grey of ``mean`` to a deuteranope.
CLINICAL_COLOUR = "#882255"
LOW_RISK, HIGH_RISK = "#0072b2", "#d55e00"
INK, QUIET = "#1f2933", "#6b7780"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
}


@dataclass(frozen=True)
class Picture:
    """One figure of the page.

    Attributes
    ----------
    source : str
        Data URI of a PNG.
    alt : str
        What a reader who cannot see it needs to know.
    caption : str
    width : int
        Width in CSS pixels.
    """

    source: str
    alt: str
    caption: str
    width: int

    @property
    def png(self) -> bytes:
        """The PNG itself."""
        return base64.b64decode(self.source.partition(",")[2])


def picture(figure: Figure, alt: str, caption: str) -> Picture:
    """Render a figure at twice the screen's resolution and embed it."""
    buffer = BytesIO()
    options = {"compress_level": PNG_COMPRESSION}
    figure.savefig(buffer, format="png", dpi=192, metadata={"Software": None}, pil_kwargs=options)
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(source, alt, caption, round(figure.get_figwidth() * 96))
