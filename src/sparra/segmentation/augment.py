"""Random changes of a training crop, the same again for the same numbers."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

_HU, _LABELS = "hu", "labels"


def make_augmentation() -> Any:
    """Return MONAI's transforms with the numbers of the KiTS23 recipe.

    Affine maps (0.26 rad, ±20 %), blur, contrast ±30 %, brightness ±0.1, noise 0.1, flips along each axis; the
    intensities are those of `sparra.segmentation.preprocess.normalise`.
    """
    from monai.transforms import (
        Compose,
        RandAffined,
        RandFlipd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityd,
        RandShiftIntensityd,
    )

    sigma = (0.5, 1.0)
    return Compose(
        [
            RandAffined(
                keys=[_HU, _LABELS],
                prob=0.2,
                rotate_range=[0.26] * 3,
                scale_range=[0.2] * 3,
                mode=["bilinear", "nearest"],
                padding_mode="border",
            ),
            RandGaussianSmoothd(keys=_HU, prob=0.2, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma),
            RandScaleIntensityd(keys=_HU, prob=0.5, factors=0.3),
            RandShiftIntensityd(keys=_HU, prob=0.5, offsets=0.1),
            RandGaussianNoised(keys=_HU, prob=0.2, mean=0.0, std=0.1),
            *[RandFlipd(keys=[_HU, _LABELS], prob=0.5, spatial_axis=axis) for axis in range(3)],
        ]
    )


def augment(transforms: Any, hu: Tensor, labels: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Change one crop.

    Parameters
    ----------
    transforms : monai.transforms.Compose
        From `make_augmentation`.
    hu : Tensor of float32, shape (x, y, z)
        Normalised.
    labels : Tensor of uint8, same shape
    generator : numpy.random.Generator
        Its next number seeds every transform.
    """
    transforms.set_random_state(seed=int(generator.integers(2**31)))
    changed = transforms({_HU: hu[None], _LABELS: labels[None].float()})
    return _plain(changed[_HU])[0], _plain(changed[_LABELS])[0].round().to(torch.uint8)


def _plain(tensor: Any) -> Tensor:
    """Return a MetaTensor without its metadata."""
    plain: Tensor = tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
    return plain.contiguous()
