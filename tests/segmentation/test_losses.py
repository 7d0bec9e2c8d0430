import numpy as np
import pytest
import torch
from torch.nn import functional

from sparra.segmentation.losses import deep_supervision, dice_cross_entropy, dice_loss


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 4, 4, 4), generator=generator)
    return logits, (torch.rand((2, 3, 4, 4, 4), generator=generator) < 0.3).float()


def test_dice_loss_is_monai_s_with_squared_prediction(pair: tuple) -> None:
    from monai.losses import DiceLoss

    reference = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=0, smooth_dr=1e-5)
    torch.testing.assert_close(dice_loss(*pair), reference(*pair))


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_two_parts(pair: tuple) -> None:
    _, target = pair
    assert float(dice_cross_entropy((target * 2 - 1) * 50, target)) == pytest.approx(0, abs=1e-5)
    wrong = float(dice_cross_entropy((1 - target * 2) * 50, target))
    assert wrong == pytest.approx(1 + 50, rel=1e-4)  # no overlap, and log odds of 50 at every voxel


def test_levels_weigh_half_of_the_one_before(pair: tuple) -> None:
    logits, target = pair
    coarse = torch.zeros((2, 3, 2, 2, 2))
    at_coarse = target[:, :, 1::2, 1::2, 1::2]  # nearest-exact takes the voxel at 1, 3, ...
    expected = dice_cross_entropy(logits, target) + 0.5 * dice_cross_entropy(coarse, at_coarse)
    torch.testing.assert_close(deep_supervision([logits, coarse], target), expected)
    nearest = functional.interpolate(target, (2, 2, 2), mode="nearest-exact")
    np.testing.assert_array_equal(nearest, at_coarse)
    torch.testing.assert_close(deep_supervision(logits, target), dice_cross_entropy(logits, target))
