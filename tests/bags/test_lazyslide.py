"""LazySlide's stores, laid out as SpatialData writes them (checked against one that it wrote, version 0.7.3)."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tests.bags.layouts import GRID_PX, TILE_UM

from sparra.bags.readers import find_reader, import_bag
from sparra.bags.settings import ImportSettings
from sparra.errors import UserError

TILES = np.array([[3, 1], [4, 1], [3, 2], [11, 7], [0, 0]])
ORDER = np.array([2, 0, 1, 4, 3])  # of the table's rows, which need not be that of the tiles
with_pyarrow = pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")


def write_array(group: Any, name: str, values: np.ndarray) -> None:
    group.create_array(name, shape=values.shape, dtype=values.dtype)[:] = values


def store(folder: Path, mpp: float, encoders: tuple[str, ...] = ("uni",)) -> tuple[Path, np.ndarray]:
    path = folder / "s1.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=3)
    values = np.random.default_rng(0).normal(size=(len(TILES), 1024)).astype(np.float32)
    for encoder in encoders:
        table = root.create_group(f"tables/{encoder}_tiles")
        write_array(table, "X", values[ORDER])
        write_array(table.create_group("obs"), "tile_id", ORDER)
    root.create_group("shapes/tiles")
    factor = 0.5 / mpp
    root.attrs["tile_spec"] = {
        "tiles": {"width": GRID_PX, "height": GRID_PX, "mpp": 0.5, "base_downsample": factor, "tissue_name": None}
    }
    root.attrs["slide_properties"] = {"mpp": mpp, "magnification": 10 / mpp}
    return path, values


def write_tiles(path: Path, mpp: float) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    corners = (TILES * TILE_UM / mpp).astype(np.int64)
    columns = {"tile_id": np.arange(len(TILES)), "x": corners[:, 0], "y": corners[:, 1]}
    write_table(pyarrow.table(columns), path / "shapes" / "tiles" / "shapes.parquet")


@with_pyarrow
@pytest.mark.parametrize("mpp", [0.25, 0.5], ids=["40x", "20x"])
def test_tiles_and_features_are_joined_by_id(tmp_path: Path, mpp: float) -> None:
    path, values = store(tmp_path, mpp)
    write_tiles(path, mpp)
    bag = import_bag(path, "slide")
    np.testing.assert_allclose(bag.positions, (TILES[ORDER] + 0.5) * TILE_UM)
    np.testing.assert_array_equal(bag.features, values[ORDER])
    assert bag.patch_size == (TILE_UM, TILE_UM)
    assert bag.provenance["encoder"] == "uni"
    assert bag.provenance["tile_mpp"] == 0.5


@with_pyarrow
@pytest.mark.parametrize(
    ("ids", "sentence"),
    [(["a", "b", "c", "d", "e"], "are no numbers"), ([0, 1, 2, 3, 9], "not among the tiles"), ([], "are no numbers")],
)
def test_tiles_that_do_not_fit_are_one_sentence(tmp_path: Path, ids: list[Any], sentence: str) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    path, _ = store(tmp_path, 0.5)
    columns = {"tile_id": ids, "x": list(range(len(ids))), "y": list(range(len(ids)))}
    write_table(pyarrow.table(columns), path / "shapes" / "tiles" / "shapes.parquet")
    with pytest.raises(UserError, match=sentence):
        import_bag(path, "slide")


@with_pyarrow
def test_one_of_several_encoders_is_chosen(tmp_path: Path) -> None:
    path, _ = store(tmp_path, 0.5, ("uni", "gpfm"))
    write_tiles(path, 0.5)
    assert import_bag(path, "slide", settings=ImportSettings(encoder="uni_v1")).provenance["encoder"] == "uni"


def test_several_encoders_without_a_choice_are_refused(tmp_path: Path) -> None:
    path, _ = store(tmp_path, 0.5, ("uni", "gpfm"))
    assert find_reader(path) == "lazyslide"
    with pytest.raises(UserError, match=r"several encoders \(gpfm, uni\)"):
        import_bag(path, "slide")
    with pytest.raises(UserError, match="no features of encoder 'conch'"):
        import_bag(path, "slide", settings=ImportSettings(encoder="conch"))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = store(tmp_path, 0.5)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r'needs pyarrow\. Install it with: pip install "sparra\[lazyslide\]"'):
        import_bag(path, "slide")
