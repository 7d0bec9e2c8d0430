"""Regions that the network predicts, each apart, and the label map that they are merged to.

The regions of KiTS are nested (a tumour is part of the mass, the mass part of the kidney with its masses), so
a voxel may belong to several: three sigmoids, not one softmax. How they become one label map is said here and
nowhere else.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KIDNEY, TUMOUR, CYST = 1, 2, 3
LABELS = {KIDNEY: "kidney", TUMOUR: "tumour", CYST: "cyst"}
#: Channels of the network, in order, with the labels that each unites.
REGIONS: dict[str, tuple[int, ...]] = {
    "kidney_and_mass": (KIDNEY, TUMOUR, CYST),
    "mass": (TUMOUR, CYST),
    "tumour": (TUMOUR,),
}
#: Deviation of a surface (mm) that KiTS23 takes for observers' disagreement, by region.
SURFACE_TOLERANCES_MM = {"kidney_and_mass": 1.0330602, "mass": 1.1328796, "tumour": 1.1498198}
#: Painted in this order: whoever comes later goes before.
_PAINTED = (("kidney_and_mass", KIDNEY), ("mass", CYST), ("tumour", TUMOUR))
THRESHOLD = 0.5


def to_regions(labels: Tensor) -> Tensor:
    """Turn label maps, shape (...), into regions 0 and 1, float32 of shape (3, ...)."""
    return torch.stack(
        [torch.isin(labels, torch.tensor(values, device=labels.device)) for values in REGIONS.values()]
    ).to(torch.float32)


def region_masks(labels: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    """Return each region of a label map as a mask."""
    return {name: np.isin(labels, values) for name, values in REGIONS.items()}


def merge_regions(regions: dict[str, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Merge overlapping regions to one label map of KiTS: 1 kidney, 2 tumour, 3 cyst.

    A voxel of `tumour` is tumour; else one of `mass` is cyst; else one of `kidney_and_mass` is kidney. A tumour
    or mass that reaches beyond its outer region keeps its label.
    """
    labels = np.zeros(next(iter(regions.values())).shape, np.uint8)
    for name, value in _PAINTED:
        labels[regions[name]] = value
    return labels
