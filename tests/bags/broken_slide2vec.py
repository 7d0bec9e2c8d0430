"""slide2vec's files, broken and odd; importing this module adds them to `tests.bags.broken.BROKEN`."""

import shutil
from pathlib import Path

import numpy as np
import torch
from tests.bags import layouts
from tests.bags.broken import BROKEN as BROKEN
from tests.bags.broken import MPP, TILES, D, broken, cut, values


@broken("coordinates tiles/s1.coordinates.npz are missing")
def slide2vec_without_coordinates(folder: Path) -> Path:
    made = layouts.slide2vec(folder, values(), TILES, MPP)
    shutil.rmtree(folder / "tiles")
    meta = made.path.with_name("s1.meta.json")
    meta.write_text(meta.read_text().replace("/elsewhere", str(folder)))
    return made.path


@broken("s1.meta.json is missing, which slide2vec writes last")
def slide2vec_interrupted(folder: Path) -> Path:
    made = layouts.slide2vec(folder, values(), TILES, MPP)
    made.path.with_name("s1.meta.json").unlink()
    return made.path


@broken("regions by tiles by values")
def slide2vec_hierarchical(folder: Path) -> Path:
    made = layouts.slide2vec(folder, values(), TILES, MPP)
    torch.save(torch.ones(2, 4, D), made.path)
    return made.path


@broken("the JSON cannot be read")
def slide2vec_cut_meta(folder: Path) -> Path:
    made = layouts.slide2vec(folder, values(), TILES, MPP)
    cut(made.path.with_name("s1.meta.json"), 0.5)
    return made.path


@broken("truncated: it holds features of 7 of the 8 patches in coordinates/s1.npy")
def slide2vec_1_cut_short(folder: Path) -> Path:
    made = layouts.slide2vec_numpy_1(folder, values(), TILES, MPP)
    torch.save(torch.from_numpy(values()[:7]), made.path)
    return made.path


@broken("features of the whole slide (shape (1, 1024), 8 tiles)")
def slide2vec_1_of_a_whole_slide(folder: Path) -> Path:
    made = layouts.slide2vec_numpy_1(folder, values(), TILES, MPP)
    torch.save(torch.ones(1, D), made.path)
    return made.path


@broken("regions by tiles by values")
def slide2vec_1_of_regions(folder: Path) -> Path:
    made = layouts.slide2vec_numpy_1(folder, values(), TILES, MPP)
    torch.save(torch.ones(len(TILES), 4, D), made.path)
    return made.path


@broken("not a table with columns x and y")
def slide2vec_before_its_first_version(folder: Path) -> Path:
    made = layouts.slide2vec_numpy_1(folder, values(), TILES, MPP)
    np.save(folder / "coordinates" / "s1.npy", np.ones((len(TILES), 6), int))
    return made.path


@broken("the file is truncated or damaged")
def slide2vec_1_with_damaged_coordinates(folder: Path) -> Path:
    made = layouts.slide2vec_numpy_1(folder, values(), TILES, MPP)
    cut(folder / "coordinates" / "s1.npy", 0.7)
    return made.path


@broken("its coordinates are a list, not a tensor")
def coordinates_in_a_list(folder: Path) -> Path:
    torch.save({"features": torch.from_numpy(values()), "coords": TILES.tolist()}, folder / "s1.pt")
    return folder / "s1.pt"


@broken("a dictionary of model, epoch, no 'features'")
def checkpoint_for_features(folder: Path) -> Path:
    torch.save({"model": {}, "epoch": 3}, folder / "s1.pt")
    return folder / "s1.pt"


def _slide2vec_1_column(folder: Path, column: str, kind: object) -> Path:
    """Store a column of the coordinates as another type."""
    made = layouts.slide2vec_numpy_1(folder, values(), TILES, MPP)
    path = folder / "coordinates" / "s1.npy"
    table = np.load(path)
    changed = np.zeros(
        len(table), [(name, kind if name == column else table.dtype[name]) for name in table.dtype.names]
    )
    for name in set(table.dtype.names) - {column}:
        changed[name] = table[name]
    np.save(path, changed)
    return made.path


@broken("x and y are of type datetime64[s] and int64, not numbers")
def slide2vec_1_with_dates(folder: Path) -> Path:
    return _slide2vec_1_column(folder, "x", "M8[s]")


@broken("it does not say how large the tiles are")
def slide2vec_1_with_sides_of_pairs(folder: Path) -> Path:
    return _slide2vec_1_column(folder, "tile_size_lv0", (int, (2,)))


@broken("it does not say how large the tiles are")
def slide2vec_1_with_sides_that_differ(folder: Path) -> Path:
    made = layouts.slide2vec_numpy_1(folder, values(), TILES, MPP)
    table = np.load(folder / "coordinates" / "s1.npy")
    table["tile_size_lv0"][1] += 1
    np.save(folder / "coordinates" / "s1.npy", table)
    return made.path


@broken("it does not say the µm per pixel", mpp=None)
def slide2vec_1_with_a_factor_of_nothing(folder: Path) -> Path:
    made = layouts.slide2vec_numpy_1(folder, values(), TILES, MPP)
    table = np.load(folder / "coordinates" / "s1.npy")
    table["resize_factor"] = 1e-320
    np.save(folder / "coordinates" / "s1.npy", table)
    return made.path


@broken("x and y are of type [('a', '<i8')] and int64, not numbers")
def slide2vec_3_with_nested_columns(folder: Path) -> Path:
    made = layouts.slide2vec_3_2(folder, values(), TILES, MPP)
    path = folder / "tiles" / "s1.coordinates.npz"
    np.savez(path, x=np.zeros(len(TILES), [("a", int)]), y=np.arange(len(TILES)))
    return made.path


@broken("it does not say how large the tiles are")
def slide2vec_3_with_an_endless_number(folder: Path) -> Path:
    made = layouts.slide2vec_3_2(folder, values(), TILES, MPP)
    for path in (made.path.with_name("s1.meta.json"), folder / "tiles" / "s1.coordinates.meta.json"):
        path.write_text('{"tile_size_lv0": 1' + 400 * "0" + "}")
    return made.path


@broken("coordinates tiles/s1.coordinates.npz are missing")
def slide2vec_3_with_a_name_of_no_file(folder: Path) -> Path:
    made = layouts.slide2vec_3_2(folder, values(), TILES, MPP)
    (folder / "tiles" / "s1.coordinates.npz").unlink()
    made.path.with_name("s1.meta.json").write_text('{"coordinates_npz_path": "tiles/\\u0000"}')
    return made.path


@broken("the tensor is of torch.bits8, which cannot be read")
def coordinates_of_bits(folder: Path) -> Path:
    bits = torch.zeros(len(TILES), 2, dtype=torch.uint8).view(torch.bits8)
    torch.save({"features": torch.from_numpy(values()), "coords": bits}, folder / "s1.pt")
    return folder / "s1.pt"


@broken("the positions are of type complex64, not numbers")
def coordinates_that_are_conjugate(folder: Path) -> Path:
    corners = torch.ones(len(TILES), 2, dtype=torch.complex64).conj()
    torch.save({"features": torch.from_numpy(values()), "coords": corners}, folder / "s1.pt")
    return folder / "s1.pt"
