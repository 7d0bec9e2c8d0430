"""Bags that are already there: ours, and those that other tools wrote.

A reader is one file that registers a `BagReader` and one line here; other packages add theirs through the entry point
``sparra.bag_readers``.
"""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from sparra.bags.bag import Bag
from sparra.bags.foreign import BagSource, ForeignBag, bag_of
from sparra.bags.readers import clam as clam
from sparra.bags.readers import graph_nodes as graph_nodes
from sparra.bags.readers import histossl as histossl
from sparra.bags.readers import lazyslide as lazyslide
from sparra.bags.readers import native as native
from sparra.bags.readers import plain as plain
from sparra.bags.readers import plain_csv as plain_csv
from sparra.bags.readers import slide2vec as slide2vec
from sparra.bags.readers import slide2vec_numpy as slide2vec_numpy
from sparra.bags.readers import slideflow as slideflow
from sparra.bags.readers import stamp as stamp
from sparra.bags.readers import tiatoolbox as tiatoolbox
from sparra.bags.readers import tiatoolbox_zarr as tiatoolbox_zarr
from sparra.bags.readers import torch_tensor as torch_tensor
from sparra.bags.readers import trident as trident
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.settings import ImportSettings
from sparra.errors import UserError
from sparra.files import is_lfs_pointer, sha256_of
from sparra.modality import Modality
from sparra.registry import nearest_name

__all__ = ["BagReader", "bag_readers", "find_reader", "import_bag", "is_bag_file", "parts_of", "read_foreign"]


def is_bag_file(path: Path) -> bool:
    """Tell by its suffix, or a folder by its content, whether a path is a bag rather than an image."""
    if path.is_dir() and path.suffix.lower() != ".zarr":
        return histossl.recognise(path)
    return any(path.suffix.lower() in bag_readers[name].suffixes for name in bag_readers)


def find_reader(path: Path, name: str | None = None) -> str:
    """Return the name of the reader of a file.

    Parameters
    ----------
    path : Path
    name : str, optional
        The format, where the user says it.

    Raises
    ------
    UserError
        If there is no such file, no reader for it, or it is damaged or not fetched.
    """
    if not path.exists():
        raise UserError("there is no such bag", path, "Correct the path")
    if name is not None:
        if name not in bag_readers:
            raise UserError(f"there is no format '{name}'", mend=nearest_name(name, bag_readers.names()))
        return name
    path = histossl.file_of(path) if histossl.recognise(path) else path
    if is_lfs_pointer(path):
        raise UserError("this is Git LFS's pointer to the file, not the file", path, "Run 'git lfs pull' in its clone")
    fitting = [name for name in bag_readers if path.suffix.lower() in bag_readers[name].suffixes]
    for candidate in sorted(fitting, key=lambda name: bag_readers[name].rank):
        if bag_readers[candidate].recognise(path):
            return candidate
    if fitting:
        formats = ", ".join(bag_readers[name].title for name in fitting)
        raise UserError(f"the file is of none of the formats {formats}", path, "See 'sparra inspect' for what it holds")
    known = ", ".join(sorted({suffix for name in bag_readers for suffix in bag_readers[name].suffixes}))
    raise UserError(f"'{path.suffix}' is no format of bags", path, f"Readers exist for {known}")


def read_foreign(source: BagSource, name: str | None = None) -> tuple[str, Bag | ForeignBag]:
    """Read a file as it is, without judging what it holds.

    Returns
    -------
    name : str
        The reader.
    content : ForeignBag, or Bag where the format is already in physical units

    Raises
    ------
    UserError
        As `find_reader`, or if the file cannot be read.
    """
    name = find_reader(source.path, name)
    try:
        return name, bag_readers[name].read(source)
    except UserError as error:
        raise UserError(error.what, error.where or source.path, error.mend) from None


def parts_of(path: Path, mpp: float | None = None, settings: ImportSettings | None = None) -> tuple[Path, ...]:
    """Return the further files that a bag is made from; none where that cannot be told."""
    source = BagSource(path, "slide", mpp, settings or ImportSettings())
    try:
        return bag_readers[find_reader(path)].companions(source)
    except UserError:
        return ()


def import_bag(
    path: Path,
    modality: Modality,
    mpp: float | None = None,
    settings: ImportSettings | None = None,
    name: str | None = None,
) -> Bag:
    """Read a bag that another tool, or sparra, has written.

    Parameters
    ----------
    path : Path
        File, or folder (zarr).
    modality : {"ct", "slide"}
        What the patches were cut from; most formats do not say.
    mpp : float, optional
        Micrometres per pixel of level 0, for formats that hold positions in pixels.
    settings : ImportSettings, optional
        What else the format does not say.
    name : str, optional
        The format, where it cannot be told from the file.

    Returns
    -------
    Bag
        Its provenance gains ``reader``, ``source_file`` (name only), ``source_sha256`` and ``source_path_sha256``.

    Raises
    ------
    UserError
        If there is no such file, no reader for it, or it is damaged or holds something else.
    """
    source = BagSource(path, modality, mpp, settings or ImportSettings())
    reader, content = read_foreign(source, name)
    bag = bag_of(content, source) if isinstance(content, ForeignBag) else content
    origin = {
        "reader": reader,
        "source_file": path.name,
        "source_sha256": sha256_of(path),
        "source_path_sha256": sha256(str(path.resolve()).encode()).hexdigest(),
    }
    return replace(bag, provenance={**bag.provenance, **origin})
