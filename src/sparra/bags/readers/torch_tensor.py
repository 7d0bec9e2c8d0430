"""Bare tensors of features, shape (N, D) or (1, N, D), without positions, as HIPT and CLAM's ``pt_files`` are."""

import pickle  # only for the name of an error that torch raises
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparra.bags.bag import Bag
from sparra.errors import UserError
from sparra.modality import Modality


def read_torch_tensor(path: Path, modality: Modality, mpp: float | None) -> Bag:
    """Read a ``.pt`` that holds nothing but a tensor; there are no positions, so `mpp` is not used.

    Raises
    ------
    UserError
        If the file is damaged, would run code on loading, or holds no finite matrix of features.
    """
    features = _matrix(_load(path), path)
    try:
        return Bag(modality, features, positions=None, provenance={"encoder": "unknown (bare tensor)"})
    except UserError as error:
        raise UserError(error.what, path, "Extract this image again or remove its row") from None


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Covers damage as well: torch reads what is no archive as a pickle.
        what = "the file is truncated, no tensor, or holds Python objects, which sparra does not run"
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        what = f"the tensor cannot be read, the file is truncated or damaged ({reason})"
    raise UserError(what, path, "Save the features as one tensor: torch.save(features, path)")


def _matrix(content: Any, path: Path) -> NDArray[np.floating[Any]]:
    mend = "Save the features as one float tensor of shape (patches, features)"
    if not isinstance(content, torch.Tensor):
        raise UserError(f"the file holds a {type(content).__name__}, not a tensor", path, mend)
    if content.layout != torch.strided or not content.is_floating_point():
        raise UserError(f"the tensor is {content.layout} of {content.dtype}, not dense and float", path, mend)
    if content.ndim == 3 and len(content) == 1:
        content = content[0]
    if content.ndim != 2:
        raise UserError(f"the tensor has shape {tuple(content.shape)}", path, mend)
    exact = content.dtype in (torch.float16, torch.float32, torch.float64)
    features: NDArray[np.floating[Any]] = (content if exact else content.float()).detach().numpy()
    return np.ascontiguousarray(features)
