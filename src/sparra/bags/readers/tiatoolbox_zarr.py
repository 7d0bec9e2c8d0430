"""TIAToolbox from version 2: ``<slide>.zarr`` with ``coordinates`` (N, 4) and the features, (N, D).

The features are called ``probabilities`` by some versions and ``features`` by others. Coordinates are bounds
(x0, y0, x1, y1) in pixels of the resolution that the tiles were read at.
"""

from pathlib import Path

from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.arrays import bounds_or_corners
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.readers.zarr_store import members_of, open_group, read_array
from sparra.errors import UserError


def recognise(path: Path) -> bool:
    """Take any zarr folder that no format before has claimed."""
    return path.is_dir()


def read(source: BagSource) -> ForeignBag:
    """Read the features of one slide with the bounds of its tiles.

    Raises
    ------
    UserError
        If the store is damaged or truncated, or holds something else.
    """
    path = source.path
    group = open_group(path)
    there = members_of(path)
    name = "features" if "features" in there else "probabilities"
    if "canvas" in there or not {name, "coordinates"} <= there:
        holds = ", ".join(sorted(there)) or "nothing"
        what = f"it holds {holds}, not 'features' (or 'probabilities') and 'coordinates'"
        raise UserError(what, path, "Give the output of TIAToolbox's DeepFeatureExtractor")
    where, side, are_centres = bounds_or_corners(read_array(group, "coordinates", path))
    return ForeignBag(
        features=read_array(group, name, path),
        positions=where,
        anchor="centre" if are_centres else "corner",
        unit="grid",
        side=side,
        encoder_px=side,
    )


bag_readers.register("tiatoolbox-zarr")(BagReader("TIAToolbox 2 (zarr)", (".zarr",), recognise, read, 60))
