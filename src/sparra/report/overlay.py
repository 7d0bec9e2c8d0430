"""Node importance as values of patches, and patches as painted pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sparra.bags.preview import Preview
from sparra.graphs.graph import SpatialGraph


def patch_importance(graph: SpatialGraph, node_importance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share the importance of each node out among its patches, so that a map adds up to its nodes.

    Parameters
    ----------
    graph : SpatialGraph
    node_importance : ndarray, shape (n_nodes,)
        Summing to one over the nodes of a subject and modality.

    Returns
    -------
    ndarray of float64, shape (n_patches,)
        Importance of the patch's node divided by the number of patches in the node; sums to one as well.
    """
    per_patch = node_importance.astype(np.float64) / np.maximum(graph.member_counts, 1)
    shared: NDArray[np.float64] = per_patch[graph.node_of_patch]
    return shared


def patches_of_image(graph: SpatialGraph, image: int) -> NDArray[np.int64]:
    """Return the indices into ``graph.node_of_patch`` of one image's patches, in the order of its bag."""
    return np.flatnonzero(graph.image_of_node[graph.node_of_patch] == image)


def focus_patch(positions: NDArray[np.float64], values: NDArray[np.float64]) -> int:
    """Return the most important patch; of patches that tie (those of one node), the most central one."""
    tied = np.flatnonzero(values >= values.max() * (1 - 1e-9))
    distances = np.linalg.norm(positions[tied] - positions[tied].mean(axis=0), axis=1)
    return int(tied[np.argmin(distances)])


def paint(
    centres: NDArray[np.float64],
    size: tuple[float, float],
    values: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Paint rectangles on a pixel grid; where they overlap, their mean.

    Parameters
    ----------
    centres : ndarray of float64, shape (n, 2)
        Centres (x, y) in pixel indices.
    size : tuple of float
        Sides (x, y) in pixels.
    values : ndarray of float64, shape (n,)
    shape : tuple of int
        (height, width) of the grid.

    Returns
    -------
    ndarray of float64, shape (height, width)
        NaN where there is no rectangle.
    """
    half = np.asarray(size) / 2
    limit = np.asarray([shape[1], shape[0]])
    low = np.round(centres - half + 0.5).astype(np.int64)
    high = np.maximum(np.round(centres + half + 0.5).astype(np.int64), low + 1)
    low, high = np.clip(low, 0, limit), np.clip(high, 0, limit)
    total, count = _box_sums(low, high, values, shape), _box_sums(low, high, np.ones_like(values), shape)
    covered = count > 0.5
    return np.where(covered, total / np.where(covered, count, 1.0), np.nan)


def _box_sums(
    low: NDArray[np.int64], high: NDArray[np.int64], values: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Sum of the values of all boxes over each pixel, from second differences at their corners."""
    corners = np.zeros((shape[0] + 1, shape[1] + 1))
    np.add.at(corners, (low[:, 1], low[:, 0]), values)
    np.add.at(corners, (high[:, 1], high[:, 0]), values)
    np.add.at(corners, (low[:, 1], high[:, 0]), -values)
    np.add.at(corners, (high[:, 1], low[:, 0]), -values)
    return corners.cumsum(axis=0).cumsum(axis=1)[:-1, :-1]


@dataclass(frozen=True)
class PatientVolume:
    """A CT preview with its axes along the patient's: x to the left, y to the back, z to the head.

    Attributes
    ----------
    pixels : ndarray, shape (z, y, x)
        HU.
    mask : ndarray of bool, shape (z, y, x), or None
    spacing_mm : tuple of float
        Along (x, y, z).
    centres : ndarray of float64, shape (n_patches, 3)
        Patch centres (x, y, z) in pixel indices.
    """

    pixels: NDArray[np.int16]
    mask: NDArray[np.bool_] | None
    spacing_mm: tuple[float, float, float]
    centres: NDArray[np.float64]


def patient_volume(preview: Preview, positions: NDArray[np.float64]) -> PatientVolume:
    """Swap and flip the axes of a CT preview so that each runs along the nearest patient axis (LPS).

    Nothing is resampled: an oblique scan stays oblique, as in common viewers.
    """
    _, array_axis = linear_sum_assignment(-np.abs(preview.direction))
    signs = np.sign(preview.direction[np.arange(3), array_axis])
    centres = preview.to_pixels(positions)[:, array_axis]
    order = tuple(2 - int(axis) for axis in array_axis[::-1])
    flips = tuple(2 - int(axis) for axis in np.flatnonzero(signs < 0))
    pixels = np.flip(preview.pixels.transpose(order), flips)
    mask = None if preview.mask is None else np.flip(preview.mask.transpose(order), flips)
    lengths = np.asarray(pixels.shape[::-1])
    centres = np.where(signs < 0, lengths - 1 - centres, centres)
    x, y, z = (float(preview.spacing[axis]) for axis in array_axis)
    return PatientVolume(pixels, mask, (x, y, z), centres)
