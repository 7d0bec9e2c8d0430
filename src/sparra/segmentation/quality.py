"""What can be measured of a label map without a reference, and what in it calls for a second look."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sparra.segmentation.regions import KIDNEY, LABELS, TUMOUR

_NEIGHBOURS = np.ones((3, 3, 3))
#: Limits (ml, number, probability) beyond which a case is flagged; wide, for people look at every case anyway.
LEAST_TUMOUR_ML, MOST_TUMOUR_ML = 0.5, 2000.0
LEAST_KIDNEY_ML, MOST_KIDNEY_ML = 60.0, 700.0
MOST_KIDNEYS, MOST_TUMOURS = 2, 1
LEAST_CONFIDENCE = 0.75


@dataclass(frozen=True)
class Quality:
    """Measures of one label map.

    Attributes
    ----------
    volume_ml : dict of str to float
        By label.
    parts : dict of str to int
        26-connected parts by label; those of the kidney include its masses.
    largest_tumour_share : float or None
        Of the tumour's volume that its largest part holds, which is what extraction takes by default.
    tumour_at_border : bool
        Whether the tumour reaches the last slice, row or column of the scan, and so may be cut off.
    confidence : float or None
        Mean probability in the tumour, where a network made it.
    flags : tuple of str
        What calls for a second look.
    """

    volume_ml: dict[str, float]
    parts: dict[str, int]
    largest_tumour_share: float | None
    tumour_at_border: bool
    confidence: float | None
    flags: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "flags": list(self.flags)}


def judge_labels(
    labels: NDArray[np.uint8], voxel_mm3: float, confidence: float | None = None, with_kidney: bool = True
) -> Quality:
    """Measure a label map [z, y, x] of KiTS: 1 kidney, 2 tumour, 3 cyst.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
    voxel_mm3 : float
    confidence : float, optional
        Mean probability in the tumour.
    with_kidney : bool
        Whether the kidney was drawn at all; else nothing is flagged about it.
    """
    volume = {name: float((labels == value).sum()) * voxel_mm3 / 1000 for value, name in LABELS.items()}
    parts, share = {}, None
    for value, name in LABELS.items():
        found, count = ndimage.label(labels > 0 if value == KIDNEY else labels == value, structure=_NEIGHBOURS)
        parts[name] = int(count)
        if value == TUMOUR and count:
            sizes = np.bincount(found.ravel())[1:]
            share = float(sizes.max() / sizes.sum())
    at_border = _touches_border(labels == TUMOUR)
    flags = _tumour_flags(volume, parts, share, at_border, confidence)
    flags += _kidney_flags(volume, parts) if with_kidney else []
    return Quality(volume, parts, share, at_border, confidence, tuple(flags))


def _tumour_flags(
    volume: dict[str, float], parts: dict[str, int], share: float | None, at_border: bool, confidence: float | None
) -> list[str]:
    if not parts["tumour"]:
        return ["no tumour found"]
    flags = []
    if not LEAST_TUMOUR_ML <= volume["tumour"] <= MOST_TUMOUR_ML:
        flags.append(f"tumour of {volume['tumour']:.3g} ml")
    if parts["tumour"] > MOST_TUMOURS:
        flags.append(f"tumour in {parts['tumour']} parts, the largest {100 * (share or 0):.0f} %")
    if at_border:
        flags.append("tumour reaches the scan's border")
    if confidence is not None and confidence < LEAST_CONFIDENCE:
        flags.append(f"mean probability in the tumour {confidence:.2f}")
    return flags


def _kidney_flags(volume: dict[str, float], parts: dict[str, int]) -> list[str]:
    if not volume["kidney"]:
        return ["no kidney found"]
    flags = []
    if not LEAST_KIDNEY_ML <= volume["kidney"] <= MOST_KIDNEY_ML:
        flags.append(f"kidneys of {volume['kidney']:.3g} ml")
    if parts["kidney"] > MOST_KIDNEYS:
        flags.append(f"kidneys in {parts['kidney']} parts")
    return flags


def _touches_border(mask: NDArray[np.bool_]) -> bool:
    return any(bool(mask.take(end, axis=axis).any()) for axis in range(3) for end in (0, -1))
