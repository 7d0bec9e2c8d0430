"""Weights as MONAI publishes them: a ``.pt`` with a state dict, opened without pickle and converted once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sparra.errors import UserError
from sparra.files import sha256_of
from sparra.segmentation.network import ModelCard, build_network, load_weights, save_model
from sparra.segmentation.settings import InferenceSettings, NetworkSettings, SegmentationSettings
from sparra.torch_files import NotOnlyTensors, load_tensors

_UNDER = ("state_dict", "model_state_dict", "model")
_PREFIX = "module."  # of a network trained on several GPUs


def convert_published(
    path: Path, folder: Path, settings: SegmentationSettings, intensity_hu: tuple[float, float] | None
) -> ModelCard:
    """Check published weights against the network, key by key, and write them as a model of ours.

    What Auto3DSeg notes beside its weights (``config``: filters, blocks, resolution, intensity bounds) goes
    before `settings`.

    Parameters
    ----------
    path : Path
        ``model.pt``: a state dict of SegResNetDS or SegResNet, or a mapping that holds one.
    folder : Path
        Where to write.
    settings : SegmentationSettings
        Network, spacing and window of the training.
    intensity_hu : tuple of float or None
        HU that were mapped to -1 and 1; needed where the file does not note them.

    Raises
    ------
    UserError
        If the file cannot be opened safely, a key is missing, unknown or of another shape (each named), or the
        intensity bounds are known to nobody.
    """
    content = _open(path)
    tensors = _state_dict(content, path)
    config = content.get("config") if isinstance(content.get("config"), dict) else None
    noted = _noted(config or {}, path)
    bounds = intensity_hu or noted.get("intensity_hu")
    if bounds is None:
        raise UserError(
            "the file does not say which HU its network was trained on", path, "Give them with --hu-low and --hu-high"
        )
    network_settings = NetworkSettings.from_mapping(
        {**settings.network.model_dump(), **noted.get("network", {})}, str(path)
    )
    load_weights(build_network(network_settings), tensors, path)
    card = ModelCard(
        network=network_settings,
        inference=InferenceSettings(**settings.inference.model_dump()),
        spacing_mm=noted.get("spacing_mm", settings.spacing_mm),
        patch_voxels=noted.get("patch_voxels", settings.patch_voxels),
        intensity_hu=(float(bounds[0]), float(bounds[1])),
        origin={"converted_from": path.name, "sha256": sha256_of(path)},
    )
    save_model(folder, tensors, card)
    return card


def _open(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError("no such file", path)
    try:
        content = load_tensors(path)
    except UserError:
        raise
    except Exception as error:  # On damage torch lets through whatever its parsers raise.
        words = str(error).lower()
        unsafe = isinstance(error, NotOnlyTensors) and ("weights_only" in words or "unsupported" in words)
        what = "the file holds more than tensors and plain values" if unsafe else "the file cannot be read"
        raise UserError(what, path, "Export the state dict alone with torch.save(network.state_dict(), path)") from None
    if not isinstance(content, dict):
        raise UserError("the file holds no state dict", path)
    return content


def _state_dict(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    for key in _UNDER:
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    odd = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if odd or not content:
        raise UserError(f"the state dict holds '{odd[0]}', no tensor" if odd else "the state dict is empty", path)
    return {str(key).removeprefix(_PREFIX): value for key, value in content.items()}


def _noted(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Take what Auto3DSeg's configuration says of network, resolution, window and intensity."""
    noted: dict[str, Any] = {}
    network = config.get("network")
    if isinstance(network, dict):
        kind = str(network.get("_target_", "")).rsplit(".", 1)[-1]
        noted["network"] = {key: network[key] for key in ("init_filters", "blocks_down", "dsdepth") if key in network}
        if kind in ("SegResNetDS", "SegResNet"):
            noted["network"]["kind"] = kind
        if isinstance(network.get("norm"), str):
            noted["network"]["norm"] = network["norm"].lower()
    resolution = config.get("resample_resolution")
    if isinstance(resolution, list | tuple) and resolution:
        if max(resolution) - min(resolution) > 1e-3:
            raise UserError(f"the network was trained at {resolution} mm, which is not isotropic", path)
        noted["spacing_mm"] = float(resolution[0])
    size = config.get("roi_size")
    if isinstance(size, list | tuple) and size:
        noted["patch_voxels"] = int(min(size))
    bounds = config.get("intensity_bounds")
    if isinstance(bounds, list | tuple) and len(bounds) == 2:
        noted["intensity_hu"] = (float(bounds[0]), float(bounds[1]))
    return noted
