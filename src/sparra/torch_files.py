"""PyTorch's files of tensors: the one place where ``torch.load`` is called, always with ``weights_only=True``."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from sparra.unpacking import require_honest_zip

_MEND = "Get it again from its source"


class NotOnlyTensors(ValueError):
    """A file that names Python objects, or is damaged: PyTorch takes what is no archive for its older format."""


def load_tensors(path: Path, *, mapped: bool = False) -> Any:
    """Read a file of PyTorch's without running anything in it.

    Parameters
    ----------
    path : Path
    mapped : bool
        Whether to map the file's tensors, where its format allows.

    Returns
    -------
    object
        Tensors on the CPU and plain containers of them, as the file nests them.

    Raises
    ------
    NotOnlyTensors
        If only running it would read the file.
    UserError
        If it is an archive that unpacks to far more than its size.
    Exception
        On damage, whatever PyTorch's parsers raise.
    """
    zipped = zipfile.is_zipfile(path)
    if zipped:
        require_honest_zip(path, _MEND)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True if mapped and zipped else None)
    except Exception as error:
        # Told by its name, since its class is of the module that is imported nowhere here.
        if type(error).__name__ == "UnpicklingError":
            raise NotOnlyTensors(str(error)) from None
        raise
