"""Random fields and regions, in any number of dimensions, from which CTs and slides are painted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


def smooth_noise(generator: np.random.Generator, shape: Sequence[int], sigma: Sequence[float]) -> Field:
    """Draw a stationary Gaussian field of zero mean and unit standard deviation.

    White noise is filtered by a Gaussian in the Fourier domain, so that a long correlation costs no more
    than a short one; the field wraps around at its borders.

    Parameters
    ----------
    generator : numpy.random.Generator
        Source of the draw.
    shape : sequence of int
        Shape of the field.
    sigma : sequence of float
        Standard deviation of the filter along each axis, in grid steps.
    """
    spectrum = fft.rfftn(generator.standard_normal(tuple(shape), dtype=np.float32))
    for axis, (length, width) in enumerate(zip(shape, sigma, strict=True)):
        last = axis == len(shape) - 1
        frequency = fft.rfftfreq(length) if last else fft.fftfreq(length)
        gain = np.exp(-2.0 * (np.pi * frequency * width) ** 2).astype(np.float32)
        spectrum *= gain.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return standardised(fft.irfftn(spectrum, s=tuple(shape)))


def standardised(field: Field) -> Field:
    """Shift and scale a field to zero mean and unit standard deviation."""
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def soft_step(field: Field, width: float) -> Field:
    """Return 0 below ``-width / 2``, 1 above ``width / 2`` and a ramp between, as partial volume does."""
    return np.asarray(np.clip(field / np.float32(width) + np.float32(0.5), 0.0, 1.0), dtype=np.float32)


def largest_component(mask: Mask) -> Mask:
    """Return the largest face-connected part of a mask."""
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    return np.asarray(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))


def grow_region(inside: Mask, order: Field, share: float) -> Mask:
    """Grow one face-connected region from the seed, the element inside of lowest `order`, through `inside`.

    The region is the seed's component of ``order <= level``, which grows with the level; bisection over the
    sorted orders finds the level at which it holds `share` of all elements inside.

    Parameters
    ----------
    inside : ndarray of bool
        Where the region may be; connected, else the share may be out of reach.
    order : ndarray of float32, same shape
        Low where the region should come first, e.g. the distance from its centre.
    share : float
        Wanted part of the elements inside.
    """
    levels = np.sort(order[inside])
    seed = np.unravel_index(np.argmin(np.where(inside, order, np.inf)), order.shape)
    wanted = share * levels.size
    # The lowest ranks hold enough elements but not always connected ones; the first guess is often right.
    low = min(max(int(np.ceil(wanted)) - 1, 0), levels.size - 1)
    region = _component_at(inside & (order <= levels[low]), seed)
    if np.count_nonzero(region) >= wanted:
        return region
    high = levels.size - 1
    while low < high:
        middle = (low + high) // 2
        if np.count_nonzero(_component_at(inside & (order <= levels[middle]), seed)) < wanted:
            low = middle + 1
        else:
            high = middle
    return _component_at(inside & (order <= levels[low]), seed)


def _component_at(mask: Mask, seed: tuple[np.intp, ...]) -> Mask:
    labels, _ = ndimage.label(mask)
    return np.asarray(labels == labels[seed])
