"""Masks of whole slides, worked on by strips of rows: nothing wider than a byte a pixel is held of the whole."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Mask = NDArray[np.bool_]
Numbers = NDArray[np.intp]

# Of a strip, but never so few rows that the halo of a filter is most of it.
STRIP_PX, LEAST_ROWS = 1 << 17, 64


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield the rows of one strip after the other, from top to bottom."""
    rows = max(LEAST_ROWS, STRIP_PX // max(1, shape[1]))
    for top in range(0, shape[0], rows):
        yield slice(top, min(top + rows, shape[0]))


class ConnectedParts:
    """The connected parts of a mask, by edges, numbered from 1 as `scipy.ndimage.label` does.

    Each strip is labelled alone, and what touches across a border between strips is joined.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)

    Attributes
    ----------
    areas : ndarray of int64, shape (1 + parts,)
        Pixels of each part; of what lies outside, 0.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._firsts: list[int] = []
        areas, joins, last_row = [np.zeros(1, np.int64)], [], None
        total = 0
        for rows in strips(mask.shape):
            labels, count = ndimage.label(mask[rows])
            self._firsts.append(total)
            areas.append(np.bincount(labels.ravel(), minlength=count + 1)[1:])
            if last_row is not None:
                meets = (last_row > 0) & (labels[0] > 0)
                joins.append(np.stack([last_row[meets], labels[0][meets] + total]))
            last_row = np.where(labels[-1] > 0, labels[-1] + total, 0)
            total += count
        self._part = _joined(total, joins)
        self.areas = np.bincount(self._part, np.concatenate(areas)).astype(np.int64)

    def __iter__(self) -> Iterator[tuple[slice, Numbers]]:
        """Yield the rows of each strip and the number of the part of each of its pixels, 0 outside."""
        for rows, first in zip(strips(self._mask.shape), self._firsts, strict=True):
            labels, count = ndimage.label(self._mask[rows])
            yield rows, np.concatenate([[0], self._part[first + 1 : first + count + 1]])[labels]

    def at(self, pixels: Numbers) -> Numbers:
        """Return the number of the part of each pixel (row, column), shape (pixels, 2)."""
        found = np.zeros(len(pixels), dtype=np.intp)
        for rows, parts in self:
            here = (pixels[:, 0] >= rows.start) & (pixels[:, 0] < rows.stop)
            found[here] = parts[pixels[here, 0] - rows.start, pixels[here, 1]]
        return found


def _joined(total: int, joins: list[Numbers]) -> Numbers:
    """Return the part of each strip's labels, 0 for 0; parts are numbered by the first of their labels."""
    first, second = np.concatenate(joins, axis=1) if joins else np.zeros((2, 0), np.intp)
    edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(total + 1, total + 1))
    parts: Numbers = connected_components(edges, directed=False)[1].astype(np.intp)
    return parts


def drop_small(mask: Mask, area_px: float) -> None:
    """Take the connected parts with fewer than `area_px` pixels out of `mask` itself."""
    parts = ConnectedParts(mask)
    keep = parts.areas >= area_px
    keep[0] = False
    for rows, numbers in parts:
        mask[rows] = keep[numbers]


def fill_small(mask: Mask, area_px: float) -> None:
    """Fill the holes of fewer than `area_px` pixels in `mask` itself."""
    np.logical_not(mask, out=mask)
    drop_small(mask, area_px)
    np.logical_not(mask, out=mask)


def without(mask: Mask, other: Mask) -> Mask:
    """Return where `mask` is and `other` is not, without the inverse of `other` in between."""
    difference: Mask = np.greater(mask, other)
    return difference


def grown(mask: Mask, radius_px: float) -> Mask:
    """Grow a mask by a disc."""
    larger: Mask = ndimage.binary_dilation(mask, _disc(radius_px))
    return larger


def closed(mask: Mask, radius_px: float) -> Mask:
    """Close the gaps of a mask that a disc does not fit into."""
    margin = math.ceil(radius_px)
    filled: Mask = ndimage.binary_closing(np.pad(mask, margin), _disc(radius_px))
    inner = slice(margin, -margin)
    return filled[inner, inner] | mask


def _disc(radius_px: float) -> Mask:
    reach = math.ceil(radius_px)
    rows, columns = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc: Mask = rows**2 + columns**2 <= radius_px**2
    return disc
