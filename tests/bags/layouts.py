"""Feature files as other tools publish their layouts, written with h5py, NumPy, torch and zarr alone.

Every writer puts the same slide on disk: tiles of `TILE_UM` at whole columns and rows, with the features given, on a
scan of `mpp` µm per pixel, read by the encoder at `GRID_MPP`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import zarr
from tests.bags.parts import GRID_MPP, GRID_PX, TILE_UM, Array, Made, corners_px
from tests.bags.slide2vec_layouts import (
    slide2vec,
    slide2vec_3_0,
    slide2vec_3_2,
    slide2vec_4_0,
    slide2vec_npz,
    slide2vec_numpy_1,
    slide2vec_numpy_2,
)

from sparra.bags.settings import ImportSettings


def trident_h5(path: Path, features: Array, coords: Array, mpp: float, encoder: str | None = "uni_v1") -> None:
    """As TRIDENT's save_h5: chunks of one row, resizable, attributes on the datasets, None as a word."""
    path.parent.mkdir(parents=True, exist_ok=True)
    magnification = 40 if mpp < 0.3 else 20
    with h5py.File(path, "w") as file:
        for name, values in (("features", features), ("coords", coords)):
            if values is None:
                continue
            file.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]), chunks=(1, *values.shape[1:]))
        if features is not None:
            file["features"].attrs.update({"name": path.stem, "savetodir": "/data/x", "encoder": encoder or "None"})
        file["coords"].attrs.update(
            {
                "patch_size": GRID_PX,
                "patch_size_level0": GRID_PX * magnification // 20,
                "level0_magnification": magnification,
                "target_magnification": 20,
                "overlap": 0,
                "name": path.stem,
                "savetodir": "/data/x",
                "level0_width": 100_000,
                "level0_height": 80_000,
            }
        )


def _trident(folder: Path, features: Array, tiles: Array, mpp: float, feature_folder: str, encoder: str | None) -> Made:
    job = folder / "20x_256px_0px_overlap"
    coords = corners_px(tiles, mpp)
    trident_h5(job / "patches" / "s1_patches.h5", None, coords, mpp)  # type: ignore[arg-type]
    trident_h5(job / feature_folder / "s1.h5", features, coords, mpp, encoder)
    return Made(job / feature_folder / "s1.h5", mpp, encoder="uni")


def trident(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    return _trident(folder, features, tiles, mpp, "features_uni_v1", "uni_v1")


def trident_old(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    return _trident(folder, features, tiles, mpp, "patch_features_uni_v1", None)


def trident_without_attributes(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    made = _trident(folder, features, tiles, mpp, "patch_features_uni_v1", None)
    with h5py.File(made.path, "a") as file:
        for name in ("features", "coords"):
            for attribute in list(file[name].attrs):
                del file[name].attrs[attribute]
    return made


def trident_on_clam_coordinates(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    """As TRIDENT writes features of coordinates that CLAM made: CLAM's attributes are copied."""
    made = trident(folder, features, tiles, mpp)
    for path in (made.path, made.path.parent.parent / "patches" / "s1_patches.h5"):
        with h5py.File(path, "a") as file:
            for attribute in list(file["coords"].attrs):
                del file["coords"].attrs[attribute]
            file["coords"].attrs.update(clam_attributes(mpp))
    return made


def trident_pt(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    made = _trident(folder, features, tiles, mpp, "features_uni_v1", "uni_v1")
    made.path.unlink()
    torch.save(torch.from_numpy(features), made.path.with_suffix(".pt"))
    return Made(made.path.with_suffix(".pt"), mpp, encoder="uni")


def clam_h5(path: Path, features: Array | None, coords: Array, attributes: dict[str, Any] | None = None) -> None:
    """As CLAM's save_hdf5: chunks of 32 rows; attributes only in the patches' file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in (("features", features), ("coords", coords)):
            if values is not None:
                shape = values.shape
                file.create_dataset(name, data=values, maxshape=(None, *shape[1:]), chunks=(32, *shape[1:]))
        file["coords"].attrs.update(attributes or {})


def clam_attributes(mpp: float) -> dict[str, Any]:
    level = 1 if mpp < 0.3 else 0
    factor = float(round(GRID_MPP / mpp)) if level else 1.0
    return {
        "patch_size": GRID_PX,
        "patch_level": level,
        "downsample": np.array([factor, factor]),
        "downsampled_level_dim": np.array([50_000, 40_000]),
        "level_dim": np.array([50_000, 40_000]),
        "name": "s1",
        "save_path": "/data/x",
    }


def clam(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    coords = corners_px(tiles, mpp)
    clam_h5(folder / "patches" / "s1.h5", None, coords, clam_attributes(mpp))
    clam_h5(folder / "features" / "h5_files" / "s1.h5", features, coords.astype(np.int32))
    return Made(folder / "features" / "h5_files" / "s1.h5", mpp)


def clam_pt(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    made = clam(folder, features, tiles, mpp)
    path = folder / "features" / "pt_files" / "s1.pt"
    path.parent.mkdir()
    torch.save(torch.from_numpy(features), path)
    return Made(path, made.mpp)


def clam_with_attributes(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    clam_h5(folder / "s1.h5", features, corners_px(tiles, mpp), clam_attributes(mpp))
    return Made(folder / "s1.h5", mpp, ImportSettings(encoder="uni"), "uni")


def clam_alone(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    clam_h5(folder / "h5_files" / "s1.h5", features, corners_px(tiles, mpp))
    return Made(folder / "h5_files" / "s1.h5", mpp, ImportSettings(tile_px=TILE_UM / mpp))


def clam_elsewhere(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    coords = corners_px(tiles, mpp)
    clam_h5(folder / "somewhere" / "patches" / "s1.h5", None, coords, clam_attributes(mpp))
    clam_h5(folder / "h5_files" / "s1.h5", features, coords)
    return Made(folder / "h5_files" / "s1.h5", mpp, ImportSettings(patches=folder / "somewhere" / "patches"))


def clam_pt_elsewhere(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    """With the patches elsewhere, and without ``h5_files``, which many delete."""
    made = clam_elsewhere(folder, features, tiles, mpp)
    made.path.unlink()
    path = folder / "pt_files" / "s1.pt"
    path.parent.mkdir()
    torch.save(torch.from_numpy(features), path)
    return Made(path, made.mpp, made.settings)


def fishing_rod(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    coords = corners_px(tiles, mpp)
    attributes = {"patch_size": GRID_PX, "patch_level": 0, "custom_downsample": round(GRID_MPP / mpp)}
    clam_h5(folder / "s1.h5", features[None], coords[None], attributes)
    return Made(folder / "s1.h5", mpp)


def stamp_h5(path: Path, features: Array, coords: Array, attributes: dict[str, Any], name: str = "feats") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["coords"] = coords
        file[name] = features
        file.attrs.update(attributes)


def stamp(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    path = folder / "uni-0a1b2c3d" / "s1.h5"
    attributes = {
        "stamp_version": "2.4.0",
        "extractor": "uni",
        "unit": "um",
        "tile_size_um": TILE_UM,
        "tile_size_px": 224,
        "code_hash": "0a1b2c3d",
        "feat_type": "tile",
    }
    stamp_h5(path, features.astype(np.float16), (tiles * TILE_UM).astype(np.float32), attributes)
    return Made(path, None, encoder="uni")


def stamp_2_0(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    attributes = {"stamp_version": "2.0.0", "extractor": "uni", "unit": "um", "tile_size": TILE_UM}
    stamp_h5(folder / "s1.h5", features, (tiles * TILE_UM).astype(np.float32), attributes, "patch_embeddings")
    return Made(folder / "s1.h5", None, encoder="uni")


def tiatoolbox(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    corners = tiles * GRID_PX
    np.save(folder / "s1.position.npy", np.concatenate([corners, corners + GRID_PX], axis=1))
    np.save(folder / "s1.features.npy", features)
    return Made(folder / "s1.features.npy", None, ImportSettings(grid_mpp=GRID_MPP))


def tiatoolbox_raw(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    made = tiatoolbox(folder, features, tiles, mpp)
    (folder / "s1.position.npy").rename(folder / "0.position.npy")
    (folder / "s1.features.npy").rename(folder / "0.features.0.npy")
    return Made(folder / "0.features.0.npy", None, made.settings)


def pancia(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    made = tiatoolbox(folder, features, tiles, mpp)
    (folder / "s1.position.npy").rename(folder / "s1_coordinates.npy")
    (folder / "s1.features.npy").rename(folder / "s1_pathomics.npy")
    return Made(folder / "s1_pathomics.npy", None, made.settings)


def _tiatoolbox_zarr(folder: Path, features: Array, tiles: Array, name: str, zarr_format: Any) -> Made:
    group = zarr.open_group(folder / "s1.zarr", mode="w", zarr_format=zarr_format)
    corners = tiles * GRID_PX
    for key, values in ((name, features), ("coordinates", np.concatenate([corners, corners + GRID_PX], axis=1))):
        group.create_array(key, shape=values.shape, chunks=(7, values.shape[1]), dtype=values.dtype)[:] = values
    return Made(folder / "s1.zarr", None, ImportSettings(grid_mpp=GRID_MPP))


def tiatoolbox_zarr(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    return _tiatoolbox_zarr(folder, features, tiles, "features", 2)


def tiatoolbox_zarr_probabilities(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    return _tiatoolbox_zarr(folder, features, tiles, "probabilities", 3)


def tensor_in_a_dictionary(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    content = {"feats": torch.from_numpy(features), "coords": torch.from_numpy(corners_px(tiles, mpp)), "label": 1}
    torch.save(content, folder / "s1.pt")
    return Made(folder / "s1.pt", mpp, ImportSettings(tile_px=round(TILE_UM / mpp)))


def slideflow(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    torch.save(torch.from_numpy(features), folder / "s1.pt")
    np.savez(folder / "s1.index.npz", ((tiles + 0.5) * (TILE_UM / mpp)).astype(np.int64))
    configuration = {
        "extractor": {"class": "slideflow.model.extractors.uni.UNIFeatures", "kwargs": {}},
        "normalizer": None,
        "num_features": features.shape[1],
        "tile_px": GRID_PX,
        "tile_um": TILE_UM,
    }
    (folder / "bags_config.json").write_text(json.dumps(configuration))
    return Made(folder / "s1.pt", mpp, encoder="uni")


def slideflow_without_archives(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    made = slideflow(folder, features, tiles, mpp)
    index = folder / "s1.index.npz"
    with np.load(index) as arrays:
        np.save(folder / "s1.index.npy", arrays["arr_0"])
    index.unlink()
    return made


def histossl(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    path = folder / "features" / "iBOTViTLargeCOAD" / "TCGA" / "s1.svs" / "features.npy"
    path.parent.mkdir(parents=True)
    level = np.full((len(tiles), 1), 17)
    np.save(path, np.concatenate([level, tiles, features], axis=1).astype(np.float32))
    return Made(path, None, ImportSettings(grid_mpp=GRID_MPP, tile_px=GRID_PX), "iBOTViTLargeCOAD")


def slidegraph(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    corners = tiles * GRID_PX
    graph = {"x": features.tolist(), "edge_index": [[0, 1], [1, 0]], "coordinates": corners.tolist()}
    (folder / "s1.json").write_text(json.dumps(graph))
    return Made(folder / "s1.json", None, ImportSettings(grid_mpp=GRID_MPP, tile_px=GRID_PX))


def pancia_graph(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    edges = np.array([[0, 1], [1, 0]])
    np.savez(folder / "s1_graph.npz", x=features, edge_index=edges, coordinates=tiles * GRID_PX)
    return Made(folder / "s1_graph.npz", None, ImportSettings(grid_mpp=GRID_MPP, tile_px=GRID_PX))


def numpy_pair(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    np.save(folder / "s1.npy", features)
    np.save(folder / "s1_coords.npy", corners_px(tiles, mpp))
    return Made(folder / "s1.npy", mpp, ImportSettings(tile_px=TILE_UM / mpp))


def numpy_archive(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    np.savez(folder / "s1.npz", features=features, positions_um=(tiles + 0.5) * TILE_UM)
    return Made(folder / "s1.npz")


def csv(folder: Path, features: Array, tiles: Array, mpp: float) -> Made:
    names = ["x", "y", *(f"f{column}" for column in range(features.shape[1]))]
    rows = np.concatenate([corners_px(tiles, mpp), features], axis=1)
    np.savetxt(folder / "s1.csv", rows, delimiter=",", header=",".join(names), comments="", fmt="%.9g")
    return Made(folder / "s1.csv", mpp, ImportSettings(tile_px=TILE_UM / mpp))


Writer = Callable[[Path, Array, Array, float], Made]
LAYOUTS: dict[str, Writer] = {
    writer.__name__: writer
    for writer in (
        trident,
        trident_old,
        trident_without_attributes,
        trident_on_clam_coordinates,
        trident_pt,
        clam,
        clam_pt,
        clam_with_attributes,
        clam_alone,
        clam_elsewhere,
        clam_pt_elsewhere,
        fishing_rod,
        stamp,
        stamp_2_0,
        tiatoolbox,
        tiatoolbox_raw,
        pancia,
        tiatoolbox_zarr,
        tiatoolbox_zarr_probabilities,
        slide2vec,
        slide2vec_npz,
        slide2vec_4_0,
        slide2vec_3_0,
        slide2vec_3_2,
        slide2vec_numpy_1,
        slide2vec_numpy_2,
        tensor_in_a_dictionary,
        slideflow,
        slideflow_without_archives,
        histossl,
        slidegraph,
        pancia_graph,
        numpy_pair,
        numpy_archive,
        csv,
    )
}
# Those that do not hold the side of a tile.
WITHOUT_SIDE = {"numpy_archive"}
