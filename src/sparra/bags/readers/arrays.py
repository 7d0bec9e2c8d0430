"""NumPy's files and JSON of other tools, opened without ever running what is in them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.unpacking import require_honest_zip

MEND = "Extract this image again or remove its row"


def load_npy(path: Path) -> NDArray[Any]:
    """Read one ``.npy``.

    Raises
    ------
    UserError
        If it is truncated, no array, or holds Python objects.
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
        If it is truncated, no archive, or holds Python objects.
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
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            members = {name: loaded[name] for name in loaded.files}
        if all(isinstance(member, np.ndarray) for member in members.values()):
            return members
        what = "the archive holds members that are no arrays"
    except Exception as error:  # On damage NumPy lets through whatever its parsers of headers and archives raise.
        if isinstance(error, ValueError) and "pickle" in str(error):
            what = "the file holds Python objects, which sparra does not run, or is no NumPy file"
        else:
            what = f"the file is truncated or damaged ({' '.join(str(error).split()) or type(error).__name__})"
    raise UserError(what, path, MEND)


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises
    ------
    UserError
        If it is truncated or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
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
    sides = np.sqrt(np.prod(bounds[:, 2:] - bounds[:, :2], axis=1)) if (bounds[:, 2:] > bounds[:, :2]).all() else None
    if sides is None or not len(sides):
        raise UserError("its positions are no bounds (x0, y0, x1, y1) of tiles", mend=MEND)
    return (bounds[:, :2] + bounds[:, 2:]) / 2, float(np.median(sides)), True
