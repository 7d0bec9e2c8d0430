"""slide2vec: ``tile_embeddings/<id>.pt`` or ``.npz`` and ``<id>.meta.json``; ``tiles/<id>.coordinates.npz`` and its
``.coordinates.meta.json``.

Rows of both are in one order; ``x`` and ``y`` are top-left corners in pixels of level 0, whose µm per pixel is
``slide.base_spacing_um``.
"""

from pathlib import Path
from typing import Any

import numpy as np

from sparra.bags.foreign import BagSource, ForeignBag
from sparra.bags.readers.arrays import load_json, load_npz
from sparra.bags.readers.hdf5 import number
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.readers.torch_tensor import matrix_in
from sparra.errors import UserError

FOLDERS = ("tile_embeddings", "hierarchical_embeddings", "slide_embeddings", "patient_embeddings")


def recognise(path: Path) -> bool:
    """Tell slide2vec's files by the meta file beside them, or by the folder."""
    return not path.name.endswith(".coordinates.npz") and (_meta(path).is_file() or _folder(path) is not None)


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
    if not {"x", "y"} <= set(arrays) or arrays["x"].shape != arrays["y"].shape or arrays["x"].ndim != 1:
        raise UserError("the coordinates hold no x and y of one length", coordinates, "Run the tiling again")
    sections = load_json(_coordinates_meta(coordinates)) if _coordinates_meta(coordinates).is_file() else {}
    slide, tiling = (sections.get(name) for name in ("slide", "tiling"))
    fractions = arrays.get("tissue_fractions")
    fits = fractions is not None and fractions.shape == features.shape[:1]
    encoder = meta.get("encoder_name")
    return ForeignBag(
        features=features,
        positions=np.stack([arrays["x"], arrays["y"]], axis=1),
        side=number(meta, "tile_size_lv0") or number(tiling, "tile_size_lv0"),
        encoder_px=number(meta, "requested_tile_size_px") or number(tiling, "requested_tile_size_px"),
        mpp=number(slide, "base_spacing_um"),
        encoder=encoder if isinstance(encoder, str) else None,
        extras={"tissue_fraction": fractions} if fractions is not None and fits else {},
        attributes={"requested_spacing_um": meta.get("requested_spacing_um"), "backend": meta.get("backend")},
    )


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
    if embeddings is not None:
        inside = embeddings.parent / "tiles" / path.relative_to(embeddings).with_name(f"{path.stem}.coordinates.npz")
        if inside.is_file():
            return inside
    named = meta.get("coordinates_npz_path")
    if isinstance(named, str) and named:
        root = path.parent if embeddings is None else embeddings.parent
        if (root / named).resolve().is_relative_to(root.resolve()):
            return root / named
    return path.parent.parent / "tiles" / f"{path.stem}.coordinates.npz"


def _coordinates_meta(coordinates: Path) -> Path:
    return coordinates.with_name(coordinates.name.replace(".coordinates.npz", ".coordinates.meta.json"))


bag_readers.register("slide2vec")(BagReader("slide2vec", (".pt", ".npz"), recognise, read, 10, companions))
