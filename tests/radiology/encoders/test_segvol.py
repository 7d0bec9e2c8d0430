"""SegVol in the CT stage: small random weights in the published layout, never a result."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from sparra.errors import UserError
from sparra.files import sha256_of
from sparra.networks.volume_transformer import VolumeTransformer
from sparra.radiology.encoders import ct_encoders, segvol
from sparra.radiology.encoders.region import CtRegion
from sparra.radiology.encoders.segvol import SegVolEncoder, SegVolOptions, enlarged
from sparra.radiology.extract import extract_ct
from sparra.radiology.geometry import Grid
from sparra.radiology.settings import CtSettings
from sparra.weights import LoadedNetwork

from ..conftest import rotation

SIZE, PATCH = (8, 16, 16), (2, 4, 4)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARRA_WEIGHTS", raising=False)


class PatchMeans(VolumeTransformer):
    """Gives each patch's mean: what a row stands for can be read off its feature."""

    def __init__(self) -> None:
        super().__init__(SIZE, PATCH, 8, 8, 1, 1)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        return self.patch_embedding.patch_embeddings[0](volumes).mean(dim=2, keepdim=True)


def encoder(**options: object) -> SegVolEncoder:
    loaded = LoadedNetwork(PatchMeans(), torch.device("cpu"), torch.float32, {})
    return SegVolEncoder(loaded, SegVolOptions.model_validate(options))


@pytest.fixture
def as_encoder(monkeypatch: pytest.MonkeyPatch) -> Callable[..., CtSettings]:
    """Settings of a study in which SegVol's network gives patch means."""
    monkeypatch.setattr(ct_encoders, "_entries", dict(ct_encoders._entries))
    entry = ct_encoders["segvol"]

    def settings(**options: object) -> CtSettings:
        ct_encoders._entries["segvol"] = type(entry)(entry.card, entry.settings, lambda o: encoder(**o.model_dump()))
        return CtSettings(spacing_mm=1.0, encoder="segvol", encoder_options=options)

    return settings


def scan_of(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, Grid]:
    """A ramp along the patient's axes, with room for a window around the tumour, stored along `direction`."""
    grid = Grid((40, 44, 36), (1.0, 1.0, 1.0), (-20.0, 31.0, 7.0), direction)
    positions = grid.to_mm(np.moveaxis(np.indices((36, 44, 40))[::-1], 0, -1))
    middle = grid.to_mm([20, 22, 18])
    hu = 50 + (positions - middle) @ np.array([2.0, -3.0, 5.0])
    mask = np.zeros(hu.shape, np.uint8)
    mask[15:22, 18:27, 14:25] = 1
    return np.rint(hu).astype(np.float32), mask, grid


TURNS = {"straight": np.eye(3), "mirrored": np.diag([-1.0, 1, -1]), "sagittal": rotation(0.05, 0, 0)[:, [1, 2, 0]]}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("tokens", ["patch", "voxel"])
def test_rows_lie_where_their_voxels_are(
    turn: str, tokens: str, as_encoder: Callable[..., CtSettings], write_pair: Callable
) -> None:
    hu, mask, grid = scan_of(TURNS[turn])
    pair = write_pair(hu, mask, grid)
    bag, preview = extract_ct(pair.image, pair.mask, 1, as_encoder(tokens=tokens))
    low, high = segvol.foreground_window(hu)
    inside = (bag.features[:, 0] > 0.02) & (bag.features[:, 0] < 0.98)
    assert inside.sum() >= 8  # below the foreground it is black
    middle = grid.to_mm([20, 22, 18])
    expected = 50 + (bag.positions - middle) @ np.array([2.0, -3.0, 5.0])
    found = low + (high - low) * bag.features[:, 0]
    np.testing.assert_allclose(found[inside], expected[inside], atol=2.0)
    # Patches of 2 x 4 x 4 voxels: two along the patient's height, however the scan is stored.
    height = np.argmax(np.abs(grid.direction[2]))
    lengths = [1.0] * 3 if tokens == "voxel" else [2.0 if axis == height else 4.0 for axis in range(3)]
    np.testing.assert_allclose(bag.patch_size, lengths)
    assert (bag.extras["tumour_fraction"] >= 0.25).all()
    assert preview.mask is not None
    assert preview.mask.sum() == pytest.approx(7 * 9 * 11, rel=0.1)
    assert max(preview.pixels.shape) <= 11 + 2 * 8 + 2


def test_every_tumour_voxel_is_a_row_and_the_box_has_its_margin(
    as_encoder: Callable[..., CtSettings], write_pair: Callable
) -> None:
    hu, mask, grid = scan_of(np.eye(3))
    pair = write_pair(hu, mask, grid)
    rows, _ = extract_ct(pair.image, pair.mask, 1, as_encoder(tokens="voxel"))
    assert len(rows) == mask.sum()
    box, _ = extract_ct(pair.image, pair.mask, 1, as_encoder(tokens="voxel", keep="box"))
    assert len(box) == (7 + 8) * (9 + 16) * (11 + 16)
    expected = grid.to_mm(np.argwhere(mask)[:, ::-1])
    assert {tuple(p) for p in rows.positions.round(3)} == {tuple(p) for p in expected.round(3)}


def test_a_tumour_smaller_than_a_patch_keeps_the_best_one(
    as_encoder: Callable[..., CtSettings], write_pair: Callable
) -> None:
    hu, mask, grid = scan_of(np.eye(3))
    mask[:] = 0
    mask[17:19, 20:22, 20:23] = 1
    pair = write_pair(hu, mask, grid)
    settings = as_encoder().model_copy(update={"minimum_volume_mm3": 1.0, "minimum_tumour_fraction": 1.0})
    bag, _ = extract_ct(pair.image, pair.mask, 1, settings)
    assert len(bag) == 1
    assert np.linalg.norm(bag.positions[0] - grid.to_mm([21, 20.5, 17.5])) < 3


def test_beyond_the_scan_it_is_black(as_encoder: Callable[..., CtSettings], write_pair: Callable) -> None:
    """A scan smaller than a window: what the network sees around it is 0, not the scan's edge repeated."""
    seen: list[torch.Tensor] = []
    grid = Grid((12, 12, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    hu = np.random.default_rng(0).integers(0, 100, (6, 12, 12)).astype(np.float32)
    mask = np.zeros(hu.shape, np.uint8)
    mask[1:5, 2:10, 2:10] = 1
    settings = as_encoder(margin_voxels=(0, 0, 0))
    build = ct_encoders["segvol"].build

    def spying(options: object) -> SegVolEncoder:
        made: SegVolEncoder = build(options)
        made.loaded.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        return made

    entry = ct_encoders["segvol"]
    ct_encoders._entries["segvol"] = type(entry)(entry.card, entry.settings, spying)
    pair = write_pair(hu, mask, grid)
    extract_ct(pair.image, pair.mask, 1, settings)
    (window,) = seen
    assert window.shape == (1, 1, *SIZE)
    assert window[0, 0, 0].sum() == 0
    assert (window[0, 0, :, :2].sum(), window[0, 0, :, :, :2].sum()) == (0, 0)
    assert window[0, 0, 1:7, 2:14, 2:14].mean() > 0.2


def test_enlarging_a_window_equals_enlarging_the_whole() -> None:
    image = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    whole = functional.interpolate(torch.from_numpy(image)[None, None], scale_factor=(4, 3, 2), mode="trilinear")
    part = enlarged(image, (1, 2, 3), (3, 2, 4), (4, 3, 2))
    np.testing.assert_allclose(part, whole[0, 0, 4:16, 6:12, 6:14].numpy(), atol=1e-6)


def small_network() -> VolumeTransformer:
    return VolumeTransformer(SIZE, PATCH, 24, 32, 2, 3)


def published_file(path: Path, network: VolumeTransformer) -> Path:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    state = {f"model.encoder.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state | {"model.decoder.w": torch.zeros(2)}, "epoch": 2000}, path)
    return path


def test_the_published_layout_runs_in_the_ct_stage(
    tmp_path: Path, write_pair: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segvol, "segvol_network", small_network)
    network = small_network()
    path = published_file(tmp_path / "ViT_pretrain.ckpt", network)
    hu, mask, grid = scan_of(np.diag([-1.0, -1, 1]))  # stored along R, A, S, so that nothing is turned
    pair = write_pair(hu, mask, grid)
    options = {"weights": str(path), "device": "cpu", "keep": "box", "margin_voxels": (0, 0, 0)}
    settings = CtSettings(spacing_mm=1.0, encoder="segvol", encoder_options=options)
    bag, _ = extract_ct(pair.image, pair.mask, 1, settings)
    assert bag.features.shape[1] == 24
    assert bag.provenance["weights"]["sha256"] == sha256_of(path)
    # The tumour is 7 x 9 x 11 voxels: one window, with the tumour in its middle.
    low, high = segvol.foreground_window(hu)
    window = ((hu[14:22, 14:30, 11:27].clip(low, high) - low) / (high - low))[None, None]
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(window))[0].numpy()
    distance = np.abs(expected[:, None] - bag.features[None]).max(axis=2)
    assert (distance.min(axis=0) < 1e-3).all()


def test_voxel_tokens_equal_the_papers_enlarged_region_and_sliding_window() -> None:
    """The region enlarged as a whole, windows in voxels of it, averaged in one array (as MONAI's inferer does)."""
    network = small_network()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    hu = np.random.default_rng(0).integers(-200, 300, (20, 22, 24)).astype(np.float32)
    mask = np.zeros(hu.shape, bool)
    mask[4:13, 3:14, 5:18] = True
    grid = Grid((24, 22, 20), (1.0,) * 3, (0.0,) * 3, np.diag([-1.0, -1, 1]))
    loaded = LoadedNetwork(network.eval(), torch.device("cpu"), torch.float32, {})
    options = SegVolOptions(tokens="voxel", keep="box", margin_voxels=(0, 0, 0))
    rows = SegVolEncoder(loaded, options).encode_region(CtRegion(hu, mask, np.ones_like(mask), grid, hu, 0.25))
    low, high = segvol.foreground_window(hu)
    region = torch.from_numpy(((hu.clip(low, high) - low) / (high - low))[4:13, 3:14, 5:18])[None, None]
    large = functional.interpolate(region, scale_factor=PATCH, mode="trilinear")
    total, count = torch.zeros(9, 11, 13, 24), torch.zeros(9, 11, 13, 1)
    starts = []
    for length, window in zip(large.shape[2:], SIZE, strict=True):
        step = int(window * 0.75)
        starts.append([min(i * step, length - window) for i in range(-(-(length - window) // step) + 1)])
    for corner in product(*starts):
        part = large[(slice(None), slice(None), *(slice(c, c + n) for c, n in zip(corner, SIZE, strict=True)))]
        with torch.inference_mode():
            tokens = network(part).reshape(4, 4, 4, 24)
        place = tuple(slice(c // p, c // p + 4) for c, p in zip(corner, PATCH, strict=True))
        total[place] += tokens
        count[place] += 1
    np.testing.assert_allclose(rows.features, (total / count).reshape(-1, 24).numpy(), atol=1e-5)


def test_missing_weights_are_said_before_anything_is_read(write_pair: Callable) -> None:
    hu, mask, grid = scan_of(np.eye(3))
    pair = write_pair(hu, mask, grid)
    with pytest.raises(UserError, match=r"weights of 'segvol' are not on this machine.*ViT_pretrain\.ckpt"):
        extract_ct(pair.image, pair.mask, 1, CtSettings(encoder="segvol"))
