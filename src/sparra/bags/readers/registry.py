"""The registry of bag formats; other packages add theirs by entry point."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparra.bags.bag import Bag
from sparra.bags.foreign import BagSource, ForeignBag
from sparra.registry import Registry


def stem_of(path: Path) -> str:
    """Return a file's name without its last suffix, as most tools name a slide's file."""
    return path.stem


def no_companions(source: BagSource) -> tuple[Path, ...]:
    """Return nothing: all is in the one file."""
    return ()


@dataclass(frozen=True)
class BagReader:
    """One format of feature files.

    Attributes
    ----------
    title : str
        The format in a user's words.
    suffixes : tuple of str
        Endings of its files, in lower case with the dot.
    recognise : callable (path) -> bool
        Whether a file with such an ending is of the format, by its content or its neighbours. May raise a
        `UserError` for a file that is damaged.
    read : callable (BagSource) -> ForeignBag or Bag
        Raises a `UserError` for a file that is not usable.
    rank : int
        Formats are tried in this order, the general ones last.
    companions : callable (BagSource) -> tuple of Path
        Other files that the bag is made from.
    slide_name : callable (path) -> str
        Name of the slide that a file is of.
    """

    title: str
    suffixes: tuple[str, ...]
    recognise: Callable[[Path], bool]
    read: Callable[[BagSource], Bag | ForeignBag]
    rank: int = 50
    companions: Callable[[BagSource], tuple[Path, ...]] = no_companions
    slide_name: Callable[[Path], str] = stem_of


bag_readers: Registry[BagReader] = Registry("bag reader", "sparra.bag_readers")
