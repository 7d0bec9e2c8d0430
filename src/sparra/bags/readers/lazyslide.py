"""LazySlide: ``<slide>.zarr``, a SpatialData store with tiles and one table of features an encoder.

``tables/<encoder>_tiles/X`` (N, D) and its ``obs/tile_id``; ``shapes/tiles/shapes.parquet`` with ``tile_id``, ``x`` and
``y``, top-left corners in pixels of level 0; attributes ``tile_spec`` and ``slide_properties`` (µm per pixel). Needs
the extra ``lazyslide`` (pyarrow).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.bags.encoder_names import common_name
from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.hdf5 import number
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.readers.zarr_store import MEND, members_of, open_group, read_array
from sparra.errors import UserError

#: A parquet file of a few bytes may stand for any number of equal rows.
MOST_TILES = 50_000_000


def recognise(path: Path) -> bool:
    """Tell a SpatialData store by its groups."""
    return (path / "tables").is_dir() and (path / "shapes").is_dir()


def read(source: BagSource) -> ForeignBag:
    """Read one encoder's features of one slide with the corners of its tiles.

    Raises
    ------
    UserError
        If the store is damaged, holds features of several encoders and none is chosen, or pyarrow is absent.
    """
    path = source.path
    group = open_group(path)
    attributes: dict[str, Any] = dict(group.attrs)
    specifications = attributes.get("tile_spec")
    if not isinstance(specifications, dict):
        raise UserError("it says nothing of its tiles ('tile_spec')", path, MEND)
    table, tiles, encoder = _chosen_table(path, members_of(path / "tables"), specifications, source.settings.encoder)
    features = read_array(group, f"tables/{table}/X", path)
    ids = read_array(group, f"tables/{table}/obs/tile_id", path)
    specification = specifications[tiles]
    return ForeignBag(
        features=features,
        positions=_corners(path / "shapes" / tiles / "shapes.parquet", ids),
        side=_side(specification),
        encoder_px=number(specification, "width"),
        mpp=number(attributes.get("slide_properties"), "mpp"),
        magnification=number(attributes.get("slide_properties"), "magnification"),
        encoder=encoder,
        attributes={"tile_spec": specification},
    )


def _chosen_table(
    path: Path, tables: set[str], specifications: dict[str, Any], wanted: str | None
) -> tuple[str, str, str]:
    """Return the names of a table of features, of its tiles and of its encoder."""
    found = [
        (table, tiles, table.removesuffix(f"_{tiles}"))
        for table in sorted(tables)
        for tiles in specifications
        if table.endswith(f"_{tiles}")
    ]
    if wanted is not None:
        found = [row for row in found if common_name(row[2]) == common_name(wanted)]
    if not found:
        chosen = f" of encoder '{wanted}'" if wanted else ""
        raise UserError(f"it holds no features{chosen}, only {', '.join(sorted(tables)) or 'nothing'}", path, MEND)
    if len(found) > 1:
        names = ", ".join(row[2] for row in found)
        mend = "Choose one with --encoder, or as 'encoder' in 'bags.imports' of study.yaml"
        raise UserError(f"it holds features of several encoders ({names})", path, mend)
    return found[0]


def _side(specification: Any) -> float | None:
    """Return the side of a tile in pixels of level 0, cut to whole pixels as LazySlide cuts it."""
    width, factor = number(specification, "width"), number(specification, "base_downsample")
    return float(int(width * factor)) if width and factor else None


def _corners(parquet: Path, ids: NDArray[Any]) -> NDArray[np.float64]:
    """Return the corners of the tiles with these ids, in their order."""
    try:
        import pyarrow
        from pyarrow.parquet import read_metadata, read_table
    except ImportError:
        mend = 'Install it with: pip install "sparra[lazyslide]"'
        raise UserError("reading LazySlide's tiles needs pyarrow", parquet, mend) from None
    try:
        if read_metadata(parquet).num_rows > MOST_TILES:
            raise ValueError("more rows than a slide has tiles")
        table = read_table(parquet, columns=["tile_id", "x", "y"])
        columns = {name: np.asarray(table.column(name).to_numpy()) for name in ("tile_id", "x", "y")}
    except (OSError, KeyError, ValueError, pyarrow.ArrowException) as error:
        raise UserError(f"the tiles cannot be read ({' '.join(str(error).split())})", parquet, MEND) from None
    tiles = columns["tile_id"]
    if any(values.dtype.kind not in "iuf" for values in columns.values()) or not len(tiles):
        raise UserError("the tiles' ids and corners are no numbers", parquet, MEND)
    order = np.argsort(tiles, kind="stable")
    places = np.minimum(np.searchsorted(tiles, ids, sorter=order), len(tiles) - 1)
    rows = order[places]
    if not np.array_equal(tiles[rows], ids):
        raise UserError("there are features of tiles that are not among the tiles", parquet, MEND)
    return np.stack([columns["x"][rows], columns["y"][rows]], axis=1).astype(np.float64)


bag_readers.register("lazyslide")(BagReader("LazySlide", (".zarr",), recognise, read, 20))
