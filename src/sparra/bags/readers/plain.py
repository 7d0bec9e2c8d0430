"""Plain NumPy files: ``<slide>.npy`` with the features, or ``<slide>.npz`` with features and positions.

In an archive: ``features`` (N, D) and either ``coords`` (N, 2), top-left corners in pixels of level 0, or
``positions_um`` (N, 2) for slides or ``positions_mm`` (N, 3) for CT, centres of patches. Beside ``<slide>.npy``,
``<slide>_coords.npy`` may hold the corners.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.bags.bag import Bag
from sparra.bags.foreign import BagSource, ForeignBag, checked_features
from sparra.bags.readers.arrays import MEND, load_npy, load_npz
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.errors import UserError

FEATURES = ("features", "feats", "embeddings", "x")
CORNERS = ("coords", "coordinates")


def recognise(path: Path) -> bool:
    """Take any NumPy file that no format before has claimed."""
    return path.is_file()


def companions(source: BagSource) -> tuple[Path, ...]:
    """Return the file of coordinates."""
    coords = _coords(source.path)
    return (coords,) if coords.is_file() else ()


def read(source: BagSource) -> ForeignBag | Bag:
    """Read the features of one image and its positions, where there are any.

    Raises
    ------
    UserError
        If the file is damaged or holds no features.
    """
    path = source.path
    if path.suffix.lower() == ".npy":
        coords = _coords(path)
        return ForeignBag(load_npy(path), load_npy(coords) if coords.is_file() else None)
    arrays = load_npz(path)
    name = next((name for name in FEATURES if name in arrays), None)
    if name is None:
        raise UserError(f"the archive holds {', '.join(arrays) or 'nothing'}, no 'features'", path, MEND)
    if "positions_mm" in arrays or source.modality == "ct":
        return ct_bag(arrays[name], arrays.get("positions_mm"), (), source)
    if "positions_um" in arrays:
        return ForeignBag(arrays[name], arrays["positions_um"], anchor="centre", unit="um")
    corners = next((arrays[name] for name in CORNERS if name in arrays), None)
    return ForeignBag(arrays[name], corners)


def ct_bag(features: NDArray[Any], positions_mm: NDArray[Any] | None, names: tuple[str, ...], source: BagSource) -> Bag:
    """Return a bag of CT patches from features and centres in mm (LPS).

    Raises
    ------
    UserError
        If features or positions are unusable, or the table says slide.
    """
    if source.modality != "ct":
        raise UserError("it holds positions in mm, the table says slide", source.path, "Correct the table")
    notes: list[str] = []
    try:
        checked = checked_features(features, notes)
        positions = None if positions_mm is None else positions_mm.astype(np.float64)
        encoder = source.settings.encoder or "unknown"
        provenance = {"encoder": encoder, "notes": notes}
        return Bag("ct", np.ascontiguousarray(checked), positions, feature_names=names, provenance=provenance)
    except (UserError, ValueError) as error:
        what = error.what if isinstance(error, UserError) else f"the positions are no numbers ({error})"
        raise UserError(what, source.path, MEND) from None


def _coords(path: Path) -> Path:
    return path.with_name(f"{path.stem}_coords.npy")


bag_readers.register("numpy")(BagReader("NumPy", (".npy", ".npz"), recognise, read, 90, companions))
