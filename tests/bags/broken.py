"""Broken and odd feature files, each with words of the one sentence that it must end in."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import zarr
from tests.bags import layouts

N, D = 8, 1024
TILES = np.stack(np.divmod(np.arange(N), 3), axis=1)
MPP = 0.5


def values(dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(N, D)).astype(dtype)


@dataclass(frozen=True)
class Broken:
    """How to write a file (the path is returned), what must be said, and the mpp of its row."""

    write: Callable[[Path], Path]
    says: str
    mpp: float | None = MPP


class _Payload:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.witness,)


BROKEN: dict[str, Broken] = {}


def broken(says: str, mpp: float | None = MPP) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    def register(write: Callable[[Path], Path]) -> Callable[[Path], Path]:
        BROKEN[write.__name__] = Broken(write, says, mpp)
        return write

    return register


def trident_file(folder: Path, features: np.ndarray, coords: np.ndarray | None = None, mpp: float = MPP) -> Path:
    where = layouts.corners_px(TILES, mpp) if coords is None else coords
    layouts.trident_h5(folder / "features_uni_v1" / "s1.h5", features, where, mpp)
    return folder / "features_uni_v1" / "s1.h5"


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


@broken("truncated")
def trident_truncated(folder: Path) -> Path:
    return cut(trident_file(folder, values()), 0.6)


@broken("empty (0 bytes)")
def trident_empty_file(folder: Path) -> Path:
    return cut(trident_file(folder, values()), 0)


@broken("'features' is a group (of values), not a dataset of numbers")
def trident_group_for_a_dataset(folder: Path) -> Path:
    path = trident_file(folder, values())
    with h5py.File(path, "a") as file:
        del file["features"]
        file["features/values"] = values()
    return path


@broken("the dataset '/features' holds nothing")
def trident_dataset_without_shape(folder: Path) -> Path:
    path = trident_file(folder, values())
    with h5py.File(path, "a") as file:
        del file["features"]
        file["features"] = h5py.Empty("f4")
    return path


@broken("truncated, damaged or no HDF5")
def text_called_h5(folder: Path) -> Path:
    (folder / "s1.h5").write_text("not found")
    return folder / "s1.h5"


@broken("holds no patch")
def trident_zero_tiles(folder: Path) -> Path:
    return trident_file(folder, np.empty((0, D), np.float32), np.empty((0, 2), np.int64))


@broken("holds no patch")
def trident_zero_tiles_of_an_unknown_encoder(folder: Path) -> Path:
    return trident_file(folder, np.empty((0,), np.float32), np.empty((0, 2), np.int64))


@broken("1 patches hold NaN")
def trident_nan_row(folder: Path) -> Path:
    features = values()
    features[3] = np.nan
    return trident_file(folder, features)


@broken("hold NaN or infinite features, first at row 2")
def stamp_overflown_half(folder: Path) -> Path:
    features = values(np.float16)
    features[2, 5] = np.inf
    attributes = {"extractor": "uni", "unit": "um", "tile_size_um": 256.0, "tile_size_px": 224, "feat_type": "tile"}
    layouts.stamp_h5(folder / "s1.h5", features, TILES * 256.0, attributes)
    return folder / "s1.h5"


@broken("hold only zeros, first at row 6")
def clam_unwritten_rows(folder: Path) -> Path:
    features = values()
    features[6:] = 0
    return layouts.clam_with_attributes(folder, features, TILES, MPP).path


@broken("lie where another lies, with other features, first at row 7")
def trident_duplicated_coordinates(folder: Path) -> Path:
    coords = layouts.corners_px(TILES, MPP)
    coords[7] = coords[0]
    return trident_file(folder, values(), coords)


@broken("8 rows of features but 6 positions")
def trident_mismatched_rows(folder: Path) -> Path:
    return trident_file(folder, values(), layouts.corners_px(TILES, MPP)[:6])


@broken("of type int32, not float")
def trident_integers(folder: Path) -> Path:
    return trident_file(folder, np.ones((N, D), np.int32))


@broken("columns, but encoder 'uni_v1' gives 1024; 1536 would fit uni2-h")
def trident_wrong_dimension(folder: Path) -> Path:
    return trident_file(folder, np.tile(values(), (1, 2))[:, :1536])


@broken("contradicts the file, which says 40x")
def trident_mpp_of_another_scan(folder: Path) -> Path:
    return trident_file(folder, values(), mpp=0.25)


@broken("does not say the µm per pixel", mpp=None)
def trident_without_mpp(folder: Path) -> Path:
    return trident_file(folder, values())


@broken("an mpp of 250 µm per pixel is not plausible", mpp=250)
def trident_mpp_in_nanometres(folder: Path) -> Path:
    return trident_file(folder, values())


@broken("the dataset 'coords' is missing, the file holds features")
def trident_without_coords(folder: Path) -> Path:
    path = trident_file(folder, values())
    with h5py.File(path, "a") as file:
        del file["coords"]
    return path


@broken("features of 5 of the 8 patches in patches/s1_patches.h5")
def trident_fewer_than_patches(folder: Path) -> Path:
    made = layouts.trident(folder, values(), TILES, MPP)
    layouts.trident_h5(made.path, values()[:5], layouts.corners_px(TILES, MPP)[:5], MPP)
    return made.path


@broken("TRIDENT has locked the file")
def trident_locked(folder: Path) -> Path:
    path = trident_file(folder, values())
    path.with_name("s1.h5.lock").write_text("{}")
    return path


@broken("one vector for the whole slide (folder slide_features_titan)")
def trident_slide_features(folder: Path) -> Path:
    path = folder / "slide_features_titan" / "s1.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file["features"] = np.ones(768, np.float32)
        file["coords"] = layouts.corners_px(TILES, MPP)
    return path


@broken("positions have shape (8, 3)")
def trident_three_coordinates(folder: Path) -> Path:
    return trident_file(folder, values(), np.ones((N, 3), np.int64))


@broken("is truncated: it holds features of 4 of the 8 patches in patches/s1.h5")
def clam_killed(folder: Path) -> Path:
    made = layouts.clam(folder, values(), TILES, MPP)
    layouts.clam_h5(made.path, values()[:4], layouts.corners_px(TILES, MPP)[:4])
    return made.path


@broken("more than the 5 patches")
def clam_patched_again(folder: Path) -> Path:
    made = layouts.clam(folder, values(), TILES, MPP)
    coords = layouts.corners_px(TILES, MPP)[:5]
    layouts.clam_h5(folder / "patches" / "s1.h5", None, coords, layouts.clam_attributes(MPP))
    return made.path


@broken("is truncated: it holds features of 1 of the 8 patches")
def clam_one_number(folder: Path) -> Path:
    made = layouts.clam(folder, values(), TILES, MPP)
    path = made.path.parents[1] / "pt_files" / "s1.pt"
    path.parent.mkdir(exist_ok=True)
    torch.save(torch.tensor(1.0), path)
    return path


@broken("its coordinates differ from those in patches/s1.h5")
def clam_of_another_run(folder: Path) -> Path:
    made = layouts.clam(folder, values(), TILES, MPP)
    coords = layouts.corners_px(TILES, MPP) + 7
    layouts.clam_h5(folder / "patches" / "s1.h5", None, coords, layouts.clam_attributes(MPP))
    return made.path


@broken("does not say how large the tiles are")
def clam_without_patches(folder: Path) -> Path:
    return layouts.clam_alone(folder, values(), TILES, MPP).path


@broken("it holds features of shape (2, 8, 1024)")
def clam_two_bags_in_one(folder: Path) -> Path:
    layouts.clam_h5(folder / "s1.h5", np.stack([values(), values()]), layouts.corners_px(TILES, MPP))
    return folder / "s1.h5"


@broken("of none of the formats")
def patches_given_as_features(folder: Path) -> Path:
    layouts.clam_h5(folder / "s1.h5", None, layouts.corners_px(TILES, MPP), layouts.clam_attributes(MPP))
    return folder / "s1.h5"


@broken("features of the whole patient (by encoder 'cobra')")
def stamp_patient(folder: Path) -> Path:
    with h5py.File(folder / "s1.h5", "w") as file:
        file["feats"] = np.ones((1, 768), np.float32)
        file.attrs.update({"encoder": "cobra", "feat_type": "patient"})
    return folder / "s1.h5"


@broken("no unit, and tiles 300 apart where STAMP 1 has 224")
def stamp_without_unit(folder: Path) -> Path:
    layouts.stamp_h5(folder / "s1.h5", values(), TILES * 300, {})
    return folder / "s1.h5"


@broken("position.npy are missing")
def tiatoolbox_without_positions(folder: Path) -> Path:
    made = layouts.tiatoolbox(folder, values(), TILES, MPP)
    (folder / "s1.position.npy").unlink()
    return made.path


@broken("truncated or damaged")
def tiatoolbox_truncated(folder: Path) -> Path:
    return cut(layouts.tiatoolbox(folder, values(), TILES, MPP).path, 0.5)


@broken("no bounds (x0, y0, x1, y1) of tiles")
def tiatoolbox_empty_bounds(folder: Path) -> Path:
    made = layouts.tiatoolbox(folder, values(), TILES, MPP)
    np.save(folder / "s1.position.npy", np.tile(TILES * 256, (1, 2)))
    return made.path


@broken("of 2 chunks of 'features' are missing")
def zarr_with_a_missing_chunk(folder: Path) -> Path:
    made = layouts.tiatoolbox_zarr(folder, values(), TILES, MPP)
    (made.path / "features" / "1.0").unlink()
    return made.path


@broken("a chunk is damaged")
def zarr_with_a_damaged_chunk(folder: Path) -> Path:
    made = layouts.tiatoolbox_zarr(folder, values(), TILES, MPP)
    (made.path / "features" / "0.0").write_bytes(b"damaged")
    return made.path


@broken("stored as Python objects, which sparra does not run")
def zarr_of_pickles(folder: Path) -> Path:
    made = layouts.tiatoolbox_zarr(folder, values(), TILES, MPP)
    described = made.path / "features" / ".zarray"
    content = json.loads(described.read_text())
    content["filters"] = [{"id": "pickle", "protocol": 5}]
    described.write_text(json.dumps(content))
    chunk = made.path / "features" / "0.0"
    chunk.write_bytes(pickle.dumps(_Payload(folder / "code-ran")))
    return made.path


@broken("'.zarray' of 'coordinates' describes no array")
def zarr_described_by_a_list(folder: Path) -> Path:
    made = layouts.tiatoolbox_zarr(folder, values(), TILES, MPP)
    (made.path / "coordinates" / ".zarray").write_text("[]")
    return made.path


@broken("no zarr group, or damaged")
def zarr_without_metadata(folder: Path) -> Path:
    (folder / "s1.zarr").mkdir()
    (folder / "s1.zarr" / "0.0").write_bytes(b"")
    return folder / "s1.zarr"


@broken("not 'features' (or 'probabilities') and 'coordinates'")
def zarr_of_something_else(folder: Path) -> Path:
    zarr.open_group(folder / "s1.zarr", mode="w").create_array("canvas", shape=(2, 2), dtype="f4")
    return folder / "s1.zarr"


@broken("8 rows of features but 7 positions")
def slideflow_mismatched(folder: Path) -> Path:
    made = layouts.slideflow(folder, values(), TILES, MPP)
    np.savez(folder / "s1.index.npz", TILES[:7])
    return made.path


@broken("does not say how large a tile is")
def histossl_without_side(folder: Path) -> Path:
    return layouts.histossl(folder, values(), TILES, MPP).path


@broken("first three columns are not the level, column and row")
def histossl_without_addresses(folder: Path) -> Path:
    np.save(folder / "features.npy", values())
    return folder / "features.npy"


@broken("three coordinates")
def graph_of_a_ct(folder: Path) -> Path:
    graph = {"x": values().tolist(), "edge_index": [], "coordinates": np.ones((N, 3)).tolist()}
    (folder / "s1.json").write_text(json.dumps(graph))
    return folder / "s1.json"


@broken("rows of different lengths")
def graph_with_ragged_nodes(folder: Path) -> Path:
    (folder / "s1.json").write_text(json.dumps({"x": [[1.0, 2.0], [3.0]], "coordinates": [[0, 0], [1, 1]]}))
    return folder / "s1.json"


@broken("does not run")
def patch_gcn_pickle(folder: Path) -> Path:
    torch.save(_Payload(folder / "code-ran"), folder / "s1.pt")
    return folder / "s1.pt"


@broken("Python objects, which sparra does not run")
def numpy_of_objects(folder: Path) -> Path:
    np.save(folder / "s1.npy", np.array([_Payload(folder / "code-ran"), None]), allow_pickle=True)
    return folder / "s1.npy"


@broken("positions hold NaN")
def numpy_nan_positions(folder: Path) -> Path:
    positions = TILES * 128.0
    positions[2] = np.nan
    np.savez(folder / "s1.npz", features=values(), positions_um=positions)
    return folder / "s1.npz"


@broken("column 'comment' holds something other than numbers")
def csv_with_words(folder: Path) -> Path:
    (folder / "s1.csv").write_text("f0,f1,comment\n1,2,good\n3,4,bad\n")
    return folder / "s1.csv"


@broken("positions lack column 'y'")
def csv_with_half_a_position(folder: Path) -> Path:
    (folder / "s1.csv").write_text("x,f0,f1\n1,2,3\n3,4,5\n")
    return folder / "s1.csv"


@broken("1 patches hold NaN")
def csv_with_a_gap(folder: Path) -> Path:
    (folder / "s1.csv").write_text("f0,f1\n1,2\n3,\n")
    return folder / "s1.csv"
