"""TRIDENT: ``<job>/<mag>x_<px>px_<overlap>px_overlap/features_<encoder>/<slide>.h5`` (older: ``patch_features_``).

Datasets ``features`` (N, D) and ``coords`` (N, 2), top-left corners in pixels of level 0, whose attributes hold
``patch_size``, ``patch_size_level0``, ``level0_magnification`` and ``target_magnification``, or where TRIDENT was given
coordinates that CLAM wrote, CLAM's. The µm per pixel is not stored, except in files that sparra exported.
"""

import re
from pathlib import Path
from typing import Any

from sparra.bags.foreign import BagSource, ForeignBag, require_same_number
from sparra.bags.readers import clam
from sparra.bags.readers.hdf5 import array_in, number, open_hdf5, plain_attributes
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.readers.torch_tensor import matrix_in
from sparra.errors import UserError

MARKS = ("patch_size_level0", "level0_magnification", "target_magnification")
ATTRIBUTES = (*MARKS, "overlap", "level0_width", "level0_height", "mpp", *clam.ATTRIBUTES)
FOLDER = re.compile(r"^(patch_|slide_)?features_(?P<encoder>.+)$")


def recognise(path: Path) -> bool:
    """Tell TRIDENT's files by their attributes, or by the folders around them."""
    if path.suffix.lower() == ".pt":
        return FOLDER.match(path.parent.name) is not None and patches_file(path).is_file()
    with open_hdf5(path) as file:
        if "features" not in file:
            return False
        coords = file.get("coords")
        marked = coords is not None and any(mark in coords.attrs for mark in MARKS)
        if marked or "encoder" in file["features"].attrs or path.parent.name.startswith("slide_features_"):
            return True
    return FOLDER.match(path.parent.name) is not None and patches_file(path).is_file()


def patches_file(path: Path) -> Path:
    """Return where the coordinates of a feature file lie."""
    return path.parent.parent / "patches" / f"{path.stem}_patches.h5"


def companions(source: BagSource) -> tuple[Path, ...]:
    """Return the coordinates' file where it is there."""
    patches = patches_file(source.path)
    return (patches,) if patches.is_file() else ()


def read(source: BagSource) -> ForeignBag:
    """Read the features and coordinates of one slide.

    Raises
    ------
    UserError
        If the file is locked by a run, damaged, of a whole slide, or has fewer rows than there are patches.
    """
    path = source.path
    if path.with_name(f"{path.name}.lock").exists():
        mend = "Wait for TRIDENT to finish, or clear its dead locks and run it again"
        raise UserError(f"TRIDENT has locked the file ({path.name}.lock), so it may not be whole", path, mend)
    if path.parent.name.startswith("slide_features_"):
        what = f"it holds one vector for the whole slide (folder {path.parent.name}), not features of patches"
        raise UserError(what, path, "Give the folder features_<encoder>")
    patches = patches_file(path)
    if path.suffix.lower() == ".pt":
        features = matrix_in(path)
        coords, attributes = _coordinates(patches)
        stored: dict[str, Any] = {}
    else:
        with open_hdf5(path) as file:
            features = array_in(file, "features", path)
            coords = array_in(file, "coords", path)
            attributes = plain_attributes(file["coords"].attrs, ATTRIBUTES)
            stored = plain_attributes(file["features"].attrs, ("encoder",))
        if patches.is_file():
            planned, described = _coordinates(patches)
            require_same_number(features, len(planned), patches)
            attributes = {**described, **attributes}
    return ForeignBag(
        features=features,
        positions=coords,
        side=_side(attributes),
        encoder_px=number(attributes, "patch_size"),
        mpp=number(attributes, "mpp"),
        magnification=number(attributes, "level0_magnification"),
        encoder=_encoder(path, stored),
        attributes=attributes,
    )


def _coordinates(patches: Path) -> tuple[Any, dict[str, Any]]:
    with open_hdf5(patches) as file:
        return array_in(file, "coords", patches), plain_attributes(file["coords"].attrs, ATTRIBUTES)


def _side(attributes: dict[str, Any]) -> float | None:
    side = number(attributes, "patch_size_level0")
    if side is not None:
        return side
    size, source, target = (
        number(attributes, n) for n in ("patch_size", "level0_magnification", "target_magnification")
    )
    return size * source / target if size and source and target else clam.side_of(attributes)


def _encoder(path: Path, stored: dict[str, Any]) -> str | None:
    """Return the encoder as the file says it, else as its folder does."""
    written = stored.get("encoder")
    if isinstance(written, str) and written not in ("", "None"):
        return written
    folder = FOLDER.match(path.parent.name)
    return folder["encoder"] if folder else None


bag_readers.register("trident")(BagReader("TRIDENT", (".h5", ".pt"), recognise, read, 20, companions))
