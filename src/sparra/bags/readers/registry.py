"""The registry of bag formats; other packages add theirs by entry point."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparra.bags.bag import Bag
from sparra.modality import Modality
from sparra.registry import Registry


@dataclass(frozen=True)
class BagReader:
    """One format of feature files.

    Attributes
    ----------
    suffixes : tuple of str
        Endings of its files, in lower case with the dot.
    read : callable (path, modality, mpp) -> Bag
        Raises a `UserError` for a file that is not usable.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path, Modality, float | None], Bag]


bag_readers: Registry[BagReader] = Registry("bag reader", "sparra.bag_readers")
