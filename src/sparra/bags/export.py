"""Slide bags in TRIDENT's layout, so that other tools can read what sparra extracted.

``<job>/<magnification>x_<px>px_<overlap>px_overlap/patches/<slide>_patches.h5`` holds ``coords``, and
``features_<encoder>/<slide>.h5`` beside it ``features`` and ``coords``, with the attributes that TRIDENT writes and one
more, ``mpp``, which it does not store.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from sparra.bags.bag import Bag
from sparra.bags.foreign import MPP_OF_MAGNIFICATION, PLAUSIBLE_MPP
from sparra.bags.readers.hdf5 import number
from sparra.bags.store import read_bag
from sparra.cohort.tables import read_table
from sparra.errors import UserError
from sparra.files import atomic_path


@dataclass(frozen=True)
class TridentGrid:
    """A bag's tiles as TRIDENT describes them.

    Attributes
    ----------
    mpp : float
        µm per pixel of level 0, along x.
    mpp_y : float
        The same along y, which TRIDENT has no place for.
    side : int
        Side of a tile in pixels of level 0.
    patch_size : int
        Side in pixels at `magnification`.
    overlap : int
        In pixels at `magnification`.
    magnification, source_magnification : int
        At which tiles were read, and of level 0.
    """

    mpp: float
    mpp_y: float
    side: int
    patch_size: int
    overlap: int
    magnification: int
    source_magnification: int

    @property
    def folder(self) -> str:
        """Name of the folder that TRIDENT gives such tiles."""
        return f"{self.magnification}x_{self.patch_size}px_{self.overlap}px_overlap"


def write_trident(job: Path, name: str, bag: Bag, mpp: float | None = None) -> Path:
    """Write the coordinates and features of one slide.

    Parameters
    ----------
    job : Path
        TRIDENT's job folder.
    name : str
        Of the slide.
    bag : Bag
        Of a slide, with positions and the side of a tile.
    mpp : float, optional
        µm per pixel of level 0, where the bag does not know it.

    Returns
    -------
    Path
        The features' file.

    Raises
    ------
    UserError
        If the bag is of a CT, or has no positions, side of a tile, or µm per pixel, or `mpp` is not plausible.

    Notes
    -----
    Corners and the side are rounded to pixels of level 0, as TRIDENT's are, so that a centre moves by at most half a
    pixel along each axis. Where a slide's pixels are not quite square, corners are in its own pixels along each axis.
    """
    grid = trident_grid(bag, mpp)
    positions = bag.positions if bag.positions is not None else np.empty((0, 2))
    corners = np.floor(positions / (grid.mpp, grid.mpp_y) - grid.side / 2 + 0.5).astype(np.int64)
    attributes = _coordinate_attributes(grid, name, bag)
    folder = job / grid.folder
    encoder = _encoder(bag)
    _write(folder / "patches" / f"{name}_patches.h5", {"coords": corners}, {"coords": attributes})
    path = folder / f"features_{_safe(encoder)}" / f"{name}.h5"
    described = {"name": name, "savetodir": path.parent.name, "encoder": encoder}
    features = np.asarray(bag.features)
    _write(path, {"features": features, "coords": corners}, {"features": described, "coords": attributes})
    return path


def trident_grid(bag: Bag, mpp: float | None = None) -> TridentGrid:
    """Return a bag's tiles as TRIDENT describes them.

    Raises
    ------
    UserError
        As `write_trident`.
    """
    if bag.modality != "slide":
        raise UserError("TRIDENT's layout is for slides, this bag is of a CT", mend="Export slide bags")
    if bag.positions is None:
        raise UserError("the bag has no positions, which TRIDENT's layout needs", mend="Export bags with positions")
    if bag.patch_size is None:
        raise UserError("the bag does not know the size of its tiles", mend="Import it again with --tile-px")
    if mpp is not None and not PLAUSIBLE_MPP[0] <= mpp < PLAUSIBLE_MPP[1]:
        raise UserError(f"an mpp of {mpp:g} µm per pixel is not plausible", mend="Give the mpp of level 0, e.g. 0.25")
    known = _known_mpp(bag) if mpp is None else (mpp, mpp)
    if known is None:
        raise UserError("the bag does not know the µm per pixel of its slide", mend="Give it with --mpp")
    level0, level0_y = known
    side_um = bag.patch_size[0]
    tile_mpp = _tile_mpp(bag) or level0
    patch_size = round(side_um / tile_mpp)
    overlap = _overlap_px(bag, side_um, tile_mpp)
    return TridentGrid(
        level0, level0_y, round(side_um / level0), patch_size, overlap, _magnification(tile_mpp), _magnification(level0)
    )


def _known_mpp(bag: Bag) -> tuple[float, float] | None:
    """Return µm per pixel of level 0 along x and y."""
    slide = bag.provenance.get("slide", {})
    known = bag.provenance.get("mpp") or slide.get("mpp_x")
    return None if known is None else (float(known), float(slide.get("mpp_y", known)))


def _tile_mpp(bag: Bag) -> float | None:
    known = bag.provenance.get("tile_mpp")
    grid = bag.provenance.get("grid", {})
    if known is None and {"tile_um", "tile_px"} <= set(grid):
        known = grid["tile_um"] / grid["tile_px"]
    return None if known is None else float(known)


def _overlap_px(bag: Bag, side_um: float, tile_mpp: float) -> int:
    """Return the overlap of a bag that sparra extracted, else as TRIDENT stored it, which alone of all tools does."""
    step_um = bag.provenance.get("grid", {}).get("step_um")
    if step_um is not None:
        return max(0, round((side_um - float(step_um)) / tile_mpp))
    return round(number(bag.provenance.get("source_attributes"), "overlap") or 0)


def _magnification(mpp: float) -> int:
    """Return the magnification that TRIDENT calls a µm per pixel by."""
    for magnification, (least, most) in MPP_OF_MAGNIFICATION.items():
        if least <= mpp < most:
            return magnification
    raise UserError(f"TRIDENT knows no magnification for {mpp:g} µm per pixel", mend="Export finer tiles")


def _encoder(bag: Bag) -> str:
    encoder = bag.provenance.get("encoder")
    return str(encoder.get("name", "unknown") if isinstance(encoder, dict) else encoder or "unknown")


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _coordinate_attributes(grid: TridentGrid, name: str, bag: Bag) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "patch_size": grid.patch_size,
        "patch_size_level0": grid.side,
        "level0_magnification": grid.source_magnification,
        "target_magnification": grid.magnification,
        "overlap": grid.overlap,
        "name": name,
        "savetodir": grid.folder,
        "mpp": grid.mpp,
    }
    dimensions = bag.provenance.get("slide", {}).get("level_dimensions")
    stored = bag.provenance.get("source_attributes", {})
    width, height = dimensions[0] if dimensions else (stored.get("level0_width"), stored.get("level0_height"))
    if width and height:
        attributes |= {"level0_width": int(width), "level0_height": int(height)}
    return attributes


def _write(path: Path, arrays: dict[str, NDArray[Any]], attributes: dict[str, dict[str, Any]]) -> None:
    """Write datasets that can grow, in chunks of one row, as TRIDENT's are."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name, values in arrays.items():
            shape = values.shape[1:]
            dataset = file.create_dataset(name, data=values, chunks=(1, *shape), maxshape=(None, *shape))
            dataset.attrs.update(attributes[name])


def bags_in(source: Path) -> list[Path]:
    """Return the bags to export: a file, or every ``.h5`` below a folder of slide bags.

    Of a folder that ``sparra import`` wrote, the bags that its ``images.csv`` names: one that is of another kind than
    most stays in ``bags`` without a row.

    Raises
    ------
    UserError
        If there is none, or two have one name, by which TRIDENT's files are named.
    """
    if source.is_file():
        return [source]
    if (source / "images.csv").is_file() and (source / "bags").is_dir():
        rows = read_table(source / "images.csv", ("path",)).rows
        root = source.absolute()
        named = sorted({root / row["path"] for row in rows})
        paths = [path for path in named if path.is_relative_to(root / "bags")]
    else:
        folder = source / "features" / "slide" if (source / "features" / "slide").is_dir() else source
        paths = sorted(path for path in folder.rglob("*.h5") if not path.name.startswith("."))
    if not paths:
        raise UserError("there is no bag", source, "Give a bag, a folder of bags, or a study's output folder")
    repeated = sorted(name for name, number in Counter(path.stem for path in paths).items() if number > 1)
    if repeated:
        what = f"{len(repeated)} names stand for several bags, first '{repeated[0]}'"
        raise UserError(what, source, "Give the folders one by one, each with an output folder of its own")
    return paths


def export_bag(path: Path, job: Path, mpp: float | None = None) -> Path:
    """Write one stored bag in TRIDENT's layout, under the name of its file.

    Raises
    ------
    UserError
        As `read_bag` and `write_trident`.
    """
    try:
        return write_trident(job, path.stem, read_bag(path), mpp)
    except UserError as error:
        raise UserError(error.what, error.where or path, error.mend) from None
