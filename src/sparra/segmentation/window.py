"""Sliding-window inference with Gaussian blending, one window at a time, so that progress can be told."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparra.segmentation.network import Model
from sparra.segmentation.preprocess import AIR_HU, normalise

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]
_SIGMA = 0.125  # of the window's side
_LEAST_WEIGHT = 1e-3


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Return where windows begin along an axis of `length` >= `window`: evenly spaced, the last at the end."""
    step = max(int(window * (1 - overlap)), 1)
    count = -(-(length - window) // step) + 1
    return sorted({round(index * (length - window) / max(count - 1, 1)) for index in range(count)})


def gaussian_weights(window: int) -> Tensor:
    """Return the weight of each voxel of a window, shape (window,) * 3, 1 at its centre."""
    offset = (torch.arange(window, dtype=torch.float32) - (window - 1) / 2) / (_SIGMA * window)
    line = torch.exp(-(offset**2) / 2)
    weights = line[:, None, None] * line[:, None] * line
    return (weights / weights.max()).clamp(min=_LEAST_WEIGHT)


@torch.inference_mode()
def predict_regions(
    model: Model, hu: NDArray[np.int16], track: Track | None = None, label: str = ""
) -> NDArray[np.float32]:
    """Predict the probability of each region.

    Parameters
    ----------
    model : Model
    hu : ndarray of int16, shape (x, y, z)
        From `sparra.segmentation.preprocess.prepare`.
    track : callable, optional
        Draws progress over the windows.
    label : str
        Name for the progress.

    Returns
    -------
    ndarray of float32, shape (3, x, y, z)
    """
    window, overlap = model.card.patch_voxels, model.card.inference.overlap
    device = next(model.network.parameters()).device
    extent = hu.shape
    padding = [(0, max(window - n, 0)) for n in extent]
    padded = torch.from_numpy(np.pad(hu, padding, constant_values=int(AIR_HU)))
    axes = [window_starts(n, window, overlap) for n in padded.shape]
    starts = [(x, y, z) for x in axes[0] for y in axes[1] for z in axes[2]]
    weights = gaussian_weights(window)
    total = torch.zeros((len(model.card.regions), *padded.shape))
    norm = torch.zeros(padded.shape)
    for start in track(starts, label, len(starts)) if track else starts:
        place = tuple(slice(a, a + window) for a in start)
        crop = normalise(padded[place].to(device), model.card.intensity_hu)[None, None]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model.network(crop)
        total[(slice(None), *place)] += torch.sigmoid(logits[0].float()).cpu() * weights
        norm[place] += weights
    x, y, z = extent
    return (total / norm)[:, :x, :y, :z].numpy()
