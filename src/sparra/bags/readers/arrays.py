"""NumPy's files and JSON of other tools, opened without ever running what is in them."""

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.memory import beyond_memory, is_out_of_memory
from sparra.unpacking import require_honest_zip

#: How an ``.npy`` begins, and its headers by version; the third, of columns with names, is left to NumPy.
NPY = b"\x93NUMPY"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
MEND = "Extract this image again or remove its row"


def load_npy(path: Path) -> NDArray[Any]:
    """Read one ``.npy``.

    Raises
    ------
    UserError
        If it is truncated, no array, holds Python objects, or does not fit into memory.
    """
    loaded = _load(path)
    if not isinstance(loaded, np.ndarray):
        raise UserError("the file is an archive of arrays, not one array", path, MEND)
    return loaded


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an ``.npz``.

    Raises
    ------
    UserError
        If it is truncated, no archive, holds Python objects, or does not fit into memory.
    """
    loaded = _load(path)
    if isinstance(loaded, np.ndarray):
        raise UserError("the file is one array, not an archive of arrays", path, MEND)
    return dict(loaded)


def _load(path: Path) -> NDArray[Any] | Mapping[str, NDArray[Any]]:
    if not path.is_file():
        raise UserError("the file does not exist", path, MEND)
    if path.stat().st_size == 0:
        raise UserError("the file is empty (0 bytes)", path, MEND)
    require_honest_zip(path, MEND)
    claimed = path.stat().st_size
    try:
        claimed = _claimed_bytes(path)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            members = {name: loaded[name] for name in loaded.files}
        if all(isinstance(member, np.ndarray) for member in members.values()):
            return members
        what = "the archive holds members that are no arrays"
    except Exception as error:  # On damage NumPy lets through whatever its parsers of headers and archives raise.
        if is_out_of_memory(error):
            raise beyond_memory(path, claimed, MEND) from error
        if isinstance(error, ValueError) and "pickle" in str(error):
            what = "the file holds Python objects, which sparra does not run, or is no NumPy file"
        else:
            what = f"the file is truncated or damaged ({' '.join(str(error).split()) or type(error).__name__})"
    raise UserError(what, path, MEND)


def _claimed_bytes(path: Path) -> int:
    """Add up the numbers that the headers of a file's arrays claim.

    Raises
    ------
    Exception
        If a header claims more than there is behind it, for which NumPy would take the memory first; on other damage
        whatever the parsers of archives and headers raise.
    """
    with path.open("rb") as file:
        if file.read(len(NPY)) == NPY:
            return _claimed_by(file, path.stat().st_size)
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    claimed = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                claimed += _claimed_by(stream, member.file_size) if stream.read(len(NPY)) == NPY else member.file_size
    return claimed


def _claimed_by(stream: IO[bytes], held: int) -> int:
    """Return how many bytes an array's header claims, of the `held` ones of its file or member."""
    stream.seek(0)
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        return held
    shape, _, dtype = HEADERS[version](stream)
    claimed = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and claimed > held - stream.tell():
        raise ValueError(f"an array of shape {shape} takes {claimed} bytes, of which {held - stream.tell()} are there")
    return claimed


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises
    ------
    UserError
        If it is truncated or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        if is_out_of_memory(error):
            raise beyond_memory(path, path.stat().st_size, MEND) from error
        raise UserError(f"the JSON cannot be read ({' '.join(str(error).split())})", path, MEND) from None
    if not isinstance(content, dict):
        raise UserError(f"the JSON holds a {type(content).__name__}, not an object", path, MEND)
    return content


def bounds_or_corners(positions: NDArray[Any]) -> tuple[NDArray[Any], float | None, bool]:
    """Read positions that may be bounds.

    Parameters
    ----------
    positions : ndarray, shape (n, 4) or (n, 2)
        Bounds (x0, y0, x1, y1), or top-left corners.

    Returns
    -------
    positions : ndarray, shape (n, 2)
        Centres of the bounds, else the corners as they are.
    side : float or None
        Median side of the bounds.
    are_centres : bool
    """
    if positions.ndim != 2 or positions.shape[1] != 4 or positions.dtype.kind not in "iuf":
        return positions, None, False
    bounds = positions.astype(np.float64)
    if not len(bounds):
        return bounds[:, :2], None, False  # of a slide without tissue
    sides = np.sqrt(np.prod(bounds[:, 2:] - bounds[:, :2], axis=1)) if (bounds[:, 2:] > bounds[:, :2]).all() else None
    if sides is None:
        raise UserError("its positions are no bounds (x0, y0, x1, y1) of tiles", mend=MEND)
    return (bounds[:, :2] + bounds[:, 2:]) / 2, float(np.median(sides)), True
