"""The SegResNet of MONAI, and its files: safetensors for the weights, JSON for everything else."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, PositiveFloat
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sparra.errors import UserError
from sparra.files import atomic_path, read_json, sha256_of, write_json
from sparra.segmentation.regions import REGIONS
from sparra.segmentation.settings import InferenceSettings, NetworkSettings
from sparra.settings import Settings

WEIGHTS, CARD = "weights.safetensors", "model.json"
_NAMED = 4  # keys that a message lists


class ModelCard(Settings):
    """All that is needed to apply a network.

    Attributes
    ----------
    format : str
    network : NetworkSettings
    inference : InferenceSettings
    regions : tuple of str
        Names of the output channels.
    spacing_mm : float
        Isotropic voxel size that the network was trained at.
    patch_voxels : int
        Side of the windows.
    intensity_hu : tuple of float
        HU that become -1 and 1 before the sigmoid, see `sparra.segmentation.preprocess`.
    weights_sha256 : str
    origin : dict
        Where the weights come from: training settings and cases, or the file they were converted from.
    """

    format: Literal["sparra-segmentation-1"] = "sparra-segmentation-1"
    network: NetworkSettings
    inference: InferenceSettings
    regions: tuple[str, ...] = tuple(REGIONS)
    spacing_mm: PositiveFloat
    patch_voxels: int
    intensity_hu: tuple[float, float]
    weights_sha256: str = ""
    origin: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A network ready to be applied.

    Attributes
    ----------
    network : nn.Module
        In evaluation mode.
    card : ModelCard
    """

    network: nn.Module
    card: ModelCard


def build_network(settings: NetworkSettings) -> nn.Module:
    """Build the network with random weights, one input channel and one output channel a region.

    Raises
    ------
    UserError
        If MONAI is not installed.
    """
    try:
        from monai.networks.nets import SegResNet, SegResNetDS
    except ImportError:
        raise UserError("segmentation needs MONAI", mend="Install it with: pip install 'sparra[segment]'") from None
    common = {"init_filters": settings.init_filters, "in_channels": 1, "out_channels": len(REGIONS)}
    norm = ("group", {"num_groups": 8}) if settings.norm == "group" else settings.norm
    network: nn.Module
    if settings.kind == "SegResNetDS":
        network = SegResNetDS(**common, norm=norm, blocks_down=settings.blocks_down, dsdepth=settings.dsdepth)
    else:
        up = (1,) * (len(settings.blocks_down) - 1)
        network = SegResNet(**common, norm=norm, blocks_down=settings.blocks_down, blocks_up=up)
    return network


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Load weights strictly.

    Raises
    ------
    UserError
        Naming the keys that are missing, not known, or of another shape.
    """
    wanted = network.state_dict()
    missing = [f"'{key}' is missing" for key in wanted if key not in tensors]
    unknown = [f"'{key}' is not known" for key in tensors if key not in wanted]
    shaped = [
        f"'{key}' has shape {_shape(tensors[key])} instead of {_shape(value)}"
        for key, value in wanted.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    # A renamed key is both missing and not known: one of each is named first.
    faults = missing[:1] + unknown[:1] + shaped + missing[1:] + unknown[1:]
    if faults:
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        what = f"the weights do not fit the network: {', '.join(faults[:_NAMED])}{more}"
        raise UserError(what, where, "Give the network's settings that they were trained with")
    network.load_state_dict(dict(tensors))


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def save_model(folder: Path, tensors: Mapping[str, Tensor], card: ModelCard) -> None:
    """Write weights, then the card with their hash."""
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, temporary)
    noted = card.model_copy(update={"weights_sha256": sha256_of(folder / WEIGHTS)})
    write_json(folder / CARD, noted.model_dump(mode="json"))


def load_model(folder: Path, device: str = "auto") -> Model:
    """Load a network that `save_model` has written.

    Raises
    ------
    UserError
        If the folder holds no model, the weights are damaged or are not those that the card was written for.
    """
    path = folder / CARD
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"the folder holds no {CARD} with {WEIGHTS}", folder, "Name the folder of a trained model")
    try:
        card = ModelCard.from_mapping(read_json(path), str(path))
    except ValueError:
        raise UserError("the model's card is no JSON", path, "Copy it again") from None
    if card.regions != tuple(REGIONS):
        raise UserError(f"the model predicts {', '.join(card.regions)}, not {', '.join(REGIONS)}", path)
    if sha256_of(folder / WEIGHTS) != card.weights_sha256:
        raise UserError("the weights are not those of the model's card", folder / WEIGHTS, "Copy both files again")
    network = build_network(card.network)
    try:
        load_weights(network, load_file(folder / WEIGHTS), folder / WEIGHTS)
    except SafetensorError as error:
        raise UserError(f"the weights cannot be read ({error})", folder / WEIGHTS, "Copy them again") from None
    return Model(network.eval().to(device_of(device)), card)


def device_of(name: str) -> torch.device:
    """Return the device of a name; "auto" is the GPU if there is one.

    Raises
    ------
    UserError
        If it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"device '{name}' is not available here", mend="Use auto, cpu or cuda") from None
    return device


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names and values, the same whatever file they lie in."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(name.encode() + b"\0" + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
