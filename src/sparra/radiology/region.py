"""Which part of a mask is the tumour, and the box around it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Component = Literal["largest", "all"]


@dataclass(frozen=True)
class Tumour:
    """The chosen part of a mask.

    Attributes
    ----------
    mask : ndarray of bool, shape (z, y, x) of the box
        The mask within its bounding box.
    start : ndarray of int, shape (3,)
        First voxel of the box in the whole image, (x, y, z).
    components : int
        Number of 26-connected components found.
    dropped_voxels : int
        Voxels in the components left out.
    """

    mask: NDArray[np.bool_]
    start: NDArray[np.int_]
    components: int
    dropped_voxels: int


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the slices [z, y, x] of the tight box around the True voxels of a mask that holds some."""
    slices = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        found = np.flatnonzero(mask.any(axis=others))
        slices.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(slices)


def select_tumour(mask: NDArray[np.bool_], component: Component) -> Tumour:
    """Keep the largest 26-connected component of `mask` [z, y, x], or all of it, within its bounding box.

    Of components of the same size the first in the order of voxels is kept.
    """
    outer = bounding_box(mask)
    kept = mask[outer]
    labels, components = ndimage.label(kept, structure=np.ones((3, 3, 3)))
    total = int(kept.sum())
    if component == "largest" and components > 1:
        sizes = np.bincount(labels.ravel())
        kept = labels == 1 + int(sizes[1:].argmax())
    inner = bounding_box(kept)
    start = np.array([o.start + i.start for o, i in zip(outer, inner, strict=True)][::-1])
    return Tumour(np.ascontiguousarray(kept[inner]), start, int(components), total - int(kept.sum()))
