"""M3D-CLIP and RenalCLIP in the CT stage: random weights in the published layout, never a result."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sparra.networks.resnet3d import ResNet3d
from sparra.networks.volume_transformer import VolumeTransformer
from sparra.radiology.encoders import m3d_clip, renalclip
from sparra.radiology.encoders.m3d_clip import ImageTower
from sparra.radiology.encoders.windows import foreground_window
from sparra.radiology.extract import extract_ct
from sparra.radiology.geometry import Grid
from sparra.radiology.settings import CtSettings

SIZE = (8, 16, 16)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARRA_WEIGHTS", raising=False)


def randomised(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 10
        parameter.data.normal_(0, fan_in**-0.5, generator=generator)
    return network.eval()


@pytest.fixture
def scan() -> tuple[np.ndarray, np.ndarray, Grid]:
    """Soft tissue of no symmetry, in LPS order; the tumour's box and its place are known."""
    grid = Grid((40, 36, 30), (1.0, 1.0, 1.0), (5.0, 6.0, 7.0), np.eye(3))
    hu = np.random.default_rng(0).integers(-200, 300, (30, 36, 40)).astype(np.float32)
    mask = np.zeros(hu.shape, np.uint8)
    mask[10:17, 12:22, 14:26] = 1
    return hu, mask, grid


def small_tower() -> ImageTower:
    return ImageTower(VolumeTransformer(SIZE, (2, 4, 4), 24, 32, 2, 3, class_token=True))


@pytest.mark.parametrize(("intensity", "orientation"), [("soft_tissue", "display"), ("foreground", "ras")])
def test_m3d_clip_gives_one_row_of_length_one(
    intensity: str,
    orientation: str,
    scan: tuple[np.ndarray, np.ndarray, Grid],
    write_pair: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tower = randomised(small_tower())
    torch.save(tower.state_dict() | {"logit_scale": torch.ones(())}, tmp_path / "pytorch_model.bin")
    monkeypatch.setattr(m3d_clip, "m3d_clip_network", small_tower)
    hu, mask, grid = scan
    pair = write_pair(hu, mask, grid)
    options = {"weights": str(tmp_path), "device": "cpu", "intensity": intensity, "orientation": orientation}
    bag, _ = extract_ct(
        pair.image, pair.mask, 1, CtSettings(spacing_mm=1.0, encoder="m3d-clip", encoder_options=options)
    )
    assert bag.features.shape == (1, 24)
    assert np.linalg.norm(bag.features[0]) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(bag.positions[0], grid.to_mm([19.5, 16.5, 13.0]))
    np.testing.assert_allclose(bag.patch_size, (12 + 16, 10 + 16, 7 + 8))
    assert bag.extras["tumour_fraction"][0] == pytest.approx(7 * 10 * 12 / (15 * 26 * 28))
    # The box and its margin of 4, 8, 8 voxels, as slices are displayed or turned by half a circle.
    box = hu[6:21, 4:30, 6:34]
    box = box[:, ::-1, ::-1] if orientation == "ras" else box
    low, high = (-160, 240) if intensity == "soft_tissue" else foreground_window(hu)
    image = torch.from_numpy(((box.clip(low, high) - low) / (high - low)).astype(np.float32))[None, None]
    with torch.inference_mode():
        expected = tower(functional.interpolate(image, SIZE, mode="trilinear"))[0].numpy()
    np.testing.assert_allclose(bag.features[0], expected, atol=1e-5)


def test_renalclip_sees_fourteen_centimetres_around_the_tumour(write_pair: Callable, tmp_path: Path) -> None:
    network = randomised(ResNet3d())
    prefix = "module.image_encoder_q_student."
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    head = {f"{prefix}global_embedding.head.bias": torch.zeros(4)}
    torch.save({"model": state | head}, tmp_path / "acc.pt")
    grid = Grid((180, 170, 90), (1.0, 1.0, 2.0), (5.0, 6.0, 7.0), np.eye(3))
    generator = np.random.default_rng(0)
    hu = np.kron(generator.integers(-200, 300, (9, 17, 18)), np.ones((10, 10, 10))).astype(np.float32)
    mask = np.zeros(hu.shape, np.uint8)
    mask[40:50, 80:90, 85:95] = 1
    pair = write_pair(hu, mask, grid)
    options = {"weights": str(tmp_path / "acc.pt"), "device": "cpu"}
    settings = CtSettings(spacing_mm=2.0, encoder="renalclip", encoder_options=options)
    bag, preview = extract_ct(pair.image, pair.mask, 1, settings)
    assert bag.features.shape == (1, 512)
    np.testing.assert_allclose(bag.patch_size, (140, 140, 160))
    np.testing.assert_allclose(bag.positions[0], grid.to_mm([89.5, 84.5, 44.5]), atol=2.0)
    assert max(preview.pixels.shape) < 20
    assert renalclip.INPUT == (32, 128, 128)
