"""PyTorch's files of tensors: the one place where ``torch.load`` is called, always with ``weights_only=True``."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sparra.memory import beyond_memory, is_out_of_memory
from sparra.unpacking import require_honest_zip, unpacked_bytes

_MEND = "Get it again from its source"


class NotOnlyTensors(ValueError):
    """A file that names Python objects, or is damaged: PyTorch takes what is no archive for its older format."""


def load_tensors(path: Path, *, mapped: bool = False, stand_in: Callable[[str], Any] | None = None) -> Any:
    """Read a file of PyTorch's without running anything in it.

    Parameters
    ----------
    path : Path
    mapped : bool
        Whether to map the file's tensors, where its format allows.
    stand_in : callable (str) -> object, optional
        Returns what takes the place of a class that PyTorch does not load, by its full name, in an archive; may raise
        a `UserError`. Without it such a file is `NotOnlyTensors`. What it returns stays among PyTorch's safe globals.

    Returns
    -------
    object
        Tensors on the CPU and plain containers of them, as the file nests them.

    Raises
    ------
    NotOnlyTensors
        If only running it would read the file.
    UserError
        If it is an archive that unpacks to far more than its size, or does not fit into memory.
    Exception
        On damage, whatever PyTorch's parsers raise.
    """
    zipped = zipfile.is_zipfile(path)
    if zipped:
        require_honest_zip(path, _MEND)
    try:
        if zipped and stand_in is not None:
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            torch.serialization.add_safe_globals([(stand_in(name), name) for name in unknown])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about storage classes of old files, and programs, which are refused
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True if mapped and zipped else None)
    except Exception as error:
        # Told by its name, since its class is of the module that is imported nowhere here.
        if type(error).__name__ == "UnpicklingError" or "torchscript" in str(error).lower():
            raise NotOnlyTensors(str(error)) from None
        if is_out_of_memory(error):
            size = unpacked_bytes(path) if zipped else path.stat().st_size
            raise beyond_memory(path, size, _MEND) from error
        raise
