"""HDF5 files of other tools: opening them, and attributes as JSON-ready values."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sparra.bags.store import own_item, stored_values
from sparra.errors import UserError
from sparra.hdf5.guard import require_sound
from sparra.memory import beyond_memory, is_out_of_memory

MEND = "Extract this image again or remove its row"
NAMES_TOLD = 8


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open a file for reading; whatever HDF5 stumbles over inside is one sentence.

    Raises
    ------
    UserError
        If the file is empty, truncated, damaged, or no HDF5, takes data from other files, or does not fit into memory.
    """
    if path.stat().st_size == 0:
        raise UserError("the file is empty (0 bytes)", path, MEND)
    require_sound(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (
        OSError,
        KeyError,
        RuntimeError,
        ValueError,
        TypeError,
        OverflowError,
        MemoryError,
        AttributeError,
    ) as error:
        if is_out_of_memory(error):
            raise beyond_memory(path, path.stat().st_size, MEND) from error
        reason = " ".join(str(error).split())
        raise UserError(f"the file is truncated, damaged or no HDF5 ({reason})", path, MEND) from None


def array_in(file: Any, name: str, path: Path) -> NDArray[Any]:
    """Read a dataset whole.

    Raises
    ------
    UserError
        If there is none of that name.
    ValueError
        If it lies in another file.
    """
    item = own_item(file, name) if name in file else None
    if isinstance(item, h5py.Group):
        raise UserError(f"'{name}' is a group (of {_names_in(item)}), not a dataset of numbers", path, MEND)
    if not isinstance(item, h5py.Dataset):
        raise UserError(f"the dataset '{name}' is missing, the file holds {_names_in(file)}", path, MEND)
    return stored_values(item)


def plain_attributes(attributes: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return those of the named HDF5 attributes that are there, as JSON-ready values.

    Only those: others may hold a path of another machine, and the less is read of a damaged file the better, since
    HDF5 does not survive every damage to texts.
    """
    return {name: plain(attributes[name]) for name in names if name in attributes}


def plain(value: Any) -> Any:
    """Return a NumPy scalar or array, or bytes, as plain Python."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _names_in(group: Any) -> str:
    names = sorted(group)
    more = f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else ""
    return f"{', '.join(names[:NAMES_TOLD])}{more}" or "nothing"


def number(attributes: Any, name: str) -> float | None:
    """Return a positive number of a mapping that a file holds; None if it is absent, no number or not above zero."""
    value: Any = attributes.get(name) if isinstance(attributes, dict) else None
    if isinstance(value, list) and value:
        value = value[0]
    try:
        converted = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return converted if 0 < converted < np.inf else None
