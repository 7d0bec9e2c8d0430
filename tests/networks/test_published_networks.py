import torch

from sparra.networks.pooling import GatedAttention
from sparra.networks.resnet3d import ResNet3d
from sparra.networks.swin import SwinTransformer, relative_positions, windows_apart
from sparra.networks.vision_transformer import VitShape
from sparra.networks.volume_transformer import PatchRows, VolumeTransformer
from sparra.pathology.encoders.conch import conch_tower, conch_v15_tower
from sparra.pathology.encoders.hipt import RegionTransformer

from .golden import assert_golden, fill, waves


def test_swin_with_stem_equals_timm_and_chief() -> None:
    assert_golden("swin", SwinTransformer(224, 16, (2, 2, 2, 2), (1, 2, 4, 8)), waves(1, 3, 224, 224))


def test_volume_transformer_equals_monai() -> None:
    assert_golden("volume", VolumeTransformer((8, 16, 16), (4, 4, 8), 24, 48, 2, 3), waves(2, 1, 8, 16, 16))


def test_residual_network_equals_renalclip() -> None:
    assert_golden("resnet3d", ResNet3d(), waves(1, 1, 16, 32, 32))


def test_tower_equals_conch() -> None:
    assert_golden("conch", conch_tower(VitShape(64, 16, 48, 2, 3, 192), 64), waves(2, 3, 64, 64))


def test_tower_equals_conch_v15() -> None:
    shape = VitShape(224, 16, 48, 2, 3, 192, scaled=True, resampling="dino")
    assert_golden("conch_v15", conch_v15_tower(shape, 64), waves(1, 3, 448, 448))


def test_transformer_of_regions_equals_hipt() -> None:
    shape = VitShape(224, 16, 24, 2, 3, 96, resampling="dino")
    assert_golden("hipt_regions", RegionTransformer(shape, 20), waves(2, 16, 16, 20))


def test_gated_attention_is_its_equation() -> None:
    network = GatedAttention(5, 3)
    state = fill(network.state_dict())
    network.load_state_dict(state)
    rows = waves(7, 5)
    for row, score in zip(rows, network(rows), strict=True):
        v = torch.tanh(state["attention_a.0.weight"] @ row + state["attention_a.0.bias"])
        u = torch.sigmoid(state["attention_b.0.weight"] @ row + state["attention_b.0.bias"])
        torch.testing.assert_close(score, state["attention_c.weight"] @ (v * u) + state["attention_c.bias"])


def test_patches_become_rows_in_the_order_of_voxels() -> None:
    volume = torch.arange(4 * 4 * 6).float().reshape(1, 1, 4, 4, 6)
    rows = PatchRows((2, 2, 3))(volume)
    assert rows.shape == (1, 8, 12)
    for index, row in enumerate(rows[0]):
        z, y, x = (int(i) for i in torch.unravel_index(torch.tensor(index), (2, 2, 2)))
        patch = volume[0, 0, 2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 3 * x : 3 * x + 3]
        assert torch.equal(row, patch.flatten())


def test_relative_positions_tell_apart_all_steps() -> None:
    index = relative_positions(3)
    for i in range(9):
        for j in range(9):
            step = (i // 3 - j // 3 + 2, i % 3 - j % 3 + 2)
            assert index[i, j] == step[0] * 5 + step[1]


def test_shifted_windows_keep_apart_what_were_no_neighbours() -> None:
    """A patch sees another of its window only if both came from one side of the picture's seam."""
    side, window, shift = 8, 4, 2
    bias = windows_apart(side, side, window, shift)
    original = (torch.arange(side) + shift) % side  # which row stands where after the shift
    for w in range(4):
        rows = original[(w // 2) * window : (w // 2) * window + window]
        columns = original[(w % 2) * window : (w % 2) * window + window]
        for i in range(window * window):
            for j in range(window * window):
                near = [
                    abs(int(line[a] - line[b])) < window
                    for line, a, b in ((rows, i // window, j // window), (columns, i % window, j % window))
                ]
                assert (bias[w, i, j] == 0) == all(near)
