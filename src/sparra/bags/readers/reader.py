"""What a reader of foreign bags is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparra.bags.bag import Bag
from sparra.modality import Modality


@dataclass(frozen=True)
class BagReader:
    """One format of bags.

    Attributes
    ----------
    suffix : str
        Of its files, lower case with the dot.
    read : callable
        ``read(path, modality, mpp)`` gives the bag or raises a `UserError` that names the file; `mpp` is None where
        the user gave none.
    """

    suffix: str
    read: Callable[[Path, Modality, float | None], Bag]
