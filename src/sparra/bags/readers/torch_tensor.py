"""Tensors of features, shape (N, D) or (1, N, D), without positions, as HIPT and CLAM's ``pt_files`` are.

Or a dictionary with such a tensor under one of `FEATURES`, as collections of multiple-instance models read it, and
perhaps the corners of patches in pixels of level 0 under one of `CORNERS`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.errors import UserError
from sparra.memory import beyond_memory, is_out_of_memory
from sparra.torch_files import NotOnlyTensors, load_tensors

FEATURES = ("features", "feats")
CORNERS = ("coords", "coordinates")
KEYS_NAMED = 5
_EXACT = (torch.float16, torch.float32, torch.float64)
_MEND = "Save the features as one tensor: torch.save(features, path)"


def recognise(path: Path) -> bool:
    """Take any ``.pt`` that no format before has claimed."""
    return True


def read(source: BagSource) -> ForeignBag:
    """Read a ``.pt`` that holds one tensor of features, and positions only if it is a dictionary.

    Raises
    ------
    UserError
        If the file is damaged, would run code on loading, or holds no finite matrix of features.
    """
    path = source.path
    content = _load(path)
    if not isinstance(content, Mapping):
        return ForeignBag(_matrix(content, path))
    name = next((name for name in FEATURES if name in content), None)
    if name is None:
        there = ", ".join(map(str, list(content)[:KEYS_NAMED])) or "nothing"
        raise UserError(f"the file holds a dictionary of {there}, no 'features'", path, _MEND)
    corners = next((content[name] for name in CORNERS if name in content), None)
    if corners is None:
        return ForeignBag(_matrix(content[name], path))
    if not isinstance(corners, torch.Tensor):
        raise UserError(f"its coordinates are a {type(corners).__name__}, not a tensor", path, _MEND)
    _require_dense(corners, path)
    return ForeignBag(_matrix(content[name], path), _array(corners, path))


def matrix_in(path: Path) -> NDArray[np.floating[Any]]:
    """Read the one dense float tensor of a ``.pt``, of whatever shape.

    Raises
    ------
    UserError
        If the file is damaged, would run code on loading, or holds something else.
    """
    return _matrix(_load(path), path)


def _matrix(content: Any, path: Path) -> NDArray[np.floating[Any]]:
    mend = "Save the features as one float tensor of shape (patches, features)"
    if not isinstance(content, torch.Tensor):
        raise UserError(f"the file holds a {type(content).__name__}, not a tensor", path, mend)
    if not content.is_floating_point():
        raise UserError(f"the tensor is {content.layout} of {content.dtype}, not dense and float", path, mend)
    _require_dense(content, path)
    try:
        features: NDArray[np.floating[Any]] = _array(content, path)
        return np.ascontiguousarray(features) if features.ndim else features
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise beyond_memory(path, content.numel() * content.element_size(), _MEND) from error


def _array(tensor: torch.Tensor, path: Path) -> NDArray[Any]:
    """Return a tensor's values; floats that NumPy lacks become float32, which holds each of them."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    try:
        unknown = plain.is_floating_point() and plain.dtype not in _EXACT
        array: NDArray[Any] = (plain.float() if unknown else plain).numpy()
    except (TypeError, NotImplementedError):
        raise UserError(f"the tensor is of {tensor.dtype}, which cannot be read", path, _MEND) from None
    return array


def _require_dense(tensor: torch.Tensor, path: Path) -> None:
    mend = "Save dense tensors of plain numbers"
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        raise UserError(f"the tensor is {tensor.layout} of {tensor.dtype}, not dense and float", path, mend)
    if tensor.is_meta or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UserError("the tensor has fewer values than its shape says", path, mend)


def _load(path: Path) -> Any:
    try:
        return load_tensors(path)
    except UserError:
        raise
    except NotOnlyTensors as error:
        if "torch_geometric" in str(error):
            what = "the file is a pickled PyTorch Geometric graph (as of Patch-GCN), which sparra does not run"
            raise UserError(what, path, "Give the features that the graph was made from") from None
        # Covers damage as well: torch reads what is no archive as a pickle.
        what = "the file is truncated, no tensor, or holds Python objects, which sparra does not run"
    except Exception as error:  # On damage torch lets through whatever its parsers raise.
        reason = str(error).partition("\n")[0] or type(error).__name__
        what = f"the tensor cannot be read, the file is truncated or damaged ({reason})"
    raise UserError(what, path, _MEND)


bag_readers.register("torch-tensor")(BagReader("tensor (HIPT, CLAM)", (".pt",), recognise, read, 90))
