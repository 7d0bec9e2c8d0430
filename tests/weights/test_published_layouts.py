"""Every encoder's full list of names and shapes against the published files, and what is refused by name."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparra.errors import UserError
from sparra.networks.resnet3d import ResNet3d
from sparra.networks.swin import SwinTransformer
from sparra.networks.vision_transformer import ClassToken, ClassTokenAndMean
from sparra.networks.volume_transformer import VolumeTransformer
from sparra.pathology.encoders import chief, conch, gigapath, h_optimus, hipt, phikon, slide_encoders, uni, virchow
from sparra.radiology.encoders import ct_encoders
from sparra.radiology.encoders.m3d_clip import M3D_LAYOUT, m3d_clip_network
from sparra.radiology.encoders.renalclip import RENALCLIP_LAYOUT
from sparra.radiology.encoders.segvol import SEGVOL_LAYOUT
from sparra.weights.layout import Layout, check_state

from .published import conch_v15, files, on_meta

PLAIN = Layout()
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Layout]] = {
    "hipt": (lambda: ClassToken(hipt.TILE_SHAPE), hipt.HIPT_LAYOUT),
    "hipt-4k": (hipt.RegionTransformer, hipt.HIPT_LAYOUT),
    "uni": (lambda: ClassToken(uni.UNI_SHAPE), PLAIN),
    "uni2-h": (lambda: ClassToken(uni.UNI2_SHAPE), PLAIN),
    "conch": (lambda: conch.conch_tower(conch.CONCH_SHAPE, conch.CONCH_WIDTH), conch.CONCH_LAYOUT),
    "conch-v1.5": (
        lambda: conch.conch_v15_tower(conch.CONCH_V15_SHAPE, conch.CONCH_V15_WIDTH),
        conch.CONCH_V15_LAYOUT,
    ),
    "chief": (SwinTransformer, chief.TILE_LAYOUT),
    "chief-slide": (chief.SlideAttention, chief.SLIDE_LAYOUT),
    "virchow2": (lambda: ClassTokenAndMean(virchow.SHAPE), PLAIN),
    "h-optimus-1": (lambda: ClassToken(h_optimus.SHAPE), PLAIN),
    "prov-gigapath": (lambda: ClassToken(gigapath.SHAPE), PLAIN),
    "phikon-v2": (lambda: ClassToken(phikon.SHAPE), phikon.LAYOUT),
    "segvol": (VolumeTransformer, SEGVOL_LAYOUT),
    "m3d-clip": (m3d_clip_network, M3D_LAYOUT),
    "renalclip": (ResNet3d, RENALCLIP_LAYOUT),
}
#: Parameters of the encoder: timm 1.0.31, MONAI 1.6.1 or the publisher's code built at full size.
PARAMETERS = {
    "hipt": 21_665_664,
    "uni": 303_350_784,
    "uni2-h": 681_394_176,
    "virchow2": 631_239_424,
    "h-optimus-1": 1_134_774_272,
    "prov-gigapath": 1_134_953_984,
    "renalclip": 32_986_176,
}


@cache
def expected(key: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in NETWORKS[key][0]().state_dict().items()}


def load(key: str, content: dict[str, Any]) -> dict[str, Tensor]:
    state = NETWORKS[key][1].tensors_in(content, "file")
    check_state(expected(key), state, key, "file")
    return state


def tensors(content: dict[str, Any]) -> dict[str, Tensor]:
    """The table of tensors in a published file, to be changed in place."""
    for container in ("teacher", "model", "state_dict"):
        content = content.get(container, content)
    return content


def test_every_published_file_of_the_registries_is_here() -> None:
    entries = [ct_encoders[name] for name in ct_encoders] + [slide_encoders[name] for name in slide_encoders]
    keys = {file.key for entry in entries for file in entry.card.files}
    assert keys == set(NETWORKS) == set(files())


@pytest.mark.parametrize("key", NETWORKS)
def test_the_published_file_loads_strictly(key: str) -> None:
    state = load(key, files()[key])
    assert set(state) == set(expected(key))
    if key in PARAMETERS:
        learnt = [name for name in expected(key) if "running_" not in name and "num_batches" not in name]
        assert sum(expected(key)[name].numel() for name in learnt) == PARAMETERS[key]


@pytest.mark.parametrize("key", NETWORKS)
@pytest.mark.parametrize("fault", ["missing", "renamed", "misshaped", "unknown"])
def test_a_faulty_file_is_refused_by_name(key: str, fault: str) -> None:
    content = files()[key]
    table = tensors(content)
    # The last weight that the encoder needs, under the file's own name.
    needed = set(NETWORKS[key][1].tensors_in(dict(table), "file"))
    names = [name for name in table if any(name.endswith(own) for own in needed if own.count(".") > 1)]
    name = names[-1] if names else "layernorm.weight"
    if fault in ("missing", "renamed", "misshaped"):
        tensor = table.pop(name)
    if fault == "renamed":
        table[f"{name}s"] = tensor
    elif fault == "misshaped":
        table[name] = torch.empty((7, *tensor.shape), device="meta")
    elif fault == "unknown":
        name = name + "_2"
        table[name] = torch.empty(3, device="meta")
    with pytest.raises(UserError) as error:
        load(key, content)
    assert name.rsplit(".", 1)[-1] in str(error.value)
    assert f"not the weights of '{key}'" in str(error.value)
    words = {"missing": "lacks", "renamed": "should be", "misshaped": "(7,", "unknown": "unknown"}
    assert words[fault] in str(error.value)


@pytest.mark.parametrize("key", NETWORKS)
def test_the_file_of_another_encoder_is_refused(key: str) -> None:
    alike = {"hipt", "hipt-4k"}
    for other, content in files().items():
        if other != key and {key, other} != alike:
            with pytest.raises(UserError, match=f"not the weights of '{key}'|its tensors lie under"):
                load(key, content)


def test_conch_v15_takes_positions_of_either_size() -> None:
    for positions in (197, 785):
        assert load("conch-v1.5", dict(on_meta(conch_v15(positions))))["trunk.pos_embed"].shape == (1, 197, 1024)
    with pytest.raises(UserError, match=r"trunk\.pos_embed"):
        load("conch-v1.5", dict(on_meta(conch_v15(200))))


def test_blocks_that_newer_monai_adds_are_left_out() -> None:
    content = files()["segvol"]
    for i in range(12):
        name = f"model.encoder.blocks.{i}.norm_cross_attn.weight"
        content["state_dict"][name] = torch.empty(768, device="meta")
    load("segvol", content)
