"""STAMP: ``<extractor>-<hash>/<slide>.h5`` with ``feats`` (or ``patch_embeddings``) and ``coords``, corners of tiles.

Version 2 stores µm and says so (``unit`` "um"; the tile's side is ``tile_size_um``, earlier ``tile_size``). Historic
files hold no unit: their coordinates are pixels of tiles of 224 px that were 256 µm wide.

``extractor`` is the encoder's name. Version 1 put its own before it (``STAMP-extract-1.1.1_xiyuewang-ctranspath-…``),
and to version 2.1 digests of the weights and of STAMP's code stood after it (``mahmood-conch-0a1b2c3d``).
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.hdf5 import MEND, array_in, number, open_hdf5, plain_attributes
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.errors import UserError

HISTORIC_TILE = (224.0, 256.0)  # pixels, µm
EXTRACTOR = re.compile(r"(STAMP-extract-[^_]*_)?(?P<name>.+?)(-[0-9a-f]{8})*")
ATTRIBUTES = (
    "stamp_version",
    "extractor",
    "encoder",
    "unit",
    "tile_size_um",
    "tile_size_px",
    "tile_size",
    "feat_type",
    "code_hash",
)


def recognise(path: Path) -> bool:
    """Tell STAMP's files by the names of their features."""
    with open_hdf5(path) as file:
        return "feats" in file or "patch_embeddings" in file


def read(source: BagSource) -> ForeignBag:
    """Read the tile features of one slide.

    Raises
    ------
    UserError
        If the file is damaged, of a whole slide or patient, or in a unit that cannot be known.
    """
    path = source.path
    with open_hdf5(path) as file:
        attributes = plain_attributes(file.attrs, ATTRIBUTES)
        features = array_in(file, "feats" if "feats" in file else "patch_embeddings", path)
        coords = array_in(file, "coords", path) if "coords" in file else None
    kind = attributes.get("feat_type", "tile" if "encoder" not in attributes else "slide")
    if kind != "tile":
        what = f"it holds features of the whole {kind} (by encoder '{attributes.get('encoder', 'unknown')}')"
        raise UserError(what, path, "Give the tile features that STAMP's preprocessing wrote")
    common: dict[str, Any] = {"encoder": _encoder(attributes.get("extractor")), "attributes": attributes}
    if coords is None:
        return ForeignBag(features=features, **common)
    unit = attributes.get("unit")
    if unit not in (None, "um"):
        raise UserError(f"its coordinates are in '{unit}', where STAMP writes um", path, MEND)
    pixels = number(attributes, "tile_size_px")
    side_um = number(attributes, "tile_size_um")
    if side_um is None and unit == "um":
        side_um = number(attributes, "tile_size")
    if side_um is not None:
        return ForeignBag(features, coords, unit="um", side=side_um, encoder_px=pixels, **common)
    px, um = HISTORIC_TILE
    stride = number(attributes, "tile_size") or _stride(coords)
    if coords.dtype.kind not in "iuf":
        raise UserError(f"the positions are of type {coords.dtype}, not numbers", path, MEND)
    if stride is None or round(stride) != px:
        told = "no unit" if stride is None else f"no unit, and tiles {stride:g} apart where STAMP 1 has 224"
        raise UserError(f"its coordinates have {told}", path, MEND)
    note = "coordinates of STAMP 1, taken as 224 px to 256 µm"
    return ForeignBag(features, coords * (um / px), unit="um", side=um, encoder_px=px, notes=(note,), **common)


def _encoder(extractor: Any) -> str | None:
    """Return the encoder's name without STAMP's version before it and the digests after it."""
    match = EXTRACTOR.fullmatch(extractor) if isinstance(extractor, str) else None
    return match["name"] if match else None


def _stride(coords: NDArray[Any]) -> float | None:
    """Return the smallest step between two columns or rows of tiles; None if there are no two of either."""
    if coords.ndim != 2 or coords.dtype.kind not in "iuf":
        return None
    steps = np.concatenate([np.diff(np.unique(axis)) for axis in coords.T])
    return float(steps.min()) if len(steps) else None


bag_readers.register("stamp")(BagReader("STAMP", (".h5",), recognise, read, 30))
