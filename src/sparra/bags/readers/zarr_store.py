"""Zarr folders of other tools (formats 2 and 3), read whole and without codecs that run code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.memory import beyond_memory
from sparra.unpacking import promises_too_much

MEND = "Extract this image again or remove its row"
# numcodecs can decode with pickle; a file may ask for it.
UNSAFE = ("pickle", "object", "vlen")


def open_group(path: Path) -> Any:
    """Open a zarr group for reading; of each array its own description counts, not a collected copy of it.

    Raises
    ------
    UserError
        If the folder is no zarr group.
    """
    import zarr

    try:
        return zarr.open_group(path, mode="r", use_consolidated=False)
    except MemoryError:
        raise
    except Exception as error:  # On damaged metadata zarr raises whatever its parsers do.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the folder is no zarr group, or damaged ({reason})", path, MEND) from None


def members_of(folder: Path) -> set[str]:
    """Return the names of the arrays and groups in a group's folder, of which nothing is opened."""
    return {child.name for child in folder.iterdir() if child.is_dir()} if folder.is_dir() else set()


def read_array(group: Any, name: str, path: Path) -> NDArray[Any]:
    """Read a numeric array whole.

    Parameters
    ----------
    group : zarr.Group
    name : str
        With slashes for an array in a group.
    path : Path
        The store's folder.

    Raises
    ------
    UserError
        If it is absent, no numbers, damaged, or chunks of it are missing (which zarr would fill up in silence).
    """
    import zarr

    _refuse_code(path, name)
    try:
        array = group[name]
    except MemoryError:
        raise
    except Exception as error:  # On damaged metadata zarr raises whatever its parsers do.
        there = ", ".join(sorted(members_of(path))) or "nothing"
        reason = "" if isinstance(error, KeyError) else f" ({' '.join(str(error).split())})"
        raise UserError(
            f"the array '{name}' is missing or damaged{reason}; the store holds {there}", path, MEND
        ) from None
    if not isinstance(array, zarr.Array) or array.dtype.kind not in "iufb":
        raise UserError(f"'{name}' is no array of numbers", path, MEND)
    missing = array.nchunks - array.nchunks_initialized
    if missing and array.size:
        raise UserError(
            f"the store is truncated: {missing} of {array.nchunks} chunks of '{name}' are missing", path, MEND
        )
    held = sum(file.stat().st_size for file in (path / name).rglob("*") if file.is_file())
    if promises_too_much(array.nbytes, held):
        raise UserError(f"'{name}' has the shape {array.shape}, but its chunks only {held} bytes", path, MEND)
    try:
        return np.asarray(array[...])
    except MemoryError as error:
        raise beyond_memory(path, array.nbytes, MEND) from error
    except Exception as error:  # Each codec raises its own.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{name}' cannot be read, a chunk is damaged ({reason})", path, MEND) from None


def _refuse_code(path: Path, name: str) -> None:
    """Refuse an array whose stored form names a codec that runs code, before anything of it is decoded."""
    for described in (path / name / ".zarray", path / name / "zarr.json"):
        if not described.is_file():
            continue
        try:
            content = json.loads(described.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"'{described.name}' of '{name}' cannot be read ({error})", path, MEND) from None
        if not isinstance(content, dict):
            raise UserError(f"'{described.name}' of '{name}' describes no array", path, MEND)
        codecs = json.dumps([content.get(part) for part in ("filters", "compressor", "codecs")]).lower()
        if any(word in codecs for word in UNSAFE):
            what = f"'{name}' is stored as Python objects, which sparra does not run"
            raise UserError(what, path, "Save the features as an array of floats")
