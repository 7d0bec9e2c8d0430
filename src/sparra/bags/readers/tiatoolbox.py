"""TIAToolbox before version 2: ``<slide>.features.npy`` (N, D) and ``<slide>.position.npy`` (N, 4) bounds.

As version 1 itself writes them the names are numbers, ``0.features.0.npy`` and ``0.position.npy``, and
``file_map.dat``, a Python pickle, tells the slides. PanCIA names the two ``<slide>_pathomics.npy`` and
``<slide>_coordinates.npy``. Positions are pixels of the resolution that the tiles were read at.
"""

import re
from pathlib import Path

from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.arrays import bounds_or_corners, load_npy
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.errors import UserError

NAMES = re.compile(r"^(?P<slide>.+?)(\.features(\.\d+)?|_pathomics)\.npy$")

NUMBERED = "TIAToolbox numbered this slide; its name stands in file_map.dat, a pickle that sparra does not run"


def recognise(path: Path) -> bool:
    """Tell the files by their names."""
    return NAMES.match(path.name) is not None


def slide_name(path: Path) -> str:
    """Return what stands before ``.features`` or ``_pathomics``."""
    match = NAMES.match(path.name)
    return match["slide"] if match else path.stem


def companions(source: BagSource) -> tuple[Path, ...]:
    """Return the file of positions."""
    return tuple(path for path in (_positions(source.path),) if path.is_file())


def read(source: BagSource) -> ForeignBag:
    """Read the features of one slide with the bounds of its tiles.

    Raises
    ------
    UserError
        If a file is damaged or the positions are missing.
    """
    path = source.path
    positions = _positions(path)
    if not positions.is_file():
        what = f"its positions {positions.name} are missing"
        raise UserError(what, path, "Put them beside the features, as they were written")
    where, side, are_centres = bounds_or_corners(load_npy(positions))
    return ForeignBag(
        features=load_npy(path),
        positions=where,
        anchor="centre" if are_centres else "corner",
        unit="grid",
        side=side,
        encoder_px=side,
        notes=(NUMBERED,) if slide_name(path).isdigit() else (),
    )


def _positions(path: Path) -> Path:
    name = slide_name(path)
    return path.with_name(f"{name}_coordinates.npy" if path.name.endswith("_pathomics.npy") else f"{name}.position.npy")


bag_readers.register("tiatoolbox")(
    BagReader("TIAToolbox 1 (npy)", (".npy",), recognise, read, 20, companions, slide_name)
)
