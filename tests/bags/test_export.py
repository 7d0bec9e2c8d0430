"""TRIDENT's layout: what is written, and that it comes back."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bags import layouts

from sparra.bags import Bag, write_bag
from sparra.bags.export import bags_in, export_bag, write_trident
from sparra.bags.readers import import_bag
from sparra.errors import UserError

TILES = np.array([[3, 1], [4, 1], [3, 2], [11, 7], [0, 0]])


def own_bag(mpp: float = 0.25, tile_um: float = 128.0, step_um: float = 128.0) -> Bag:
    """A bag as sparra's own extraction leaves it."""
    return Bag(
        "slide",
        np.random.default_rng(0).normal(size=(len(TILES), 6)).astype(np.float32),
        TILES * step_um + tile_um / 2,
        (tile_um, tile_um),
        provenance={
            "encoder": {"name": "local"},
            "slide": {"mpp_x": mpp, "level_dimensions": [[9000, 7000], [2250, 1750]]},
            "grid": {"tile_um": tile_um, "tile_px": 256, "step_um": step_um},
        },
    )


@pytest.mark.parametrize(("mpp", "side", "magnification"), [(0.25, 512, 40), (0.5, 256, 20)])
def test_layout_and_attributes_are_tridents(tmp_path: Path, mpp: float, side: int, magnification: int) -> None:
    bag = own_bag(mpp)
    path = write_trident(tmp_path, "s1", bag)
    assert path == tmp_path / "20x_256px_0px_overlap" / "features_local" / "s1.h5"
    patches = tmp_path / "20x_256px_0px_overlap" / "patches" / "s1_patches.h5"
    with h5py.File(path) as file, h5py.File(patches) as coordinates:
        assert set(file) == {"features", "coords"}
        assert set(coordinates) == {"coords"}
        assert file["features"].chunks == (1, 6)
        assert file["features"].maxshape == (None, 6)
        assert file["features"].attrs["encoder"] == "local"
        for dataset in (file["coords"], coordinates["coords"]):
            assert dataset.dtype == np.int64
            np.testing.assert_array_equal(dataset, TILES * side)
            told = {name: dataset.attrs[name] for name in dataset.attrs if name != "savetodir"}
            assert told == {
                "patch_size": 256,
                "patch_size_level0": side,
                "level0_magnification": magnification,
                "target_magnification": 20,
                "overlap": 0,
                "name": "s1",
                "level0_width": 9000,
                "level0_height": 7000,
                "mpp": mpp,
            }


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_it_comes_back_without_being_told_the_mpp(tmp_path: Path, mpp: float) -> None:
    bag = own_bag(mpp)
    back = import_bag(write_trident(tmp_path, "s1", bag), "slide")
    np.testing.assert_array_equal(back.features, bag.features)
    np.testing.assert_allclose(back.positions, bag.positions)
    assert back.patch_size == bag.patch_size
    assert back.provenance["encoder"] == "local"
    assert back.provenance["tile_mpp"] == pytest.approx(0.5)


def test_overlap_is_told(tmp_path: Path) -> None:
    path = write_trident(tmp_path, "s1", own_bag(step_um=96.0))
    assert path.parent.parent.name == "20x_256px_64px_overlap"


@pytest.mark.parametrize("mpp", [0.0, -1.0, float("nan"), float("inf"), 50.0])
def test_an_impossible_mpp_is_one_sentence(tmp_path: Path, mpp: float) -> None:
    with pytest.raises(UserError, match="not plausible"):
        write_trident(tmp_path, "s1", own_bag(), mpp)
    assert not list(tmp_path.iterdir())


def test_overlap_of_trident_goes_out_as_it_came_in(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(len(TILES), 1024)).astype(np.float32)
    made = layouts.trident(tmp_path / "in", features, TILES, 0.25)
    for path in (made.path, made.path.parent.parent / "patches" / f"{made.path.stem}_patches.h5"):
        with h5py.File(path, "r+") as file:
            file["coords"].attrs["overlap"] = 64
    path = write_trident(tmp_path / "out", "s1", import_bag(made.path, "slide", 0.25))
    assert path.parent.parent.name == "20x_256px_64px_overlap"
    with h5py.File(path) as file:
        assert file["coords"].attrs["overlap"] == 64


@settings(max_examples=60, deadline=None)
@given(
    mpp=st.floats(0.17, 1.1),
    tile_um=st.floats(40, 400),
    places=st.lists(st.tuples(st.floats(0, 4e4), st.floats(0, 4e4)), min_size=1, max_size=8),
)
def test_any_bag_comes_back_within_half_a_pixel(
    tmp_path_factory: pytest.TempPathFactory, mpp: float, tile_um: float, places: list[tuple[float, float]]
) -> None:
    corners = np.unique(np.round(np.array(places) / mpp).astype(int), axis=0) * mpp
    features = np.arange(1.0, 2 * len(corners) + 1).reshape(-1, 2)
    provenance = {"encoder": "mine", "mpp": mpp, "tile_mpp": 1.0}
    bag = Bag("slide", features, corners + tile_um / 2, (tile_um, tile_um), provenance=provenance)
    back = import_bag(write_trident(tmp_path_factory.mktemp("job"), "s1", bag), "slide")
    assert back.positions is not None
    assert np.abs(back.positions - bag.positions).max() <= mpp / 2 * (1 + 1e-6)
    np.testing.assert_array_equal(back.features, features)


@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.2278])
def test_what_trident_wrote_goes_out_as_it_came_in(tmp_path: Path, mpp: float) -> None:
    features = np.random.default_rng(0).normal(size=(len(TILES), 1024)).astype(np.float32)
    made = layouts.trident(tmp_path / "in", features, TILES, mpp)
    write_bag(tmp_path / "s1.h5", import_bag(made.path, "slide", mpp))
    path = export_bag(tmp_path / "s1.h5", tmp_path / "out")
    with h5py.File(made.path) as before, h5py.File(path) as after:
        for name in ("features", "coords"):
            np.testing.assert_array_equal(before[name], after[name])
        attributes = {key: value for key, value in before["coords"].attrs.items() if key != "savetodir"}
        assert attributes == {key: after["coords"].attrs[key] for key in attributes}


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    bag = own_bag()
    without = {
        "has no positions": Bag("slide", bag.features, None),
        "size of its tiles": Bag("slide", bag.features, bag.positions),
        "µm per pixel of its slide": Bag("slide", bag.features, bag.positions, (128.0, 128.0)),
        "bag is of a CT": Bag("ct", bag.features, np.ones((len(TILES), 3)), (1.0, 1.0, 1.0)),
        "knows no magnification": Bag("slide", bag.features, bag.positions, (9.0, 9.0), provenance={"mpp": 3.0}),
    }
    for says, bad in without.items():
        write_bag(tmp_path / "bad.h5", bad)
        with pytest.raises(UserError, match=says) as caught:
            export_bag(tmp_path / "bad.h5", tmp_path / "out")
        assert "bad.h5" in str(caught.value)
    assert write_trident(tmp_path, "s1", without["µm per pixel of its slide"], mpp=0.5).is_file()


def test_bags_of_a_study_are_found(tmp_path: Path) -> None:
    write_bag(tmp_path / "features" / "slide" / "a.h5", own_bag())
    write_bag(tmp_path / "features" / "ct" / "b.h5", Bag("ct", np.ones((2, 2)), None))
    assert [path.name for path in bags_in(tmp_path)] == ["a.h5"]
    with pytest.raises(UserError, match="there is no bag"):
        bags_in(tmp_path / "features" / "none")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sparra.cli import main

    write_bag(tmp_path / "bags" / "a.h5", own_bag())
    (tmp_path / "bags" / "b.h5").write_bytes(b"broken")
    arguments = ["export-bags", str(tmp_path / "bags"), "--out", str(tmp_path / "job")]
    monkeypatch.setattr("sys.argv", ["sparra", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "1 bags exported" in printed
    assert "export failed" in printed


def test_corners_are_in_pixels_of_each_axis_where_pixels_are_not_square(tmp_path: Path) -> None:
    bag = own_bag(mpp=0.25)
    slide = {**bag.provenance["slide"], "mpp_y": 0.26}
    path = write_trident(tmp_path, "s1", replace(bag, provenance={**bag.provenance, "slide": slide}))
    with h5py.File(path) as file:
        corners = file["coords"][()]
    np.testing.assert_allclose(corners + 256, bag.positions / (0.25, 0.26), atol=0.5)


def test_two_bags_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        write_bag(tmp_path / folder / "s1.h5", own_bag())
    with pytest.raises(UserError, match="1 names stand for several bags, first 's1'"):
        bags_in(tmp_path)


def test_bags_that_a_table_names_otherwise_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an absolute path, in a folder of a site, and twice, where two subjects share a slide."""
    paths = [tmp_path / "bags" / "a.h5", tmp_path / "bags" / "site" / "b.h5"]
    for path in paths:
        write_bag(path, own_bag())
    named = (paths[0], "bags/a.h5", "bags/site/b.h5", "elsewhere/c.h5")
    (tmp_path / "images.csv").write_text("path\n" + "".join(f"{name}\n" for name in named))
    monkeypatch.chdir(tmp_path)
    assert bags_in(Path()) == bags_in(tmp_path) == paths
