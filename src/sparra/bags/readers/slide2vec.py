"""slide2vec from version 3: ``tile_embeddings/<id>.pt`` or ``.npz``, ``<id>.meta.json``, and the tiles' coordinates.

Those are ``tiles/<id>.coordinates.npz`` (version 3.0: ``coordinates/<id>.tiles.npz``) with a ``.meta.json`` beside
them. Rows of both are in one order; positions are top-left corners in pixels of level 0, whose µm per pixel is
``slide.base_spacing_um``. Version 3 wrote the meta file without sections and without that number, so that it is found
from the side of tiles, as in `slide2vec_numpy`, which reads versions 1 and 2.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.arrays import load_json, load_npz
from sparra.bags.readers.hdf5 import number
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.readers.torch_tensor import matrix_in
from sparra.errors import UserError

FOLDERS = ("tile_embeddings", "hierarchical_embeddings", "slide_embeddings", "patient_embeddings")
# Folder and ending of the coordinates, the present ones first.
LAYOUTS = (("tiles", ".coordinates"), ("coordinates", ".coordinates"), ("coordinates", ".tiles"))


def recognise(path: Path) -> bool:
    """Tell slide2vec's files by the meta file beside them, or by the folder."""
    if path.name.endswith((".coordinates.npz", ".tiles.npz")):
        return False
    return _meta(path).is_file() or _folder(path) is not None


def companions(source: BagSource) -> tuple[Path, ...]:
    """Return the meta file, the coordinates and their meta file."""
    meta = _meta(source.path)
    if not meta.is_file():
        return ()
    coordinates = _coordinates(source.path, load_json(meta))
    return tuple(path for path in (meta, coordinates, _coordinates_meta(coordinates)) if path.is_file())


def read(source: BagSource) -> ForeignBag:
    """Read the tile embeddings of one slide with their coordinates.

    Raises
    ------
    UserError
        If a file is damaged, the embedding is of a slide or patient, or the coordinates are missing.
    """
    path = source.path
    if not _meta(path).is_file():
        what = f"{_meta(path).name} is missing, which slide2vec writes last, so the file may not be whole"
        raise UserError(what, path, "Run slide2vec again")
    meta = load_json(_meta(path))
    kind = meta.get("artifact_type", "tile_embeddings")
    if kind not in ("tile_embeddings", "hierarchical_embeddings"):
        raise UserError(f"it holds {kind}, not tile embeddings", path, "Give the folder tile_embeddings")
    features = _features(path)
    coordinates = _coordinates(path, meta)
    if not coordinates.is_file():
        what = f"its coordinates {coordinates.parent.name}/{coordinates.name} are missing"
        raise UserError(what, path, "Keep slide2vec's output folder as it was written")
    arrays = load_npz(coordinates)
    described = load_json(_coordinates_meta(coordinates)) if _coordinates_meta(coordinates).is_file() else {}
    tiling = described.get("tiling", described)
    side = number(meta, "tile_size_lv0") or number(tiling, "tile_size_lv0")
    pixels = number(meta, "requested_tile_size_px") or _either(tiling, "requested_tile_size_px", "target_tile_size_px")
    mpp, notes = number(described.get("slide"), "base_spacing_um"), tuple[str, ...]()
    if mpp is None:
        spacing = _either(tiling, "requested_spacing_um", "target_spacing_um")
        mpp, notes = mpp_of_tiles(side, pixels, spacing)
    fractions = next((arrays[name] for name in ("tissue_fractions", "tissue_fraction") if name in arrays), None)
    fits = fractions is not None and fractions.shape == features.shape[:1]
    encoder = meta.get("encoder_name")
    return ForeignBag(
        features=features,
        positions=_corners(arrays, coordinates),
        side=side,
        encoder_px=pixels,
        mpp=mpp,
        encoder=encoder if isinstance(encoder, str) else None,
        extras={"tissue_fraction": fractions} if fractions is not None and fits else {},
        notes=notes,
        attributes={"requested_spacing_um": meta.get("requested_spacing_um"), "backend": meta.get("backend")},
    )


def mpp_of_tiles(
    side: float | None, pixels: float | None, spacing_um: float | None
) -> tuple[float | None, tuple[str, ...]]:
    """Find the µm per pixel of level 0 from the side of tiles, where it is not stored.

    Parameters
    ----------
    side : float or None
        Of a tile, in whole pixels of level 0.
    pixels, spacing_um : float or None
        Side that was asked for, in pixels of so many µm.

    Returns
    -------
    mpp : float or None
        None if one of the three is not known.
    notes : tuple of str
        That it is no measured number, and how far it may be off.
    """
    if not (side and pixels and spacing_um):
        return None, ()
    # Without the slide's own numbers, so that a cohort's notes are one line.
    told = f"mpp was found from the side of tiles, {pixels * spacing_um:g} µm in whole pixels of level 0"
    return pixels * spacing_um / side, (f"{told}, and may be off by {100 / side:.1g} %",)


def _either(section: Any, name: str, older: str) -> float | None:
    return number(section, name) or number(section, older)


def _corners(arrays: Mapping[str, NDArray[Any]], path: Path) -> NDArray[Any]:
    """Return corners, shape (n, 2), from ``x`` and ``y`` or, of version 4.0, ``coordinates``."""
    if "coordinates" in arrays and "x" not in arrays:
        return arrays["coordinates"]
    if not {"x", "y"} <= set(arrays) or arrays["x"].shape != arrays["y"].shape or arrays["x"].ndim != 1:
        raise UserError("the coordinates hold no x and y of one length", path, "Run the tiling again")
    return joined(arrays["x"], arrays["y"], path)


def joined(x: NDArray[Any], y: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return positions, shape (n, 2).

    Raises
    ------
    UserError
        If the columns are no numbers, of which NumPy joins only some kinds.
    """
    if x.dtype.kind not in "iuf" or y.dtype.kind not in "iuf":
        raise UserError(f"x and y are of type {x.dtype} and {y.dtype}, not numbers", path, "Run the tiling again")
    return np.stack([x, y], axis=1)


def _features(path: Path) -> Any:
    if path.suffix.lower() == ".pt":
        return matrix_in(path)
    arrays = load_npz(path)
    if "features" not in arrays:
        raise UserError(f"the archive holds {', '.join(arrays) or 'nothing'}, no features", path, "Run slide2vec again")
    return arrays["features"]


def _folder(path: Path) -> Path | None:
    """Return the folder of embeddings that a file lies in, at most one below it (slide2vec's annotations)."""
    return next((folder for folder in list(path.parents)[:2] if folder.name in FOLDERS), None)


def _meta(path: Path) -> Path:
    return path.with_name(f"{path.stem}.meta.json")


def _coordinates(path: Path, meta: dict[str, Any]) -> Path:
    """Return the coordinates' file: in the layout first, since a path in the meta file may be another machine's.

    A path in the meta file is followed within slide2vec's own folder alone: the file may come from anyone.
    """
    embeddings = _folder(path)
    below = path.relative_to(embeddings).parent if embeddings is not None else Path()
    root = path.parent if embeddings is None else embeddings.parent
    for folder, ending in LAYOUTS if embeddings is not None else ():
        inside = root / folder / below / f"{path.stem}{ending}.npz"
        if inside.is_file():
            return inside
    named = meta.get("coordinates_npz_path") or meta.get("tiles_npz_path")
    if isinstance(named, str) and named and _is_file_in(root, named):
        return root / named
    return path.parent.parent / "tiles" / f"{path.stem}.coordinates.npz"


def _is_file_in(root: Path, named: str) -> bool:
    try:
        return (root / named).resolve().is_relative_to(root.resolve()) and (root / named).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _coordinates_meta(coordinates: Path) -> Path:
    return coordinates.with_name(f"{coordinates.stem}.meta.json")


bag_readers.register("slide2vec")(BagReader("slide2vec", (".pt", ".npz"), recognise, read, 10, companions))
