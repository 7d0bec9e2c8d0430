"""HistoSSLscaling: ``<encoder>/<dataset>/<slide>.svs/features.npy``, (N, 3 + D).

The leading columns are the level, column and row of a tile in OpenSlide's DeepZoom pyramid of the slide: a tile's
corner is (column, row) times its side, in pixels of that level. Neither the side (224, 256 or 4096) nor the level's
µm per pixel (published: 0.5, and 1.0 for CTransPath) is stored.
"""

from pathlib import Path

import numpy as np

from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.arrays import MEND, load_npy
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.errors import UserError

NAME = "features.npy"


def file_of(path: Path) -> Path:
    """Return the file itself where its folder is given."""
    return path / NAME if path.is_dir() else path


def recognise(path: Path) -> bool:
    """Tell the file by its name."""
    return file_of(path).name == NAME and file_of(path).is_file()


def slide_name(path: Path) -> str:
    """Return the name of the slide, which is the folder's."""
    folder = file_of(path).absolute().parent
    return folder.stem if folder.suffix in (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn") else folder.name


def read(source: BagSource) -> ForeignBag:
    """Read the features of one slide with the addresses of its tiles.

    Raises
    ------
    UserError
        If the file is damaged, the leading columns are no addresses, or the side of a tile is not given.
    """
    path = file_of(source.path)
    stored = load_npy(path)
    if stored.ndim == 3 and len(stored) == 1:
        stored = stored[0]
    if stored.ndim != 2 or stored.shape[1] < 4 or stored.dtype.kind not in "iuf":
        raise UserError(
            f"it has shape {stored.shape} and type {stored.dtype}, not level, column, row and features", path, MEND
        )
    address = stored[:, :3]
    if not (np.isfinite(address).all() and (address == np.round(address)).all() and (address >= 0).all()):
        what = "its first three columns are not the level, column and row of a tile, as HistoSSLscaling writes them"
        raise UserError(what, path, f"If another tool wrote it, rename it to <slide>.npy; else {MEND.lower()}")
    if len(np.unique(address[:, 0])) > 1:
        raise UserError(f"its tiles are of {len(np.unique(address[:, 0]))} levels, expected one", path, MEND)
    side = source.settings.tile_px
    if side is None:
        what = "its positions are columns and rows of tiles, but it does not say how large a tile is"
        mend = "Give the side of a tile with --tile-px, or as 'tile_px' in 'bags.imports' of study.yaml, e.g. 224"
        raise UserError(what, path, mend)
    return ForeignBag(
        features=stored[:, 3:],
        positions=address[:, 1:].astype(np.float64) * side,
        unit="grid",
        side=side,
        encoder_px=side,
        encoder=_encoder(path),
        attributes={"deepzoom_level": int(address[0, 0])} if len(address) else {},
    )


def _encoder(path: Path) -> str | None:
    """Return the name of the encoder's folder where the published layout is kept."""
    for folder in path.absolute().parents:
        if folder.parent.name == "features":
            return folder.name
    return None


bag_readers.register("histossl")(BagReader("HistoSSLscaling", (".npy",), recognise, read, 20, slide_name=slide_name))
