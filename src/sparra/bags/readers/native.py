"""Our own HDF5 bags, e.g. those of another study."""

from pathlib import Path

from sparra.bags.bag import Bag
from sparra.bags.store import read_bag
from sparra.errors import UserError
from sparra.modality import Modality


def read_native(path: Path, modality: Modality, mpp: float | None) -> Bag:
    """Read a bag that sparra has written; its positions are physical already, so `mpp` is not used.

    Raises
    ------
    UserError
        If the file is no bag, or one of the other modality.
    """
    bag = read_bag(path)
    if bag.modality != modality:
        raise UserError(f"the bag holds a {bag.modality}, the table says {modality}", path, "Correct the table")
    return bag
