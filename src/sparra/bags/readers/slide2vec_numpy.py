"""slide2vec 1 and 2: ``features/<slide>.pt``, or ``<slide>-tiles.pt``, and ``coordinates/<slide>.npy`` in one folder.

The coordinates are a table whose columns have names: ``x`` and ``y`` are top-left corners in pixels of level 0,
``tile_size_lv0`` is a tile's side there. It says how many µm a pixel was to have that was read (``target_spacing``),
but not how many one of level 0 has. Which encoder ran stands in ``config.yaml`` beside the two folders. With a slide
encoder, ``<slide>.pt`` is its one vector, and the tiles' features are kept as ``<slide>-tiles.pt`` if at all.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from sparra.bags.foreign import BagSource, ForeignBag, require_same_number
from sparra.bags.readers.arrays import load_npy
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.readers.slide2vec import joined, mpp_of_tiles
from sparra.bags.readers.torch_tensor import matrix_in
from sparra.errors import UserError

TILES = "-tiles"
# What else is written beside the features.
LATENTS = "-latents"
# The tile encoder below a slide encoder of that name.
TILE_ENCODERS = {"titan": "conch-v1.5", "prism": "virchow", "prov-gigapath": "prov-gigapath"}
_CONFIG_BYTES = 1 << 18


def recognise(path: Path) -> bool:
    """Tell the files by their folder and the coordinates in the folder beside it."""
    return path.parent.name == "features" and _coordinates(path).is_file()


def slide_name(path: Path) -> str:
    """Return the slide's name, without what is added where a slide encoder ran."""
    return path.stem.removesuffix(LATENTS).removesuffix(TILES)


def is_whole_slide(path: Path) -> bool:
    """Tell the vector of a slide encoder by the tiles' features beside it, and its latents by their name."""
    if not recognise(path):
        return False
    return path.stem.endswith(LATENTS) or path.with_name(f"{path.stem}{TILES}.pt").is_file()


def companions(source: BagSource) -> tuple[Path, ...]:
    """Return the coordinates, and the settings of the run."""
    return tuple(path for path in (_coordinates(source.path), _config(source.path)) if path.is_file())


def read(source: BagSource) -> ForeignBag:
    """Read the features of one slide's tiles with their coordinates.

    Raises
    ------
    UserError
        If a file is damaged, the features are of the whole slide, or the coordinates are of another layout or number.
    """
    path = source.path
    table = load_npy(_coordinates(path))
    if table.ndim != 1 or not {"x", "y"} <= set(table.dtype.names or ()):
        what = f"its coordinates are of shape {table.shape} and type {table.dtype}, not a table with columns x and y"
        raise UserError(
            what, _coordinates(path), "Run slide2vec again, or import the features alone with --format torch-tensor"
        )
    features = matrix_in(path)
    if is_whole_slide(path) or _is_one_vector(features, len(table)):
        what = f"it holds features of the whole slide (shape {features.shape}, {len(table)} tiles)"
        mend = f"Give {path.stem.removesuffix(LATENTS)}{TILES}.pt, which slide2vec keeps with save_tile_embeddings"
        raise UserError(what, path, mend)
    if features.ndim == 2:
        require_same_number(features, len(table), _coordinates(path))
    side, pixels = _first(table, "tile_size_lv0"), _pixels(table)
    mpp, notes = mpp_of_tiles(side, pixels, _first(table, "target_spacing"))
    return ForeignBag(
        features=features,
        positions=joined(table["x"], table["y"], _coordinates(path)),
        side=side,
        encoder_px=pixels,
        mpp=mpp,
        encoder=_encoder(_config(path), path),
        notes=notes,
        attributes={"requested_spacing_um": _first(table, "target_spacing")},
    )


def _is_one_vector(features: NDArray[Any], n_tiles: int) -> bool:
    return n_tiles > 1 and (features.ndim == 1 or (features.ndim == 2 and len(features) == 1))


def _first(table: NDArray[Any], name: str) -> float | None:
    """Return a positive number that stands in every row; None where there is none."""
    if name not in (table.dtype.names or ()) or not len(table) or table[name].dtype.kind not in "iuf":
        return None
    column = table[name]
    value = float(column[0]) if column.ndim == 1 and (column == column[0]).all() else 0.0
    return value if 0 < value < np.inf else None


def _pixels(table: NDArray[Any]) -> float | None:
    """Return the side that a tile was to have; version 1 stored only what was read and the factor between them."""
    asked, read, factor = (_first(table, name) for name in ("target_tile_size", "tile_size_resized", "resize_factor"))
    if asked is None and read and factor:
        return float(np.round(read / factor)) if read / factor < np.inf else None
    return asked


def _encoder(config: Path, features: Path) -> str | None:
    """Return the encoder that the run's settings name; None where they do not, or cannot be read."""
    if not config.is_file() or config.stat().st_size > _CONFIG_BYTES:
        return None
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    model = settings.get("model") if isinstance(settings, Mapping) else None
    name, level = (model.get("name"), model.get("level")) if isinstance(model, Mapping) else (None, None)
    if not isinstance(name, str):
        return None
    return TILE_ENCODERS.get(name) if level == "slide" or features.stem.endswith(TILES) else name


def _coordinates(path: Path) -> Path:
    return path.parent.parent / "coordinates" / f"{slide_name(path)}.npy"


def _config(path: Path) -> Path:
    return path.parent.parent / "config.yaml"


bag_readers.register("slide2vec-numpy")(
    BagReader("slide2vec 1 and 2", (".pt",), recognise, read, 15, companions, slide_name)
)
