"""Stain amounts of H&E tiles by colour deconvolution, and exact resampling of stacks of tiles."""

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb_from_hed

Planes = NDArray[np.float32]
"""A stack of single-channel tiles, shape (batch, height, width)."""

_ABSORBANCE: NDArray[np.float32] = -np.log10((np.arange(256) + 1) / 256).astype(np.float32)


def _unmixing_matrix() -> NDArray[np.float32]:
    """Return the (3 colours, 3 stains) matrix from optical density to haematoxylin, eosin and residual.

    The residual is what neither stain explains, orthogonal to both (Ruifrok and Johnston, Anal Quant Cytol
    Histol 2001;23:291-299; stain vectors as in scikit-image).
    """
    haematoxylin, eosin = (vector / np.linalg.norm(vector) for vector in rgb_from_hed[:2])
    residual = np.cross(haematoxylin, eosin)
    stains = np.stack([haematoxylin, eosin, residual / np.linalg.norm(residual)])
    inverse: NDArray[np.float32] = np.linalg.inv(stains).astype(np.float32)
    return inverse


UNMIXING = _unmixing_matrix()
HAEMATOXYLIN, EOSIN, RESIDUAL = 0, 1, 2


def optical_density(tiles: NDArray[np.uint8]) -> list[Planes]:
    """Return the optical density ``-log10((value + 1) / 256)`` of red, green and blue.

    Parameters
    ----------
    tiles : ndarray of uint8, shape (batch, height, width, 3)
    """
    return [_ABSORBANCE.take(plane) for plane in np.ascontiguousarray(np.moveaxis(tiles, -1, 0))]


def stain_amount(density: list[Planes], stain: int) -> Planes:
    """Return the amount of one stain, in units of optical density; slightly negative where it is absent."""
    red, green, blue = UNMIXING[:, stain]
    # Written out, and not as a matrix product, so that a tile's values never depend on its batch.
    amount: Planes = density[0] * red
    amount += density[1] * green
    amount += density[2] * blue
    return amount


def halve(planes: Planes) -> Planes:
    """Average every 2 x 2 pixels; the sides must be even."""
    rows = planes[:, ::2] + planes[:, 1::2]
    halved: Planes = (rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25)
    return halved


def resample(tiles: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resample square tiles to `side` pixels by a separable triangle filter that antialiases when it reduces.

    Parameters
    ----------
    tiles : ndarray of uint8, shape (batch, height, height, 3)
    side : int

    Returns
    -------
    ndarray of uint8, shape (batch, side, side, 3)
    """
    weights = _triangle_weights(tiles.shape[1], side)
    planes = np.moveaxis(tiles, -1, 1).astype(np.float64)
    resampled = weights @ planes @ weights.T
    return np.moveaxis(np.rint(resampled), 1, -1).astype(np.uint8)


def _triangle_weights(source: int, target: int) -> NDArray[np.float64]:
    """Return the (target, source) matrix of triangle-filter weights; rows sum to one."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(source)[None, :]) / max(1.0, scale)
    weights = np.maximum(0.0, 1.0 - distance)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised
