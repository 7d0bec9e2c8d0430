import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sparra.errors import UserError
from sparra.segmentation.network import CARD, WEIGHTS, Model, build_network, device_of, load_model, load_weights
from sparra.segmentation.published import convert_published
from sparra.segmentation.settings import NetworkSettings, SegmentationSettings

BOUNDS = (-60.0, 250.0)


def published(**network: object) -> tuple[SegmentationSettings, dict[str, Tensor]]:
    """Random weights in the layout of MONAI, of the recipe's depth but few filters."""
    values = {"init_filters": 4, **network}
    settings = SegmentationSettings.from_mapping({"network": values, "patch_voxels": 32}, "test")
    return settings, build_network(settings.network).state_dict()


def test_the_recipe_s_network_has_the_published_keys() -> None:
    """Keys and shapes of SegResNetDS(init_filters=32, blocks_down=[1,2,2,4,4], dsdepth=4), from MONAI's source."""
    with torch.device("meta"):
        tensors = build_network(NetworkSettings()).state_dict()
    assert sum(value.numel() for value in tensors.values()) == 87_164_684
    assert tuple(tensors["encoder.conv_init.weight"].shape) == (32, 1, 3, 3, 3)
    assert tuple(tensors["encoder.layers.4.blocks.3.conv2.weight"].shape) == (512, 512, 3, 3, 3)
    assert [name for name in tensors if "head.weight" in name] == [f"up_layers.{k}.head.weight" for k in range(4)]
    assert tuple(tensors["up_layers.3.head.weight"].shape) == (3, 32, 1, 1, 1)
    blocks = sum((1, 2, 2, 4, 4)) + 4  # encoder and decoder; each has two norms and two convolutions
    assert len(tensors) == 1 + 6 * blocks + 4 + 4 + 2 * 4  # first convolution, blocks, down, up, heads


@pytest.mark.parametrize("wrapped", ["plain", "state_dict", "parallel"])
@pytest.mark.parametrize("network", [{}, {"kind": "SegResNet", "norm": "group", "init_filters": 8}])
def test_published_weights_are_converted_once_and_give_the_same_answer(
    tmp_path: Path, wrapped: str, network: dict
) -> None:
    settings, tensors = published(**network)
    content = {
        "plain": tensors,
        "state_dict": {"state_dict": tensors, "epoch": 3, "best_metric": 0.8},
        "parallel": {f"module.{name}": value for name, value in tensors.items()},
    }[wrapped]
    torch.save(content, tmp_path / "model.pt")
    convert_published(tmp_path / "model.pt", tmp_path / "ours", settings, BOUNDS)
    model = load_model(tmp_path / "ours", "cpu")
    assert model.card.intensity_hu == BOUNDS
    assert model.card.origin["converted_from"] == "model.pt"
    reference = build_network(settings.network).eval()
    reference.load_state_dict(tensors)
    crop = torch.rand((1, 1, 32, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model.network(crop), reference(crop))


def test_what_auto3dseg_notes_goes_before_the_settings(tmp_path: Path) -> None:
    settings, tensors = published(blocks_down=(1, 1, 1), dsdepth=2)
    config = {
        "network": {"_target_": "SegResNetDS", "init_filters": 4, "blocks_down": [1, 1, 1], "dsdepth": 2},
        "resample_resolution": [0.78125] * 3,
        "roi_size": [64, 64, 64],
        "intensity_bounds": [-45.0, 190.0],
    }
    torch.save({"state_dict": tensors, "config": config}, tmp_path / "model.pt")
    card = convert_published(tmp_path / "model.pt", tmp_path / "ours", SegmentationSettings(), None)
    assert (card.spacing_mm, card.patch_voxels, card.intensity_hu) == (0.78125, 64, (-45.0, 190.0))
    assert card.network == settings.network


def test_each_key_is_missed_by_name() -> None:
    settings, tensors = published(blocks_down=(1, 1), dsdepth=1)
    network = build_network(settings.network)
    for key in tensors:
        without = {name: value for name, value in tensors.items() if name != key}
        with pytest.raises(UserError, match=f"'{key}' is missing") as missing:
            load_weights(network, without, Path("model.pt"))
        assert "not known" not in str(missing.value)
        with pytest.raises(UserError, match=f"'{key}' is missing, '{key}.old' is not known"):
            load_weights(network, {**without, f"{key}.old": tensors[key]}, Path("model.pt"))
        with pytest.raises(UserError, match=f"'{key}' has shape 7 instead of"):
            load_weights(network, {**tensors, key: torch.zeros(7)}, Path("model.pt"))
    with pytest.raises(UserError, match=f"and {len(tensors) + 1 - 4} more"):
        load_weights(network, {"x": torch.zeros(1)}, Path("model.pt"))


class Evil:
    def __reduce__(self) -> tuple:
        return (print, ("executed",))


def test_files_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    settings, tensors = published(blocks_down=(1, 1), dsdepth=1)
    path = tmp_path / "model.pt"
    torch.save({"state_dict": tensors, "hook": Evil()}, path)
    with pytest.raises(UserError, match="more than tensors and plain values"):
        convert_published(path, tmp_path / "ours", settings, BOUNDS)
    assert "executed" not in capsys.readouterr().out
    torch.save(tensors, path)
    with pytest.raises(UserError, match="--hu-low"):
        convert_published(path, tmp_path / "ours", settings, None)
    with pytest.raises(UserError, match="is missing"):
        convert_published(path, tmp_path / "ours", published()[0], BOUNDS)
    torch.save({"a": "text"}, path)
    with pytest.raises(UserError, match="holds 'a', no tensor"):
        convert_published(path, tmp_path / "ours", settings, BOUNDS)
    path.write_bytes(b"not torch")
    with pytest.raises(UserError, match=r"cannot be read|more than tensors"):
        convert_published(path, tmp_path / "ours", settings, BOUNDS)
    assert not (tmp_path / "ours").exists()


def test_a_model_on_disk(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, CARD}
    assert model.card.weights_sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert not model.network.training
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 255
    (folder / WEIGHTS).write_bytes(bytes(content))
    with pytest.raises(UserError, match="not those of the model's card"):
        load_model(folder)
    with pytest.raises(UserError, match=r"no model.json"):
        load_model(tmp_path)
    with pytest.raises(UserError, match="device 'gpu' is not available"):
        device_of("gpu")


def test_settings_that_do_not_fit_are_refused() -> None:
    for change, sentence in (
        ({"patch_voxels": 100}, "multiple of the network's 16"),
        ({"fold": 5}, "below folds"),
        ({"network": {"dsdepth": 9}}, "4 levels"),
        ({"spacing": 1.0}, "spacing_mm"),
    ):
        with pytest.raises(UserError, match=sentence):
            SegmentationSettings.from_mapping(change, "segment.yaml")
