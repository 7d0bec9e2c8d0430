"""A bundle on disk: written whole, and read without trust.

``manifest.json`` (see `sparra.bundle.files`), ``bundle.json`` (`BundleContent`), ``member-<k>.safetensors`` (weights
and scalers of a network, and ``head.*`` of its survival model), ``likeness-<modality>.safetensors`` (moments of the
training images) and ``MODEL_CARD.md``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from sparra.bundle.bundle import Bundle
from sparra.bundle.card import model_card
from sparra.bundle.content import BundleContent, MemberDescription
from sparra.bundle.files import json_bytes, read_files, read_json_bytes, write_files
from sparra.bundle.likeness import Likeness
from sparra.bundle.member import Member, head_of_tensors
from sparra.errors import UserError
from sparra.modality import Modality
from sparra.models.registry import aggregators
from sparra.pathology.encoders import slide_encoders
from sparra.radiology.encoders import ct_encoders
from sparra.training.fitted import FittedAggregator

CONTENT = "bundle.json"
CARD = "MODEL_CARD.md"
_MEND = "Ask its sender for the bundle again"
_MOST_ENSEMBLE = 100
# What building or filling a network raises where its description and its tensors do not belong together.
_MISFITS = (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError)


def write_bundle(bundle: Bundle, folder: Path, overwrite: bool = False) -> str:
    """Write a bundle with its model card.

    Returns
    -------
    str
        The digest over all files.

    Raises
    ------
    UserError
        If `folder` exists and is not to be overwritten, or is no bundle.
    """
    files = {
        CONTENT: json_bytes(bundle.content.model_dump(mode="json")),
        CARD: model_card(bundle).encode("utf-8"),
    }
    for index, member in enumerate(bundle.members):
        files[_member_name(index)] = safetensors.torch.save(member.tensors())
    for modality, like in bundle.likeness.items():
        tensors = {name: torch.from_numpy(values.copy()) for name, values in like.arrays().items()}
        files[_likeness_name(modality)] = safetensors.torch.save(tensors)
    return write_files(folder, files, overwrite)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle.

    Raises
    ------
    UserError
        If it is no bundle of this version, or was changed, cut or added to, or its parts do not fit together.
    """
    files, digest = read_files(folder)
    if CONTENT not in files:
        raise UserError(f"the bundle has no {CONTENT}", folder, _MEND)
    where = folder / CONTENT
    content = BundleContent.from_mapping(_as_mapping(read_json_bytes(files[CONTENT], where), where), str(where))
    _check_preprocessing(content, where)
    likeness_files: dict[Modality, str] = {name: _likeness_name(name) for name in content.inputs}
    expected = {CONTENT, CARD, *(_member_name(index) for index in range(len(content.members)))}
    strange = (set(files) ^ expected) - {name for name in likeness_files.values() if name in files}
    if strange:
        raise UserError(f"'{min(strange)}' is missing or does not belong to this bundle", folder, _MEND)
    members = [
        _member(content, description, files[_member_name(index)], folder / _member_name(index))
        for index, description in enumerate(content.members)
    ]
    likeness = {
        modality: _likeness(files[name], folder / name) for modality, name in likeness_files.items() if name in files
    }
    return Bundle(content, tuple(members), likeness, digest)


def _member_name(index: int) -> str:
    return f"member-{index}.safetensors"


def _likeness_name(modality: Modality) -> str:
    return f"likeness-{modality}.safetensors"


def _as_mapping(content: Any, where: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserError("the file holds no keys", where, _MEND)
    return content


def _check_preprocessing(content: BundleContent, where: Path) -> None:
    """Refuse unknown encoders, and files of this machine: which to read is the user's to say, not its sender's."""
    preprocessing = content.preprocessing
    options = {**preprocessing.ct.encoder_options, **preprocessing.slide.encoder_options}
    named = [key for key, value in options.items() if is_path_option(key) and value is not None]
    if preprocessing.slide.tissue_folder is not None:
        named.append("tissue_folder")
    if preprocessing.imports.patches is not None:
        named.append("patches")
    # A name that is not known here is refused with the nearest that is.
    ct_encoders[preprocessing.ct.encoder]
    slide_encoders[preprocessing.slide.encoder]
    if named:
        raise UserError(f"the bundle names a file of the machine that uses it ('{named[0]}')", where, _MEND)


def is_path_option(name: str) -> bool:
    """Tell whether an encoder's option names a file of weights."""
    return name == "weights" or name.endswith("_weights")


def _tensors(data: bytes, where: Path) -> dict[str, torch.Tensor]:
    """Read safetensors, whose header the library checks: lengths, offsets, types; no code is run."""
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"the file is no safetensors ({' '.join(str(error).split())})", where, _MEND) from None
    for name, values in tensors.items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise UserError(f"the array '{name}' holds NaN or infinite values", where, _MEND)
    return tensors


def _member(content: BundleContent, description: MemberDescription, data: bytes, where: Path) -> Member:
    tensors = _tensors(data, where)
    try:
        head = head_of_tensors(tensors)
        _refuse_other_sizes(description.network, tensors)
        network = FittedAggregator.from_parts(description.network, tensors, where)
        width = 1 if content.model == "network" else sum(network.model.embedding_sizes.values())
        if head.preparation.n_features != width:
            raise ValueError(f"the survival model takes {head.preparation.n_features} features, not {width}")
        if not set(network.scalers) <= set(content.inputs) or network.name != content.aggregator:
            raise ValueError("the network is of another method than the bundle")
    except UserError as error:
        raise UserError(error.what, where, error.mend or _MEND) from None
    except _MISFITS as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the network and its description do not fit together ({reason})", where, _MEND) from None
    return Member(network, head, content.model)


def _refuse_other_sizes(description: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Compare a network's shapes with its tensors before memory is taken for it."""
    scales, dims = description["risk_scales"], description["feature_dims"]
    if not 0 < len(scales) <= _MOST_ENSEMBLE or not all(len(pair) == 2 and pair[1] > 0 for pair in scales):
        raise ValueError("the scales of the risks cannot be")
    for modality, size in dims.items():
        for part in ("mean", "scale"):
            if tensors[f"scaler.{modality}.{part}"].shape != (size,):
                raise ValueError(f"the scaler of {modality} has another size")
        if not (tensors[f"scaler.{modality}.scale"] > 0).all():
            raise ValueError(f"a scale of {modality} is not above zero")
    entry = aggregators[description["aggregator"]]
    settings = entry.settings.from_mapping(description["settings"], where="settings")
    with torch.device("meta"):
        model = entry.build(dict(sorted(dims.items())), settings)
    for name, value in model.state_dict().items():
        if tensors[f"model.{name}"].shape != value.shape:
            raise ValueError(f"the weight '{name}' has another shape")


def _likeness(data: bytes, where: Path) -> Likeness:
    try:
        return Likeness.from_arrays({name: values.numpy() for name, values in _tensors(data, where).items()})
    except UserError as error:
        raise UserError(error.what, where, error.mend or _MEND) from None
