"""Whatever two lines of a figure mean can be told apart by colour-blind readers, by colour or by dash."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest

from sparra.report.curves import MODALITY_COLOURS, MODALITY_MARKERS
from sparra.report.pictures import AGGREGATOR_COLOURS, CLINICAL_COLOUR, HIGH_RISK, LOW_RISK

# Machado, Oliveira & Fernandes, IEEE TVCG 15 (2009) 1291-1298: complete loss of one kind of cone, in linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    relative = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(colours: Mapping[str, str], blindness: str) -> float:
    seen = [lab(BLINDNESS[blindness] @ linear(colour)) for colour in colours.values()]
    return min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2))


def test_distances_are_those_of_cielab() -> None:
    assert closest({"white": "#ffffff", "black": "#000000"}, "none") == pytest.approx(100, abs=0.01)
    # The classical pair: far apart to most, near to a deuteranope.
    pair = {"red": "#c04000", "green": "#6b7f00"}
    assert closest(pair, "deuteranopia") < 0.4 * closest(pair, "none")


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_colours_of_one_figure_differ(blindness: str) -> None:
    assert closest({**AGGREGATOR_COLOURS, "clinical": CLINICAL_COLOUR}, blindness) > 20
    assert closest({"low": LOW_RISK, "high": HIGH_RISK}, blindness) > 80
    # Fig. 3: blue and green are near to a tritanope, so the markers differ too.
    assert closest(MODALITY_COLOURS, blindness) > 15
    assert len(set(MODALITY_MARKERS.values())) == len(MODALITY_COLOURS) == len(MODALITY_MARKERS)
