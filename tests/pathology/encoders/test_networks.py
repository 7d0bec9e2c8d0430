"""Encoders with a network in the slide stage: random weights in the published layout, never a result."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sparra.errors import UserError
from sparra.files import sha256_of
from sparra.networks.swin import SwinTransformer
from sparra.networks.vision_transformer import ClassToken, ClassTokenAndMean, VitShape
from sparra.pathology.encoders import conch, gigapath, h_optimus, phikon, slide_encoders, uni, virchow
from sparra.pathology.encoders.chief import SlideAttention
from sparra.pathology.encoders.hipt import TILE_SHAPE, RegionTransformer
from sparra.pathology.encoders.network import HALF, IMAGENET, TileNetwork, TileTransform
from sparra.pathology.extract import extract_slide
from sparra.pathology.settings import SlideSettings
from sparra.weights import LoadedNetwork

PaintTissue = Callable[..., tuple[np.ndarray, np.ndarray]]
WriteSlide = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRA_CACHE", str(tmp_path_factory.getbasetemp() / "weights-cache"))
    monkeypatch.delenv("SPARRA_WEIGHTS", raising=False)


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 10
        parameter.data.normal_(0, fan_in**-0.5, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full-size random HIPT and CHIEF in their published layouts."""
    folder = tmp_path_factory.mktemp("weights")
    tiles = {f"module.backbone.{n}": t for n, t in randomised(ClassToken(TILE_SHAPE)).state_dict().items()}
    torch.save({"teacher": tiles | {"module.head.mlp.0.bias": torch.zeros(3)}}, folder / "vit256_small_dino.pth")
    torch.save({"teacher": randomised(RegionTransformer()).state_dict()}, folder / "vit4k_xs_dino.pth")
    torch.save({"model": randomised(SwinTransformer()).state_dict()}, folder / "CHIEF_CTransPath.pth")
    attention = randomised(SlideAttention()).state_dict()
    torch.save(attention | {"organ_embedding": torch.zeros(19, 768)}, folder / "CHIEF_pretraining.pth")
    return folder


@pytest.fixture(scope="module")
def scene(paint_tissue: PaintTissue) -> np.ndarray:
    return paint_tissue(320, 300, 0.5, 1500, tissue_um=(8.0, 8.0, 312.0, 292.0))[0]


def settings(encoder: str, weights: Path, **changes: object) -> SlideSettings:
    options = {"weights": str(weights), "check_sha256": False, "device": "cpu"}
    options |= changes.pop("options", {})  # type: ignore[call-overload]
    values = {"minimum_tissue": 0.9, "encoder": encoder, "encoder_options": options} | changes
    return SlideSettings.model_validate(values)


def read_tile(scene: np.ndarray, centre_um: np.ndarray, side: int, mpp: float = 0.5) -> np.ndarray:
    x, y = np.rint(centre_um / mpp - side / 2).astype(int)
    return scene[y : y + side, x : x + side]


def test_hipt_gives_the_class_token_of_each_tile(write_slide: WriteSlide, scene: np.ndarray, weights: Path) -> None:
    bag, _ = extract_slide(write_slide(scene, 0.5, 1), None, settings("hipt", weights))
    local, _ = extract_slide(write_slide(scene, 0.5, 1), None, SlideSettings(minimum_tissue=0.9))
    assert bag.features.shape == (len(local), 384)
    assert np.array_equal(bag.positions, local.positions)
    assert bag.feature_names == ()
    used = bag.provenance["weights"]
    assert used["sha256"] == sha256_of(weights / "vit256_small_dino.pth")
    assert used["key"] == "hipt"
    assert bag.provenance["encoder"]["overlap"].startswith("Pre-trained on TCGA")
    json.dumps(dict(bag.provenance), allow_nan=False)
    tile = read_tile(scene, bag.positions[1], 256)
    image = torch.from_numpy(tile.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = randomised(ClassToken(TILE_SHAPE))(image)[0].numpy()
    np.testing.assert_allclose(bag.features[1], expected, atol=2e-4)


def test_regions_are_read_as_a_grid_of_tiles(write_slide: WriteSlide, scene: np.ndarray, weights: Path) -> None:
    regions = settings(
        "hipt-4k",
        weights,
        tile_um=256,
        batch_size=1,
        minimum_tissue=0.5,
        options={"allow_untrained": True, "region_weights": str(weights), "weights": str(weights)},
    )
    bag, _ = extract_slide(write_slide(scene, 0.5, 1), None, regions)
    assert bag.features.shape[1] == 192
    assert bag.provenance["weights"]["regions"]["key"] == "hipt-4k"
    region = read_tile(scene, bag.positions[0], 512)
    tiles = [region[256 * r : 256 * r + 256, 256 * c : 256 * c + 256] for r in (0, 1) for c in (0, 1)]
    images = torch.from_numpy(np.stack(tiles).astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.inference_mode():
        grid = randomised(ClassToken(TILE_SHAPE))(images).reshape(1, 2, 2, 384)
        expected = randomised(RegionTransformer())(grid)[0].numpy()
    np.testing.assert_allclose(bag.features[0], expected, atol=2e-4)


def test_chief_weighs_the_tiles_of_a_slide_to_one_row(
    write_slide: WriteSlide, scene: np.ndarray, weights: Path
) -> None:
    path = write_slide(scene, 0.5, 1)
    allowed = {"allow_untrained": True}  # tiles at 20x, as in the paper
    tiles, _ = extract_slide(path, None, settings("chief", weights, tile_um=112, options=allowed))
    options = allowed | {"slide_weights": str(weights)}
    slide, _ = extract_slide(path, None, settings("chief-slide", weights, tile_um=112, options=options))
    assert tiles.features.shape[1] == 768
    assert slide.features.shape == (1, 768)
    np.testing.assert_allclose(slide.positions[0], tiles.positions.mean(axis=0))
    rows = torch.from_numpy(np.asarray(tiles.features))
    attention = randomised(SlideAttention()).attention_net(rows).softmax(dim=0)
    np.testing.assert_allclose(slide.features[0], (attention * rows).sum(dim=0).detach().numpy(), atol=1e-4)


OWN_COLOURS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
NATURAL = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC

#: Of each publisher: the attribute that holds the network's shape, its output width for a trunk of 48, the tile, the
#: side and filter it is resampled with, the side that is kept, and the colours.
LARGE: dict[str, tuple[object, str, int, int, int, object, int, tuple]] = {
    "uni": (uni, "UNI_SHAPE", 48, 256, 224, BILINEAR, 224, NATURAL),
    "uni2-h": (uni, "UNI2_SHAPE", 48, 256, 224, BILINEAR, 224, NATURAL),
    "conch": (conch, "CONCH_SHAPE", 64, 256, 448, BICUBIC, 448, CLIP),
    "conch-v1.5": (conch, "CONCH_V15_SHAPE", 64, 512, 448, BILINEAR, 448, NATURAL),
    "virchow2": (virchow, "SHAPE", 96, 224, 224, BICUBIC, 224, NATURAL),
    "h-optimus-1": (h_optimus, "SHAPE", 48, 224, 224, BICUBIC, 224, OWN_COLOURS),
    "prov-gigapath": (gigapath, "SHAPE", 48, 256, 256, BICUBIC, 224, NATURAL),
}


def small_network(name: str, shape: VitShape) -> nn.Module:
    if name == "conch":
        return conch.conch_tower(shape, 64)
    if name == "conch-v1.5":
        return conch.conch_v15_tower(shape, 64)
    return ClassTokenAndMean(shape) if name == "virchow2" else ClassToken(shape)


@pytest.mark.parametrize("name", LARGE)
def test_large_encoders_run_with_a_small_network_and_their_publishers_transform(
    name: str, write_slide: WriteSlide, scene: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, attribute, width, tile_px, resized, kernel, kept, (mean, deviation) = LARGE[name]
    small = replace(getattr(module, attribute), width=48, depth=2, heads=3, hidden=64)
    monkeypatch.setattr(module, attribute, small)
    for size in ("CONCH_WIDTH", "CONCH_V15_WIDTH"):
        monkeypatch.setattr(conch, size, 64)
    network = randomised(small_network(name, small))
    prefix = "visual." if name == "conch" else ""
    path = tmp_path / "weights.bin"
    torch.save({prefix + key: tensor for key, tensor in network.state_dict().items()}, path)
    bag, _ = extract_slide(
        write_slide(scene, 0.5, 1),
        None,
        settings(name, path, tile_um=tile_px / 2, batch_size=5, minimum_tissue=0.7),
    )
    assert bag.features.shape[1] == width
    assert bag.provenance["weights"]["sha256"] == sha256_of(path)
    tile = Image.fromarray(read_tile(scene, bag.positions[0], tile_px)).resize((resized, resized), kernel)  # type: ignore[arg-type]
    margin = (resized - kept) // 2
    pixels = np.asarray(tile)[margin : margin + kept, margin : margin + kept].astype(np.float32) / 255
    image = torch.from_numpy((pixels - np.float32(mean)) / np.float32(deviation)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network(image)[0].numpy()
    np.testing.assert_allclose(bag.features[0], expected, atol=1e-4)


def test_phikon_loads_the_layout_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = VitShape(224, 16, 48, 1, 3, 96, scaled=True)
    monkeypatch.setattr(phikon, "SHAPE", small)
    network = randomised(ClassToken(small))
    state = network.state_dict()
    query, key, value = state.pop("blocks.0.attn.qkv.weight").chunk(3)
    query_bias, key_bias, value_bias = state.pop("blocks.0.attn.qkv.bias").chunk(3)
    published = {"embeddings.mask_token": torch.zeros(1, 48)}
    for part, weight, bias in (("query", query, query_bias), ("key", key, key_bias), ("value", value, value_bias)):
        published |= {f"encoder.layer.0.attention.attention.{part}.weight": weight.clone()}
        published |= {f"encoder.layer.0.attention.attention.{part}.bias": bias.clone()}
    names = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "blocks.0.attn.proj": "encoder.layer.0.attention.output.dense",
        "blocks.0.ls1.gamma": "encoder.layer.0.layer_scale1.lambda1",
        "blocks.0.ls2.gamma": "encoder.layer.0.layer_scale2.lambda1",
        "blocks.0": "encoder.layer.0",
        "norm": "layernorm",
    }
    for name, tensor in state.items():
        old = next(old for old in names if name.startswith(old))
        published[names[old] + name.removeprefix(old)] = tensor
    torch.save(published, tmp_path / "model.pth")
    encoder = slide_encoders["phikon-v2"].build(settings("phikon-v2", tmp_path / "model.pth", tile_um=112))
    tiles = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = network(TileTransform(IMAGENET)(tiles)).numpy()
    np.testing.assert_allclose(encoder.encode(tiles, 0.5), expected, atol=1e-5)


def test_a_resolution_that_was_not_trained_for_is_refused_unless_allowed(weights: Path) -> None:
    entry = slide_encoders["hipt"]
    for mpp in (0.25, 1.0):
        with pytest.raises(UserError, match=rf"not trained at {mpp:g} µm.*but at 0\.5.*allow_untrained"):
            entry.build(settings("hipt", weights, mpp=mpp))
    with pytest.raises(UserError, match=r"tiles of 256 pixels, not 200.*'tile_um' to 128"):
        entry.build(settings("hipt", weights, tile_um=100))
    entry.build(settings("hipt", weights, mpp=0.4872, tile_um=0.4872 * 256))
    entry.build(settings("hipt", weights, mpp=1.0, options={"allow_untrained": True}))
    for side_px in (100, 300):
        region = settings("hipt-4k", weights, tile_um=side_px * 0.5, options={"allow_untrained": True})
        with pytest.raises(UserError, match=rf"tiles of 256 pixels, and {side_px} are no multiple"):
            slide_encoders["hipt-4k"].require(region)


def test_missing_weights_and_unknown_options_are_one_sentence(write_slide: WriteSlide, scene: np.ndarray) -> None:
    path = write_slide(scene, 0.5, 1)
    with pytest.raises(UserError, match="weights of 'uni' are not on this machine") as error:
        extract_slide(path, None, SlideSettings(encoder="uni"))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"unknown key 'wieghts'. Did you mean 'weights'"):
        extract_slide(path, None, SlideSettings(encoder="uni", encoder_options={"wieghts": "a"}))
    with pytest.raises(UserError, match="unknown key 'weights'"):
        extract_slide(path, None, SlideSettings(encoder_options={"weights": "a"}))


def test_transform_is_pillows_resampling_a_middle_crop_and_a_normalisation() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    images = TileTransform(IMAGENET, 40, "bicubic", 32)(tiles)
    small = np.asarray(Image.fromarray(tiles[1]).resize((40, 40), Image.Resampling.BICUBIC))[4:36, 4:36]
    for channel, (mean, deviation) in enumerate(zip(*IMAGENET, strict=True)):
        expected = (small[..., channel] / 255 - mean) / deviation
        np.testing.assert_allclose(images[1, channel].numpy(), expected, atol=1e-6)
    untouched = TileTransform(HALF)(tiles)
    np.testing.assert_allclose(untouched.permute(0, 2, 3, 1).numpy(), tiles / 127.5 - 1, atol=1e-6)


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3)) + self.value


def test_features_that_are_no_numbers_are_refused_with_a_mend() -> None:
    loaded = LoadedNetwork(Constant(float("nan")), torch.device("cpu"), torch.float16, {})
    with pytest.raises(UserError, match=r"not finite in float16.*precision: float32"):
        TileNetwork(loaded, TileTransform(HALF), 2).encode(np.zeros((1, 8, 8, 3), np.uint8), 0.5)


def test_a_batch_gives_what_its_tiles_give_singly() -> None:
    tiles = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    network = randomised(ClassToken(VitShape(32, 8, 24, 2, 3, 48)))
    loaded = LoadedNetwork(network, torch.device("cpu"), torch.float32, {})
    whole = TileNetwork(loaded, TileTransform(HALF), 2).encode(tiles, 0.5)
    single = [TileNetwork(loaded, TileTransform(HALF), 64).encode(tile[None], 0.5)[0] for tile in tiles]
    np.testing.assert_allclose(whole, single, atol=1e-6)
