"""slide2vec's files of every version, as `tests.bags.layouts` writes other tools'."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.bags.parts import GRID_MPP, GRID_PX, TILE_UM, Array, Made, corners_px


def _slide2vec_tiles(folder: Path, features: Array, tiles: Array, mpp: float) -> None:
    for name in ("tiles", "tile_embeddings"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    x, y = corners_px(tiles, mpp).T
    fractions = np.linspace(0.5, 1, len(x), dtype=np.float32)
    index = np.arange(len(x), dtype=np.int32)
    np.savez(folder / "tiles" / "s1.coordinates.npz", x=x, y=y, tile_index=index, tissue_fractions=fractions)
    side = round(TILE_UM / mpp)
    sections = {
        "provenance": {"sample_id": "s1", "image_path": "/data/s1.svs"},
        "slide": {"dimensions": [100_000, 80_000], "base_spacing_um": mpp, "level_downsamples": [1.0, 4.0]},
        "tiling": {"requested_tile_size_px": GRID_PX, "requested_spacing_um": GRID_MPP, "tile_size_lv0": side},
    }
    (folder / "tiles" / "s1.coordinates.meta.json").write_text(json.dumps(sections))
    meta = {
        "sample_id": "s1",
        "artifact_type": "tile_embeddings",
        "encoder_name": "uni",
        "feature_dim": features.shape[1],
        "num_tiles": len(features),
        "coordinates_npz_path": "/elsewhere/tiles/s1.coordinates.npz",
        "requested_tile_size_px": GRID_PX,
        "tile_size_lv0": side,
    }
    (folder / "tile_embeddings" / "s1.meta.json").write_text(json.dumps(meta))


def slide2vec(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    _slide2vec_tiles(folder, features, tiles, mpp)
    torch.save(torch.from_numpy(features).half(), folder / "tile_embeddings" / "s1.pt")
    return Made(folder / "tile_embeddings" / "s1.pt", None, encoder="uni")


def slide2vec_npz(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    _slide2vec_tiles(folder, features, tiles, mpp)
    np.savez_compressed(folder / "tile_embeddings" / "s1.npz", features=features)
    return Made(folder / "tile_embeddings" / "s1.npz", None, encoder="uni")


def slide2vec_4_0(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    """Of version 4.0: x and y are one array."""
    made = slide2vec(folder, features, tiles, mpp)
    corners = corners_px(tiles, mpp)
    path = folder / "tiles" / "s1.coordinates.npz"
    np.savez_compressed(path, tile_index=np.arange(len(corners)), coordinates=corners)
    return made


def _slide2vec_3(folder: Path, where: str, features: Array, tiles: Array, mpp: float) -> Made:
    """Of version 3: the meta file of the tiles is one level deep and does not hold the slide's resolution."""
    path = folder / where
    for parent in (path.parent, folder / "tile_embeddings"):
        parent.mkdir(parents=True, exist_ok=True)
    x, y = corners_px(tiles, mpp).T
    fractions = np.linspace(0.5, 1, len(x), dtype=np.float32)
    np.savez(path, tile_index=np.arange(len(x), dtype=np.int32), x=x, y=y, tissue_fraction=fractions)
    tiling = {
        "sample_id": "s1",
        "target_spacing_um": GRID_MPP,
        "target_tile_size_px": GRID_PX,
        "read_level": 0,
        "tile_size_lv0": round(TILE_UM / mpp),
        "overlap": 0.0,
        "num_tiles": len(x),
    }
    path.with_name(f"{path.stem}.meta.json").write_text(json.dumps(tiling))
    named = f"{path.stem.partition('.')[2]}_npz_path"
    side = tiling["tile_size_lv0"]
    meta = {"artifact_type": "tile_embeddings", "encoder_name": "uni", named: str(path), "tile_size_lv0": side}
    (folder / "tile_embeddings" / "s1.meta.json").write_text(json.dumps(meta))
    torch.save(torch.from_numpy(features), folder / "tile_embeddings" / "s1.pt")
    return Made(folder / "tile_embeddings" / "s1.pt", None, encoder="uni")


def slide2vec_3_0(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    return _slide2vec_3(folder, "coordinates/s1.tiles.npz", features, tiles, mpp)


def slide2vec_3_2(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    return _slide2vec_3(folder, "tiles/s1.coordinates.npz", features, tiles, mpp)


def _slide2vec_table(folder: Path, columns: dict[str, Any], corners: Array, config: str) -> None:
    for name in ("features", "coordinates"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    table = np.zeros(len(corners), [("x", int), ("y", int), *((name, type(value)) for name, value in columns.items())])
    table["x"], table["y"] = corners.T
    for name, value in columns.items():
        table[name] = value
    np.save(folder / "coordinates" / "s1.npy", table)
    (folder / "config.yaml").write_text(config)


def slide2vec_numpy_1(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    columns = {
        "tile_size_resized": 2 * GRID_PX,
        "tile_level": 0,
        "resize_factor": 2.0,
        "tile_size_lv0": round(TILE_UM / mpp),
        "target_spacing": GRID_MPP,
    }
    config = "csv: /elsewhere/slides.csv\nmodel:\n  level: tile\n  name: uni\n"
    _slide2vec_table(folder, columns, corners_px(tiles, mpp), config)
    torch.save(torch.from_numpy(features), folder / "features" / "s1.pt")
    return Made(folder / "features" / "s1.pt", None, encoder="uni")


def slide2vec_numpy_2(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    """Of version 2 with a slide encoder, whose vector has the slide's name."""
    columns = {
        "contour_index": 0,
        "target_tile_size": GRID_PX,
        "target_spacing": GRID_MPP,
        "tile_level": 0,
        "resize_factor": 1.0,
        "tile_size_resized": GRID_PX,
        "tile_size_lv0": round(TILE_UM / mpp),
    }
    _slide2vec_table(folder, columns, corners_px(tiles, mpp), "model:\n  level: slide\n  name: titan2\n")
    torch.save(torch.from_numpy(features), folder / "features" / "s1-tiles.pt")
    for name in ("s1", "s1-latents"):
        torch.save(torch.ones(1, 768), folder / "features" / f"{name}.pt")
    return Made(folder / "features" / "s1-tiles.pt", None)
