"""Bags that are already there: ours, and those that other tools wrote.

A reader is one file that registers a `BagReader`; other packages add theirs through the entry point
``sparra.bag_readers``.
"""

from dataclasses import replace
from pathlib import Path

from sparra.bags.bag import Bag
from sparra.bags.readers.native import read_native
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.readers.torch_tensor import read_torch_tensor
from sparra.errors import UserError
from sparra.files import sha256_of
from sparra.modality import Modality

__all__ = ["BagReader", "bag_readers", "import_bag", "is_bag_file"]

bag_readers.register("sparra")(BagReader((".h5",), read_native))
bag_readers.register("torch-tensor")(BagReader((".pt",), read_torch_tensor))


def is_bag_file(path: Path) -> bool:
    """Tell by its suffix whether a file is a bag rather than an image."""
    return any(path.suffix.lower() in bag_readers[name].suffixes for name in bag_readers)


def import_bag(path: Path, modality: Modality, mpp: float | None = None) -> Bag:
    """Read a bag that another tool, or sparra, has written.

    Parameters
    ----------
    path : Path
    modality : {"ct", "slide"}
        What the patches were cut from; most formats do not say.
    mpp : float, optional
        Micrometres per pixel of level 0, for formats that hold positions in pixels.

    Returns
    -------
    Bag
        Its provenance gains ``reader``, ``source_file`` (name only) and ``source_sha256``.

    Raises
    ------
    UserError
        If there is no such file, no reader for it, or it is damaged or holds something else.
    """
    if not path.is_file():
        raise UserError("there is no such bag", path, "Correct the path")
    for name in bag_readers:
        if path.suffix.lower() in bag_readers[name].suffixes:
            bag = bag_readers[name].read(path, modality, mpp)
            source = {"reader": name, "source_file": path.name, "source_sha256": sha256_of(path)}
            return replace(bag, provenance={**bag.provenance, **source})
    known = ", ".join(suffix for name in bag_readers for suffix in bag_readers[name].suffixes)
    raise UserError(f"'{path.suffix}' is no format of bags", path, f"Readers exist for {known}")
