"""From a published file to a network with its weights, by way of a converted copy in the cache."""

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sparra.errors import UserError
from sparra.files import atomic_path, sha256_of
from sparra.weights.checkpoint import read_checkpoint
from sparra.weights.layout import Layout, check_state
from sparra.weights.options import NetworkOptions
from sparra.weights.source import FoundWeights, WeightsSource, find_weights, how_to_get

CACHE_FOLDER = "SPARRA_CACHE"
_CONVERTED = "sparra_weights"
#: Networks kept in memory, so that a cohort does not load its weights once an image; an encoder has two at most.
_KEPT = 2


@dataclass(frozen=True)
class LoadedNetwork:
    """A network ready to encode, and what the provenance says of it.

    Attributes
    ----------
    network : Module
        In evaluation mode, on its device, without gradients.
    device : torch.device
    precision : torch.dtype
        Of matrix products.
    provenance : mapping
        JSON-ready: key, file, SHA-256 of the published file, where it came from, device and precision.
    """

    network: nn.Module
    device: torch.device
    precision: torch.dtype
    provenance: Mapping[str, Any]

    def run(self, images: Tensor) -> Tensor:
        """Call the network on a batch; the result is float32 on the CPU.

        Raises
        ------
        UserError
            If the result holds NaN or infinite values, as half precision may give.
        """
        enabled = self.precision != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.precision, enabled=enabled):
            result: Tensor = self.network(images.to(self.device, non_blocking=True))
        result = result.float().cpu()
        if not torch.isfinite(result).all():
            used = str(self.precision).removeprefix("torch.")
            mend = "Set 'precision: float32' (or bfloat16) in encoder_options, and check the weights"
            raise UserError(f"the encoder's features are not finite in {used}", mend=mend)
        return result


_loaded: OrderedDict[tuple[object, ...], LoadedNetwork] = OrderedDict()


def load_network(
    build: Callable[[], nn.Module], source: WeightsSource, layout: Layout, options: NetworkOptions
) -> LoadedNetwork:
    """Build a network and load its published weights strictly.

    The published file is hashed, its tensors are checked by name and shape, and they are written once, under
    the network's own names, as safetensors to the cache (``$SPARRA_CACHE``, else ``~/.cache/sparra``); later
    processes map that copy, and later calls in one process give the same network.

    Parameters
    ----------
    build : callable
        Makes the network; it is called on the meta device, so that no memory is filled twice.
    source : WeightsSource
    layout : Layout
    options : NetworkOptions

    Raises
    ------
    UserError
        If the weights are absent, damaged, not those of this network, or the device is not there.
    """
    found = find_weights(source, options.weights)
    stamp = found.path.stat()
    key = (source.key, str(found.path), stamp.st_size, stamp.st_mtime_ns, *options.model_dump().values())
    if key not in _loaded:
        _loaded[key] = _load(build, found, source, layout, options)
    _loaded.move_to_end(key)
    while len(_loaded) > _KEPT:
        _loaded.popitem(last=False)
    return _loaded[key]


def _load(
    build: Callable[[], nn.Module], found: FoundWeights, source: WeightsSource, layout: Layout, options: NetworkOptions
) -> LoadedNetwork:
    device = _device(options.device)
    digest = _checked_digest(found, source, options)
    with torch.device("meta"):
        network = build()
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    state = _converted_state(found.path, digest, expected, source, layout)
    network.load_state_dict(state, strict=True, assign=True)
    network = network.float().eval().requires_grad_(False).to(device)
    precision = _precision(options.precision, device)
    provenance = {
        "key": source.key,
        "file": found.path.name,
        "sha256": digest,
        "origin": found.origin,
        "device": device.type,
        "precision": str(precision).removeprefix("torch."),
    }
    return LoadedNetwork(network, device, precision, provenance)


def cache_folder() -> Path:
    """Return the folder of converted weights."""
    root = os.environ.get(CACHE_FOLDER)
    if root:
        return Path(root).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "sparra"


def _checked_digest(found: FoundWeights, source: WeightsSource, options: NetworkOptions) -> str:
    """Return the SHA-256 of the published file, of which this may be sparra's own conversion."""
    claimed = _origin_of_converted(found.path, source)
    # Anyone can write the claim; only in the cache is it sparra's own.
    outside = claimed is not None and not _is_in_cache(found.path)
    digest = sha256_of(found.path) if claimed is None or outside else claimed
    if options.check_sha256 and source.sha256 not in (None, digest):
        what = f"the SHA-256 of the weights of '{source.key}' is {digest}, published is {source.sha256}"
        mend = f"{how_to_get(source)}; if it is the published one saved anew, set 'check_sha256: false'"
        if outside:
            what = f"these weights of '{source.key}' say that sparra converted them, and lie outside its cache"
            mend = f"Give the published file, or put this one into {cache_folder()} if you know where it is from"
        raise UserError(what, found.path, mend)
    return digest


def _is_in_cache(path: Path) -> bool:
    return path.resolve().is_relative_to(cache_folder().resolve())


def _origin_of_converted(path: Path, source: WeightsSource) -> str | None:
    """Return the digest that a conversion says it was made from, None for a file of anyone else."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except Exception:  # the reader says what is wrong with a damaged file
        return None
    return metadata.get("sha256") if metadata.get(_CONVERTED) == source.key else None


def _converted_state(
    path: Path, digest: str, expected: Mapping[str, torch.Size], source: WeightsSource, layout: Layout
) -> dict[str, Tensor]:
    """Return the checked tensors, from the cache where they are, else converted into it."""
    copy = cache_folder() / "weights" / f"{source.key}-{digest[:16]}.safetensors"
    ours = _origin_of_converted(path, source) is not None
    known = copy.is_file() and _origin_of_converted(copy, source) == digest
    if ours or known:
        state = read_checkpoint(path if ours else copy)
    else:
        state = layout.tensors_in(read_checkpoint(path), str(path))
    check_state(expected, state, source.key, str(path))
    if not (ours or known):
        state = _written(copy, state, source, digest)
    return dict(state)


def _written(copy: Path, state: Mapping[str, Tensor], source: WeightsSource, digest: str) -> dict[str, Tensor]:
    """Write the conversion and map it; without a place for it, go on with what is in memory."""
    tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    try:
        with atomic_path(copy) as temporary:
            save_file(tensors, temporary, {_CONVERTED: source.key, "sha256": digest, "file": source.file})
    except OSError:
        return tensors
    return dict(load_file(copy))


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" has no values
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"the device '{name}' is not there", mend="Set 'device: auto' or 'device: cpu'") from None
    return device


def _precision(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    chosen: torch.dtype = getattr(torch, name)
    return chosen
