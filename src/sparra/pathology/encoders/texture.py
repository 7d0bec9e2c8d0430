"""Texture of stacks of tiles: gradients, local binary patterns and grey-level co-occurrence."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sparra.pathology.encoders.stains import Planes

Values = NDArray[np.floating]
"""One value a tile, shape (batch,)."""

LBP_CLASSES = (*(f"uniform_{ones}" for ones in range(9)), "not_uniform")
# Names of the Image Biomarker Standardisation Initiative.
GLCM_STATISTICS = ("contrast", "inverse_difference", "angular_second_moment", "joint_entropy", "correlation")
GLCM_LEVELS, GLCM_RANGE = 16, 1.6
# The eight neighbours in turn, so that consecutive bits touch.
_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))


def gradient_statistics(planes: Planes) -> tuple[Values, Values]:
    """Return mean and standard deviation of the gradient magnitude (central differences, per pixel)."""
    along_x = planes[:, 1:-1, 2:] - planes[:, 1:-1, :-2]
    along_y = planes[:, 2:, 1:-1] - planes[:, :-2, 1:-1]
    along_x *= along_x
    along_y *= along_y
    along_x += along_y
    squared = along_x.reshape(len(planes), -1)
    mean_square = squared.mean(axis=1)
    mean = np.sqrt(squared, out=squared).mean(axis=1)
    return mean / 2, np.sqrt(np.maximum(mean_square - mean**2, 0)) / 2


def _pattern_classes() -> NDArray[np.intp]:
    """Return the class of each of the 256 patterns: its ones if it has at most two changes, else the last."""
    classes = np.empty(256, dtype=np.intp)
    for pattern in range(256):
        bits = [pattern >> place & 1 for place in range(8)]
        changes = sum(one != other for one, other in pairwise([*bits, bits[0]]))
        classes[pattern] = sum(bits) if changes <= 2 else 9
    return classes


_PATTERN_CLASSES = _pattern_classes()


def local_binary_patterns(planes: Planes) -> Values:
    """Return the share of each rotation-invariant uniform pattern of the eight neighbours, shape (batch, 10).

    Ojala, Pietikäinen and Mäenpää, IEEE TPAMI 2002;24:971-987 (riu2, 8 neighbours in a 3 x 3 square).
    """
    batch, height, width = planes.shape
    centre = planes[:, 1:-1, 1:-1]
    patterns = np.zeros(centre.shape, dtype=np.uint8)
    for place, (dy, dx) in enumerate(_RING):
        neighbour = planes[:, 1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
        patterns |= (neighbour >= centre).view(np.uint8) << np.uint8(place)
    histogram = _histograms(patterns.reshape(batch, -1).astype(np.intp), 256)
    shares = np.zeros((batch, len(LBP_CLASSES)))
    np.add.at(shares.T, _PATTERN_CLASSES, histogram.T)
    shares /= centre[0].size
    return shares


def cooccurrence_statistics(planes: Planes, distance: int) -> dict[str, Values]:
    """Return statistics of the symmetric grey-level co-occurrence matrix, summed over four directions.

    Levels are fixed: 16 of 0.1 optical density each, so that tiles of different slides compare (Haralick et
    al., IEEE Trans SMC 1973;3:610-621).

    Parameters
    ----------
    planes : ndarray of float32, shape (batch, height, width)
        Stain amounts.
    distance : int
        Offset in pixels along each axis.
    """
    batch, height, width = planes.shape
    levels = np.clip(planes * (GLCM_LEVELS / GLCM_RANGE), 0, GLCM_LEVELS - 1).astype(np.intp)
    counts = np.zeros((batch, GLCM_LEVELS**2))
    for dy, dx in _DIRECTIONS:
        top, left = dy * distance, dx * distance
        first = levels[:, : height - top, max(0, -left) : width - max(0, left)]
        second = levels[:, top:, max(0, left) : width + min(0, left)]
        counts += _histograms((first * GLCM_LEVELS + second).reshape(batch, -1), GLCM_LEVELS**2)
    matrix = counts.reshape(batch, GLCM_LEVELS, GLCM_LEVELS)
    matrix = matrix + matrix.transpose(0, 2, 1)
    return _matrix_statistics(matrix / matrix.sum(axis=(1, 2), keepdims=True))


def _matrix_statistics(matrix: NDArray[np.float64]) -> dict[str, Values]:
    level = np.arange(GLCM_LEVELS)
    difference = level[:, None] - level[None, :]
    margin = matrix.sum(axis=2)
    mean = margin @ level
    variance = margin @ level**2 - mean**2
    product = (matrix * np.outer(level, level)).sum(axis=(1, 2)) - mean**2
    logarithm = np.log2(matrix, out=np.zeros_like(matrix), where=matrix > 0)
    return {
        "contrast": (matrix * difference**2).sum(axis=(1, 2)),
        "inverse_difference": (matrix / (1 + np.abs(difference))).sum(axis=(1, 2)),
        "angular_second_moment": (matrix**2).sum(axis=(1, 2)),
        "joint_entropy": -(matrix * logarithm).sum(axis=(1, 2)),
        # A flat tile has perfectly equal neighbours.
        "correlation": np.divide(product, variance, out=np.ones_like(product), where=variance > 1e-9),
    }


def _histograms(codes: NDArray[np.intp], size: int) -> NDArray[np.int64]:
    """Count the codes of each row, shape (rows, size), in one pass."""
    rows = len(codes)
    shifted = codes + (np.arange(rows) * size)[:, None]
    return np.bincount(shifted.ravel(), minlength=rows * size).reshape(rows, size)
