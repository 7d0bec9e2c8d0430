"""SlideGraph's ``<slide>.json`` and PanCIA's ``<slide>_graph.npz``: nodes as the rows of a bag.

Arrays ``x`` (K, D), ``edge_index`` and ``coordinates`` (K, 2). The edges are not taken over: sparra builds its own.
A node's coordinates are the rounded mean of its patches' corners, in pixels of the resolution that they were read at.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.arrays import MEND, load_json, load_npz
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.errors import UserError


def recognise(path: Path) -> bool:
    """Take a JSON of any name, and archives that PanCIA calls graphs."""
    return path.suffix.lower() == ".json" or path.name.endswith("_graph.npz")


def slide_name(path: Path) -> str:
    """Return the file's name without ``_graph``."""
    return path.stem.removesuffix("_graph")


def read(source: BagSource) -> ForeignBag:
    """Read the nodes of one slide's graph.

    Raises
    ------
    UserError
        If the file is damaged or holds no nodes of a slide.
    """
    path = source.path
    content: dict[str, Any] = load_json(path) if path.suffix.lower() == ".json" else load_npz(path)
    if not {"x", "coordinates"} <= set(content):
        holds = ", ".join(map(str, content)) or "nothing"
        raise UserError(f"it holds {holds}, not the 'x' and 'coordinates' of a graph", path, MEND)
    positions = _array(content["coordinates"], "coordinates", path)
    if positions.ndim == 2 and positions.shape[1] == 3:
        what = "its nodes lie at voxels of a CT (three coordinates), whose size and origin it does not hold"
        raise UserError(what, path, "Extract the CT with sparra")
    notes = ["its rows are the nodes of a graph, each the mean of its patches; its edges are not taken over"]
    side = source.settings.tile_px
    if side is None:
        notes.append("nodes may lie half a tile to the upper left, since the size of a tile was not given")
    features = _array(content["x"], "x", path)
    return ForeignBag(
        features=features,
        positions=positions,
        anchor="centre" if side is None else "corner",
        unit="grid",
        side=side,
        encoder_px=side,
        repeats=True,
        notes=tuple(notes),
    )


def _array(values: Any, name: str, path: Path) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError:
        raise UserError(f"'{name}' has rows of different lengths", path, MEND) from None
    return array.astype(np.float32) if name == "x" and array.dtype == np.float64 else array


bag_readers.register("graph-nodes")(
    BagReader("graph nodes (SlideGraph, PanCIA)", (".json", ".npz"), recognise, read, 20, slide_name=slide_name)
)
