import pytest
import torch

from sparra.networks.positions import resample_positions
from sparra.networks.vision_transformer import ClassToken, ClassTokenAndMean, VisionTransformer, VitShape

from .golden import assert_golden, fill, waves


def test_class_token_equals_timm_at_another_image_size() -> None:
    assert_golden("class_token", ClassToken(VitShape(32, 8, 32, 3, 4, 128, scaled=True)), waves(2, 3, 48, 48))


def test_registers_and_swiglu_equal_timm() -> None:
    shape = VitShape(32, 8, 48, 3, 4, 128, gated=True, scaled=True, registers=8, positions_for_prefix=False)
    assert_golden("registers", ClassToken(shape), waves(2, 3, 48, 48))


def test_class_token_and_mean_of_patches_equal_timm() -> None:
    shape = VitShape(32, 8, 48, 3, 4, 128, gated=True, scaled=True, registers=4)
    assert_golden("class_token_and_mean", ClassTokenAndMean(shape), waves(2, 3, 48, 48))


def test_positions_resampled_as_dino_does_equal_hipt() -> None:
    assert_golden("hipt", ClassToken(VitShape(32, 8, 24, 2, 3, 96, resampling="dino")), waves(2, 3, 40, 40))


@pytest.mark.parametrize("registers", [0, 2])
def test_one_block_is_the_written_equation(registers: int) -> None:
    """Attention head by head and patch by patch in plain sums, from the parameters alone."""
    shape = VitShape(8, 4, 6, 1, 2, 10, scaled=True, registers=registers)
    network = VisionTransformer(shape).double()
    state = {name: tensor.double() for name, tensor in fill(network.state_dict()).items()}
    network.load_state_dict(state)
    image = waves(1, 3, 8, 8).double()
    kernel = state["patch_embed.proj.weight"].reshape(6, -1)
    patches = [
        kernel @ image[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten()
        + state["patch_embed.proj.bias"]
        for row in (0, 1)
        for column in (0, 1)
    ]
    prefix = [state["cls_token"][0, 0], *(state["reg_token"][0] if registers else [])]
    x = torch.stack([*prefix, *patches]) + state["pos_embed"][0]

    def layer(name: str, rows: torch.Tensor) -> torch.Tensor:
        return rows @ state[f"blocks.0.{name}.weight"].T + state[f"blocks.0.{name}.bias"]

    def norm(rows: torch.Tensor, name: str) -> torch.Tensor:
        centred = rows - rows.mean(dim=1, keepdim=True)
        spread = (centred**2).mean(dim=1, keepdim=True).add(1e-6).sqrt()
        return centred / spread * state[f"{name}.weight"] + state[f"{name}.bias"]

    qkv = layer("attn.qkv", norm(x, "blocks.0.norm1"))
    heads = []
    for head in (0, 1):
        q, k, v = (qkv[:, 6 * part + 3 * head : 6 * part + 3 * head + 3] for part in range(3))
        weights = (q @ k.T / 3**0.5).exp()
        heads.append(weights / weights.sum(dim=1, keepdim=True) @ v)
    x = x + state["blocks.0.ls1.gamma"] * layer("attn.proj", torch.cat(heads, dim=1))
    hidden = layer("mlp.fc1", norm(x, "blocks.0.norm2"))
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    x = x + state["blocks.0.ls2.gamma"] * layer("mlp.fc2", hidden)
    with torch.inference_mode():
        torch.testing.assert_close(network(image)[0], norm(x, "norm"))


def test_positions_of_the_learnt_grid_are_untouched_and_a_plane_stays_a_plane() -> None:
    table = waves(1, 1 + 16, 5)
    assert resample_positions(table, 1, (4, 4), "timm") is table
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    plane = torch.cat([torch.zeros(1, 1, 1), (2 * rows - columns).reshape(1, 64, 1)], dim=1)
    larger = resample_positions(plane, 1, (16, 12), "timm")[0, 1:, 0].reshape(16, 12)
    expected = 2 * ((torch.arange(16.0) + 0.5) / 2 - 0.5)[:, None] - ((torch.arange(12.0) + 0.5) / 1.5 - 0.5)
    torch.testing.assert_close(larger[5:11, 4:8], expected[5:11, 4:8])
