"""Reading a foreign checkpoint without running anything that it holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sparra.errors import UserError
from sparra.memory import beyond_memory, is_out_of_memory
from sparra.torch_files import NotOnlyTensors, load_tensors

#: Training scripts pickle their options beside the tensors. Such objects are never built: a placeholder takes
#: their place. A file that names anything of these modules is no honest checkpoint and is refused.
_REFUSED_MODULES = frozenset(
    {"os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "ctypes", "importlib", "runpy", "pickle"}
)
_REFUSED = frozenset(f"builtins.{name}" for name in ("eval", "exec", "compile", "open", "__import__", "input"))
_MEND = "Download it again and compare its size and SHA-256 with its page"
_UNREADABLE = (
    SafetensorError, OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError, MemoryError,
)  # fmt: skip


class _Placeholder:
    """Stands for an object of a class that is not loaded; keeps nothing and does nothing."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


def _plain_dict(*_args: object) -> dict[object, object]:
    """Stands for ``defaultdict``, into which PyTorch's reader would not write."""
    return {}


_STAND_INS: dict[str, Any] = {"collections.defaultdict": _plain_dict}


def read_checkpoint(path: Path) -> Any:
    """Read a checkpoint: safetensors, or PyTorch's format with ``weights_only=True``.

    Returns
    -------
    mapping
        As the file nests it; tensors on the CPU, memory-mapped where the format allows.

    Raises
    ------
    UserError
        If the file is absent, damaged, of no known format, or holds what only running it would load.
    """
    if not path.is_file():
        raise UserError("there is no such file of weights", path, "Correct the path")
    try:
        return load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
    except _UNREADABLE as error:
        if is_out_of_memory(error):
            raise beyond_memory(path, path.stat().st_size, _MEND) from error
        reason = " ".join(str(error).split())[:150]
        what = f"the weights cannot be read, the file is damaged or of another format ({reason})"
        raise UserError(what, path, _MEND) from None


def _read_torch(path: Path) -> Any:
    try:
        with _no_safe_globals():
            return load_tensors(path, mapped=True, stand_in=lambda name: _stand_in(name, path))
    except NotOnlyTensors:
        what = "this file holds more than tensors and would have to be run to be read"
        mend = "Save its tensors alone, as safetensors, on a machine where you trust it"
        raise UserError(what, path, mend) from None


@contextmanager
def _no_safe_globals() -> Iterator[None]:
    """Set aside the classes that other packages have declared safe, so that a file reads alike whatever is imported."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _stand_in(name: str, path: Path) -> Any:
    """Return what takes the place of a class that PyTorch would not load, refusing those that no checkpoint needs."""
    if name in _REFUSED or name.partition(".")[0] in _REFUSED_MODULES:
        what = f"this file names '{name}', which no checkpoint needs"
        raise UserError(what, path, "Do not use it; get the weights from their publisher")
    return _STAND_INS.get(name, _Placeholder)
