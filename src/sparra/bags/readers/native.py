"""Our own HDF5 bags, e.g. those of another study."""

from pathlib import Path

from sparra.bags.bag import Bag
from sparra.bags.foreign import BagSource
from sparra.bags.readers.hdf5 import open_hdf5
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.store import FORMAT, read_bag
from sparra.errors import UserError


def recognise(path: Path) -> bool:
    """Tell sparra's bags by the format that they name."""
    with open_hdf5(path) as file:
        return bool(file.attrs.get("format") == FORMAT)


def read(source: BagSource) -> Bag:
    """Read a bag that sparra has written; its positions are physical already.

    Raises
    ------
    UserError
        If the file is no bag, or one of the other modality.
    """
    bag = read_bag(source.path)
    if bag.modality != source.modality:
        what = f"the bag holds a {bag.modality}, the table says {source.modality}"
        raise UserError(what, source.path, "Correct the table")
    return bag


bag_readers.register("sparra")(BagReader("sparra bag", (".h5",), recognise, read, 0))
