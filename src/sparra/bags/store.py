"""Bags on disk: HDF5, whole or absent.

Layout, version 1: datasets ``features`` (patches × features), ``positions`` (patches × 2 or 3, absent where unknown),
``feature_names`` (absent where anonymous), ``extras/<name>`` (patches) and ``provenance`` (JSON); optional group
``preview`` with ``pixels`` and ``mask``. Attributes of the file: ``format``, ``version``, ``modality``, ``unit``,
``patch_size`` (JSON); of the preview: ``spacing``, ``origin``, ``direction``.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from sparra.bags.bag import Bag
from sparra.bags.preview import Preview
from sparra.errors import UserError
from sparra.files import atomic_path
from sparra.memory import beyond_memory, is_out_of_memory
from sparra.unpacking import promises_too_much

FORMAT = "sparra-bag"
VERSION = 1
MEND = "Delete it and run the extraction again, or give a bag written by this version of sparra"

Content = TypeVar("Content")


def write_bag(
    path: Path, bag: Bag, preview: Preview | None = None, dtype: Literal["float32", "float16"] = "float32"
) -> None:
    """Write a bag, and the picture of its image where there is one.

    Parameters
    ----------
    path : Path
    bag : Bag
    preview : Preview, optional
    dtype : {"float32", "float16"}
        Precision of the features on disk; float16 halves the file.

    Raises
    ------
    UserError
        If a feature is too large for `dtype`.
    """
    with np.errstate(over="ignore"):
        features = bag.features.astype(dtype)
    if not np.isfinite(features).all():
        raise UserError(f"a feature is too large for {dtype}", path, "Store this bag with a wider type")
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("features", data=features)
        if bag.positions is not None:
            file.create_dataset("positions", data=bag.positions, dtype="float64")
        for name, values in bag.extras.items():
            file.create_dataset(f"extras/{name}", data=values)
        file.attrs.update({"format": FORMAT, "version": VERSION, "modality": bag.modality, "unit": bag.unit})
        file.attrs["patch_size"] = json.dumps(bag.patch_size)
        # Datasets, since attributes end at 64 KiB and a thousand names are longer.
        file["provenance"] = json.dumps(dict(bag.provenance), allow_nan=False)
        if bag.feature_names:
            file.create_dataset("feature_names", data=list(bag.feature_names), dtype=h5py.string_dtype())
        if preview is not None:
            _write_preview(file.create_group("preview"), preview)


def read_bag(path: Path) -> Bag:
    """Read a bag, features in the precision they are stored in.

    Features that lie in one piece in the file, as `write_bag` leaves them, are a read-only memory map.

    Raises
    ------
    UserError
        If the file is absent, truncated, no bag of sparra's, or of another version.
    """
    return _read(path, lambda file: _bag_in(file, path))


def lacking_for_maps(path: Path) -> str:
    """Return what a bag lacks to place its patches on the image, read from its header; empty if nothing.

    Raises
    ------
    UserError
        As `read_bag`.
    """

    def lacking(file: Any) -> str:
        if "positions" not in file:
            return "positions"
        return "the size of the patches" if json.loads(file.attrs["patch_size"]) is None else ""

    return _read(path, lacking)


def read_preview(path: Path) -> Preview | None:
    """Read the picture stored with a bag, or None if there is none.

    Raises
    ------
    UserError
        As `read_bag`.
    """
    return _read(path, _preview_in)


def _read(path: Path, content_of: Callable[[Any], Content]) -> Content:
    mend = MEND
    if not path.is_file():
        raise UserError("there is no such bag", path, "Correct the path or run the extraction")
    try:
        with h5py.File(path, "r") as file:
            _check_format(file)
            return content_of(file)
    except UserError as error:
        raise UserError(error.what, path, error.mend or mend) from None
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise beyond_memory(path, path.stat().st_size, mend) from error
        reason = " ".join(str(error).split())
        raise UserError(f"the bag cannot be read, it is damaged or no HDF5 ({reason})", path, mend) from None


def _check_format(file: Any) -> None:
    if file.attrs.get("format") != FORMAT:
        raise UserError("this HDF5 file is not a sparra bag")
    if file.attrs.get("version") != VERSION:
        raise UserError(f"the bag has version {file.attrs.get('version')} of the format, not {VERSION}")


def _mapped(dataset: Any, path: Path) -> NDArray[np.floating[Any]]:
    """Map a dataset that lies in the file as one piece; read any other."""
    offset = dataset.id.get_offset()
    if offset is None or dataset.size == 0 or dataset.external:
        return stored_values(dataset)
    return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)


def stored_values(dataset: Any) -> NDArray[Any]:
    """Read a dataset whole, unless it promises far more than its file can hold.

    HDF5 fills what was never written, so that a damaged header of a small file may ask for all memory.

    Raises
    ------
    ValueError
        If it does, or its values lie in other files.
    UserError
        If it does not fit into memory.
    """
    values: NDArray[Any] = _read_whole(dataset, lambda: dataset[()])
    return values


def _read_whole(dataset: Any, read: Callable[[], Any]) -> Any:
    if dataset.external or dataset.is_virtual:
        raise ValueError("its values lie in other files")
    if dataset.shape is None:
        raise ValueError(f"the dataset '{dataset.name}' holds nothing")
    path, size = Path(dataset.file.filename), dataset.size * dataset.dtype.itemsize
    held = path.stat().st_size
    if promises_too_much(size, held):
        raise ValueError(f"a dataset of shape {dataset.shape} in a file of {held} bytes")
    try:
        return read()
    except MemoryError as error:
        raise beyond_memory(path, size, MEND) from error


def own_item(group: Any, name: str) -> Any:
    """Return a group or dataset that lies in the same file, whatever links lead to it.

    Raises
    ------
    KeyError
        If there is none of that name.
    ValueError
        If a link leads into another file.
    """
    if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
        raise ValueError(f"'{name}' lies in another file")
    item = group[name]
    if h5py.h5o.get_info(item.id).fileno != h5py.h5o.get_info(group.id).fileno:
        raise ValueError(f"'{name}' lies in another file")
    return item


def _text(dataset: Any) -> Any:
    return _read_whole(dataset, lambda: dataset.asstr()[()])


def _bag_in(file: Any, path: Path) -> Bag:
    patch_size = json.loads(file.attrs["patch_size"])
    names = _text(own_item(file, "feature_names")) if "feature_names" in file else ()
    extras = own_item(file, "extras") if "extras" in file else {}
    return Bag(
        modality=file.attrs["modality"],
        features=_mapped(own_item(file, "features"), path),
        positions=stored_values(own_item(file, "positions")) if "positions" in file else None,
        patch_size=None if patch_size is None else tuple(patch_size),
        feature_names=tuple(str(name) for name in names),
        extras={name: stored_values(own_item(extras, name)) for name in extras},
        provenance=json.loads(_text(own_item(file, "provenance"))),
    )


def _write_preview(group: Any, preview: Preview) -> None:
    group.create_dataset("pixels", data=preview.pixels, compression="gzip", shuffle=True)
    if preview.mask is not None:
        group.create_dataset("mask", data=preview.mask, compression="gzip")
    group.attrs["spacing"] = np.asarray(preview.spacing, dtype=np.float64)
    group.attrs["origin"] = np.asarray(preview.origin, dtype=np.float64)
    group.attrs["direction"] = preview.direction


def _preview_in(file: Any) -> Preview | None:
    if "preview" not in file:
        return None
    group = own_item(file, "preview")
    return Preview(
        modality=file.attrs["modality"],
        pixels=stored_values(own_item(group, "pixels")),
        mask=stored_values(own_item(group, "mask")).astype(bool) if "mask" in group else None,
        spacing=tuple(map(float, group.attrs["spacing"])),
        origin=tuple(map(float, group.attrs["origin"])),
        direction=group.attrs["direction"],
    )
