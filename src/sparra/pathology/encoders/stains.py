"""Stain amounts of H&E tiles by colour deconvolution, and exact resampling of stacks of tiles."""

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb_from_hed

from sparra.pathology.resampling import averaged, plan_axis
from sparra.pathology.resampling import resample as resample_picture

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
    """Resample square tiles to `side` pixels exactly as the slide would have been read at that resolution.

    So a tile read at 40x and brought to 20x here equals the one read at 20x.

    Parameters
    ----------
    tiles : ndarray of uint8, shape (batch, height, height, 3)
    side : int

    Returns
    -------
    ndarray of uint8, shape (batch, side, side, 3)
    """
    resampled = np.empty((len(tiles), side, side, 3), dtype=np.uint8)
    whole = float(tiles.shape[1])
    factor = plan_axis(0.0, whole, side).factor
    span = (whole / factor, whole / factor)
    for tile, into in zip(np.ascontiguousarray(tiles), resampled, strict=True):
        resample_picture(averaged(tile, (factor, factor)), (0.0, 0.0), span, into)
    return resampled
