"""Every format, in its published layout: features, encoder and the µm of every tile, on 20x and 40x scans."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.bags import layouts
from tests.bags.layouts import GRID_MPP, LAYOUTS, TILE_UM, WITHOUT_SIDE, Made

from sparra.bags import Bag, write_bag
from sparra.bags.readers import find_reader, import_bag, is_bag_file, parts_of
from sparra.bags.settings import ImportSettings
from sparra.errors import UserError

READER_OF = {
    "trident": "trident",
    "clam": "clam",
    "fishing": "clam",
    "stamp": "stamp",
    "tiatoolbox": "tiatoolbox",
    "pancia": "tiatoolbox",
    "tiatoolbox_zarr": "tiatoolbox-zarr",
    "slide2vec": "slide2vec",
    "slide2vec_numpy": "slide2vec-numpy",
    "tensor": "torch-tensor",
    "slideflow": "slideflow",
    "histossl": "histossl",
    "slidegraph": "graph-nodes",
    "pancia_graph": "graph-nodes",
    "numpy": "numpy",
    "csv": "csv",
}
TILES = np.array([[3, 1], [4, 1], [3, 2], [11, 7], [0, 0]])


def features(n_tiles: int, seed: int = 0, dimension: int = 1024) -> np.ndarray:
    # Multiples of 1/64 are exact in float16, which some tools store, and in a CSV.
    return np.random.default_rng(seed).integers(-512, 512, size=(n_tiles, dimension)).astype(np.float32) / 64


def imported(made: Made) -> Bag:
    return import_bag(made.path, "slide", made.mpp, made.settings)


@pytest.mark.parametrize("mpp", [0.25, 0.5], ids=["40x", "20x"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_coordinates_and_features_are_right_at_20x_and_40x(tmp_path: Path, layout: str, mpp: float) -> None:
    values = features(len(TILES))
    made = LAYOUTS[layout](tmp_path, values, TILES, mpp)
    bag = imported(made)
    np.testing.assert_allclose(bag.positions, (TILES + 0.5) * TILE_UM, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(bag.features, values)
    assert bag.patch_size == (None if layout in WITHOUT_SIDE else pytest.approx((TILE_UM, TILE_UM)))
    assert bag.provenance["encoder"] == made.encoder
    assert bag.provenance["reader"] == next(
        READER_OF[k] for k in sorted(READER_OF, reverse=True) if layout.startswith(k)
    )
    assert len(bag.provenance["source_sha256"]) == 64
    assert is_bag_file(made.path)


@pytest.mark.parametrize(
    "layout",
    ["trident", "clam", "fishing_rod", "slide2vec", "slide2vec_3_0", "slide2vec_numpy_1", "tiatoolbox", "histossl"],
)
@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_resolution_that_the_encoder_saw_is_kept(tmp_path: Path, layout: str, mpp: float) -> None:
    bag = imported(LAYOUTS[layout](tmp_path, features(len(TILES)), TILES, mpp))
    assert bag.provenance["tile_mpp"] == pytest.approx(GRID_MPP)


@pytest.mark.parametrize(
    ("identifier", "name", "dimension"),
    [
        ("mahmood-uni", "uni", 1024),
        ("mahmood-uni2", "uni2-h", 1536),
        ("mahmood-conch", "conch", 512),
        ("mahmood-conch1_5", "conch-v1.5", 768),
        ("xiyuewang-ctranspath-7c998680", "ctranspath", 768),
        ("chief_ctranspath", "chief", 768),
        ("h_optimus_0", "h-optimus-0", 1536),
        ("gigapath", "prov-gigapath", 1536),
        ("STAMP-extract-1.0.0_xiyuewang-ctranspath-7c998680", "ctranspath", 768),
        ("STAMP-extract-v1.1.1_mahmood-uni-56ef09b4", "uni", 1024),
        ("xiyuewang-ctranspath-7c998680-0a1b2c3d", "ctranspath", 768),
        ("mahmood-uni-77ffbca1-0a1b2c3d", "uni", 1024),
        ("mahmood-conch1_5-0a1b2c3d", "conch-v1.5", 768),
        ("chief_ctranspath-0a1b2c3d", "chief", 768),
    ],
)
def test_encoders_as_stamp_calls_them(tmp_path: Path, identifier: str, name: str, dimension: int) -> None:
    path = tmp_path / "s1.h5"
    attributes = {"extractor": identifier, "unit": "um", "tile_size_um": 256.0, "tile_size_px": 224}
    layouts.stamp_h5(path, features(4, dimension=dimension), 256.0 * np.argwhere(np.ones((2, 2))), attributes)
    assert import_bag(path, "slide").provenance["encoder"] == name
    layouts.stamp_h5(path, features(4, dimension=7), 256.0 * np.argwhere(np.ones((2, 2))), attributes)
    with pytest.raises(UserError, match="7 columns"):
        import_bag(path, "slide")


def test_words_called_features_are_told_by_their_type(tmp_path: Path) -> None:
    layouts.clam_h5(tmp_path / "s1.h5", np.full(len(TILES), b"cell"), TILES)
    with pytest.raises(UserError, match=r"features are of type \|S4, not float"):
        import_bag(tmp_path / "s1.h5", "slide", 0.5)


def test_a_slide_of_tiatoolbox_without_tissue_holds_no_patch(tmp_path: Path) -> None:
    made = layouts.tiatoolbox(tmp_path, features(0), TILES[:0], 0.5)
    with pytest.raises(UserError, match="it holds no patch"):
        imported(made)


@pytest.mark.parametrize(
    ("folder", "name", "dimension"),
    [("iBOTViTBasePANCAN", "phikon", 768), ("DinoChenPancancer", "hipt", 384), ("CTransPath", "ctranspath", 768)],
)
def test_encoders_as_histossl_calls_them(tmp_path: Path, folder: str, name: str, dimension: int) -> None:
    made = layouts.histossl(tmp_path, features(len(TILES), dimension=dimension), TILES, 0.5)
    path = tmp_path / "features" / folder
    made.path.parents[2].rename(path)
    bag = import_bag(path / "TCGA" / "s1.svs" / "features.npy", "slide", settings=made.settings)
    assert bag.provenance["encoder"] == name


@pytest.mark.parametrize(("mpp", "factor", "custom"), [(0.5, 1, 1), (0.25, 2, 1), (0.25, 1, 2), (0.125, 2, 2)])
def test_clam_with_the_pixels_of_patches_counts_in_those(tmp_path: Path, mpp: float, factor: int, custom: int) -> None:
    coords = (layouts.corners_px(TILES, mpp) // (factor * custom)).astype(np.int32)
    layouts.clam_h5(tmp_path / "patches" / "s1.h5", None, coords)
    layouts.clam_h5(tmp_path / "h5_files" / "s1.h5", features(len(TILES)), coords)
    level = np.array([40_000, 30_000])
    with h5py.File(tmp_path / "patches" / "s1.h5", "a") as file:
        file.create_dataset("imgs", (len(TILES), 256, 256, 3), "u1", chunks=(1, 256, 256, 3))
        attributes = {"patch_level": factor - 1, "downsample": (factor, factor), "level_dim": level}
        file["imgs"].attrs.update(attributes | {"downsampled_level_dim": level // custom, "wsi_name": "s1"})
    bag = import_bag(tmp_path / "h5_files" / "s1.h5", "slide", mpp)
    np.testing.assert_allclose(bag.positions, (TILES + 0.5) * TILE_UM)
    assert bag.patch_size == (TILE_UM, TILE_UM)
    assert bag.provenance["tile_mpp"] == GRID_MPP
    with h5py.File(tmp_path / "patches" / "s1.h5", "a") as file:
        file["imgs"].attrs.clear()
    with pytest.raises(UserError, match="in pixels of the patches, and it does not say how many of level 0 make one"):
        import_bag(tmp_path / "h5_files" / "s1.h5", "slide", mpp, ImportSettings(tile_px=256))


@pytest.mark.parametrize("magnification", [10, 20, 40])
def test_a_magnification_given_for_um_per_pixel_is_refused(tmp_path: Path, magnification: float) -> None:
    made = layouts.tiatoolbox(tmp_path, features(len(TILES)), TILES, 0.5)
    with pytest.raises(UserError, match=f"a grid_mpp of {magnification} µm per pixel is not plausible.*0.5 for 20x"):
        import_bag(made.path, "slide", settings=ImportSettings(grid_mpp=magnification))
    made = layouts.clam(tmp_path, features(len(TILES)), TILES, 0.5)
    with pytest.raises(UserError, match=f"an mpp of {magnification} µm per pixel is not plausible"):
        import_bag(made.path, "slide", magnification)


def test_a_dictionary_in_pt_files_is_read_with_the_patches_beside_it(tmp_path: Path) -> None:
    made = layouts.clam_pt(tmp_path, features(len(TILES)), TILES, 0.5)
    torch.save({"features": torch.from_numpy(features(len(TILES)))}, made.path)
    np.testing.assert_allclose(imported(made).positions, (TILES + 0.5) * TILE_UM)
    for folder in ("patches", "features/h5_files"):
        shutil.rmtree(tmp_path / folder)
    assert imported(made).positions is None


def test_stamp_in_another_unit_than_um_is_refused(tmp_path: Path) -> None:
    attributes = {"extractor": "uni", "unit": "px", "tile_size_um": 256.0, "tile_size_px": 224}
    layouts.stamp_h5(tmp_path / "s1.h5", features(len(TILES)), TILES * 224.0, attributes)
    with pytest.raises(UserError, match="coordinates are in 'px', where STAMP writes um"):
        import_bag(tmp_path / "s1.h5", "slide")


def test_stamp_tells_its_resolution_from_both_sides_of_a_tile(tmp_path: Path) -> None:
    bag = imported(layouts.stamp(tmp_path, features(len(TILES)), TILES, 0.25))
    assert bag.provenance["tile_mpp"] == pytest.approx(TILE_UM / 224)


@pytest.mark.parametrize("mpp", [0.2278, 0.2527, 0.4932])
def test_an_uneven_mpp_scales_corners_and_sides_alike(tmp_path: Path, mpp: float) -> None:
    bag = imported(layouts.trident(tmp_path, features(len(TILES)), TILES, mpp))
    side = 512 if mpp < 0.3 else 256
    corners = (TILES * (TILE_UM / mpp)).astype(np.int64)
    np.testing.assert_allclose(bag.positions, (corners + side / 2) * mpp)
    assert bag.patch_size == pytest.approx((side * mpp, side * mpp))


def test_trident_without_mpp_asks_for_it_or_takes_it_from_the_magnification(tmp_path: Path) -> None:
    made = layouts.trident(tmp_path, features(len(TILES)), TILES, 0.25)
    with pytest.raises(UserError, match=r"does not say the µm per pixel of its slide, only the magnification 40x"):
        import_bag(made.path, "slide")
    bag = import_bag(made.path, "slide", settings=ImportSettings(mpp_from_magnification=True))
    np.testing.assert_allclose(bag.positions, (TILES + 0.5) * TILE_UM)
    assert any("derived from 40x" in note for note in bag.provenance["notes"])
    with pytest.raises(UserError, match=r"the mpp 0\.5 contradicts the file, which says 40x"):
        import_bag(made.path, "slide", 0.5)


def test_an_mpp_of_the_file_that_cannot_be_is_refused_and_may_be_replaced(tmp_path: Path) -> None:
    made = layouts.slide2vec(tmp_path, features(len(TILES)), TILES, 0.25)
    sections = tmp_path / "tiles" / "s1.coordinates.meta.json"
    sections.write_text(sections.read_text().replace('"base_spacing_um": 0.25', '"base_spacing_um": 250.0'))
    with pytest.raises(UserError, match="it says 250 µm per pixel, which is not plausible"):
        import_bag(made.path, "slide")
    assert import_bag(made.path, "slide", 0.25).provenance["mpp"] == 0.25


def test_an_mpp_given_replaces_that_of_the_file_and_says_so(tmp_path: Path) -> None:
    made = layouts.slide2vec(tmp_path, features(len(TILES)), TILES, 0.25)
    bag = import_bag(made.path, "slide", 0.26)
    assert bag.provenance["mpp"] == 0.26
    assert "the mpp given, 0.26, replaces 0.25 of the file" in bag.provenance["notes"]


def test_slide2vec_coordinates_are_followed_within_its_own_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    made = layouts.slide2vec(folder, features(len(TILES)), TILES, 0.25)
    meta = folder / "tile_embeddings" / "s1.meta.json"
    (folder / "tiles").rename(tmp_path / "tiles")
    shutil.copytree(tmp_path / "tiles", folder / "moved")
    (folder / "link").symlink_to(tmp_path / "tiles")
    name = "s1.coordinates.npz"
    content = json.loads(meta.read_text())
    for named in (folder / "moved" / name, f"moved/{name}"):
        meta.write_text(json.dumps({**content, "coordinates_npz_path": str(named)}))
        np.testing.assert_allclose(import_bag(made.path, "slide").positions, (TILES + 0.5) * TILE_UM)
    for named in (tmp_path / "tiles" / name, f"../tiles/{name}", f"link/{name}"):
        meta.write_text(json.dumps({**content, "coordinates_npz_path": str(named)}))
        with pytest.raises(UserError, match=rf"its coordinates tiles/{name} are missing"):
            import_bag(made.path, "slide")


@pytest.mark.parametrize("layout", ["slide2vec_3_0", "slide2vec_numpy_1", "slide2vec_numpy_2"])
@pytest.mark.parametrize("mpp", [0.2278, 0.2527, 0.4932])
def test_old_slide2vec_tells_its_mpp_by_the_side_of_tiles(tmp_path: Path, layout: str, mpp: float) -> None:
    made = LAYOUTS[layout](tmp_path, features(len(TILES)), TILES, mpp)
    bag = import_bag(made.path, "slide")
    assert bag.provenance["mpp"] == pytest.approx(mpp, rel=1 / round(TILE_UM / mpp))
    assert any("was found from the side of tiles" in note for note in bag.provenance["notes"])
    exact = import_bag(made.path, "slide", mpp)
    corners = (TILES * (TILE_UM / mpp)).astype(np.int64)
    np.testing.assert_allclose(exact.positions, (corners + round(TILE_UM / mpp) / 2) * mpp)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("model: {level: tile, name: uni}", "uni"),
        ("model: {level: tile}", "unknown"),
        ("model: uni", "unknown"),
        ("- uni", "unknown"),
        ("model: {level: [", "unknown"),
        ("model: {level: tile, name: 3}", "unknown"),
    ],
)
def test_the_encoder_of_slide2vec_1_stands_in_its_settings(tmp_path: Path, config: str, name: str) -> None:
    made = layouts.slide2vec_numpy_1(tmp_path, features(len(TILES)), TILES, 0.25)
    (tmp_path / "config.yaml").write_text(config)
    assert import_bag(made.path, "slide").provenance["encoder"] == name


def test_tiles_below_a_slide_encoder_are_of_its_tile_encoder(tmp_path: Path) -> None:
    made = layouts.slide2vec_numpy_2(tmp_path, features(len(TILES), dimension=768), TILES, 0.25)
    (tmp_path / "config.yaml").write_text("model: {level: slide, name: titan}")
    assert import_bag(made.path, "slide").provenance["encoder"] == "conch-v1.5"
    for name in ("s1", "s1-latents"):
        with pytest.raises(UserError, match=r"features of the whole slide .*Give s1-tiles\.pt"):
            import_bag(tmp_path / "features" / f"{name}.pt", "slide")


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.int32])
def test_coordinates_in_a_dictionary_are_of_any_precision(tmp_path: Path, kind: torch.dtype) -> None:
    corners = torch.tensor([[0, 0], [64, 0], [0, 128]], dtype=kind, requires_grad=kind.is_floating_point)
    torch.save({"features": torch.ones(3, 4), "coords": corners}, tmp_path / "s1.pt")
    bag = import_bag(tmp_path / "s1.pt", "slide", 0.5, ImportSettings(tile_px=64))
    np.testing.assert_array_equal(bag.positions, [[16, 16], [48, 16], [16, 80]])


def test_coordinates_that_are_not_dense_are_refused(tmp_path: Path) -> None:
    torch.save({"features": torch.ones(3, 4), "coords": torch.eye(3, 2).to_sparse()}, tmp_path / "s1.pt")
    with pytest.raises(UserError, match="not dense"):
        import_bag(tmp_path / "s1.pt", "slide", 0.5)


def test_a_dictionary_without_positions_has_none(tmp_path: Path) -> None:
    torch.save({"features": torch.ones(3, 4), "slide": "s1"}, tmp_path / "s1.pt")
    assert import_bag(tmp_path / "s1.pt", "slide").positions is None


@pytest.mark.parametrize("stride_attribute", [True, False])
def test_historic_stamp_is_in_pixels_of_224_to_256_um(tmp_path: Path, stride_attribute: bool) -> None:
    attributes = {"extractor": "mahmood-uni"} | ({"tile_size": 224} if stride_attribute else {})
    layouts.stamp_h5(tmp_path / "s1.h5", features(len(TILES)), TILES * 224, attributes)
    bag = import_bag(tmp_path / "s1.h5", "slide")
    np.testing.assert_allclose(bag.positions, (TILES + 0.5) * 256.0)
    assert bag.patch_size == (256.0, 256.0)
    assert bag.provenance["encoder"] == "uni"
    assert "STAMP 1" in bag.provenance["notes"][0]


def test_the_side_given_in_pixels_is_none_of_positions_in_um(tmp_path: Path) -> None:
    made = layouts.numpy_archive(tmp_path, features(len(TILES)), TILES, 0.5)
    assert import_bag(made.path, "slide", settings=ImportSettings(tile_px=256)).patch_size is None


def test_what_json_cannot_hold_does_not_stop_a_bag(tmp_path: Path) -> None:
    made = layouts.slide2vec(tmp_path, features(len(TILES)), TILES, 0.25)
    meta = made.path.with_name("s1.meta.json")
    meta.write_text(meta.read_text().replace('"sample_id": "s1"', '"requested_spacing_um": NaN'))
    bag = import_bag(made.path, "slide")
    assert bag.provenance["source_attributes"]["requested_spacing_um"] is None
    write_bag(tmp_path / "out.h5", bag)


def test_stamp_without_coordinates_has_no_positions(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s1.h5", "w") as file:
        file["patch_embeddings"] = features(4)
    assert import_bag(tmp_path / "s1.h5", "slide").positions is None


def test_clam_on_the_level_of_a_40x_scan_is_half_as_wide(tmp_path: Path) -> None:
    attributes = {**layouts.clam_attributes(0.5), "patch_level": 0}
    layouts.clam_h5(tmp_path / "s1.h5", features(len(TILES)), TILES * 256, attributes)
    bag = import_bag(tmp_path / "s1.h5", "slide", 0.25)
    np.testing.assert_allclose(bag.positions, (TILES + 0.5) * 64.0)
    assert bag.provenance["tile_mpp"] == 0.25


def test_nodes_without_the_side_of_a_tile_stay_where_they_are_with_a_note(tmp_path: Path) -> None:
    made = layouts.slidegraph(tmp_path, features(len(TILES)), TILES, 0.5)
    bag = import_bag(made.path, "slide", settings=ImportSettings(grid_mpp=GRID_MPP))
    np.testing.assert_allclose(bag.positions, TILES * TILE_UM)
    assert bag.patch_size is None
    assert any("half a tile" in note for note in bag.provenance["notes"])


def test_a_patch_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    values = features(len(TILES))
    twice = np.array([0, 1, 2, 3, 4, 1, 3])
    made = layouts.clam_with_attributes(tmp_path, values[twice], TILES[twice], 0.5)
    bag = imported(made)
    np.testing.assert_array_equal(bag.features, values)
    assert "2 patches were there twice and count once" in bag.provenance["notes"]


def test_companions_are_known(tmp_path: Path) -> None:
    made = layouts.clam_pt(tmp_path, features(len(TILES)), TILES, 0.5)
    names = [path.relative_to(tmp_path).as_posix() for path in parts_of(made.path, made.mpp, made.settings)]
    assert names == ["features/h5_files/s1.h5", "patches/s1.h5"]


def test_a_ct_archive_keeps_positions_in_mm(tmp_path: Path) -> None:
    positions = np.array([[0.0, -12.5, 30], [12, 0, 30]])
    np.savez(tmp_path / "ct.npz", features=features(2), positions_mm=positions)
    bag = import_bag(tmp_path / "ct.npz", "ct")
    np.testing.assert_array_equal(bag.positions, positions)
    with pytest.raises(UserError, match="the table says slide"):
        import_bag(tmp_path / "ct.npz", "slide")


def test_the_format_may_be_said(tmp_path: Path) -> None:
    made = layouts.slideflow(tmp_path, features(len(TILES)), TILES, 0.5)
    assert find_reader(made.path) == "slideflow"
    assert import_bag(made.path, "slide", name="torch-tensor").positions is None
    with pytest.raises(UserError, match=r"there is no format 'clamm'\. Did you mean 'clam'"):
        import_bag(made.path, "slide", name="clamm")


@st.composite
def tile_sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, float]:
    cells = draw(st.sets(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=12))
    tiles = np.array(sorted(cells))
    width = draw(st.sampled_from([512, 1024]))
    values = draw(arrays(np.float32, (len(tiles), 1), elements=st.integers(1, 2000).map(float)))
    return tiles, np.repeat(values, width, axis=1), draw(st.sampled_from([0.25, 0.5]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=tile_sets(), layout=st.sampled_from([name for name in LAYOUTS if name not in ("csv", "slidegraph")]))
def test_any_set_of_tiles_comes_back_from_every_format(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[np.ndarray, np.ndarray, float], layout: str
) -> None:
    tiles, values, mpp = case
    if layout.startswith(("trident", "stamp", "slide2vec", "slideflow", "clam_with")) and values.shape[1] != 1024:
        values = np.repeat(values[:, :1], 1024, axis=1)
    made = LAYOUTS[layout](tmp_path_factory.mktemp("any"), values, tiles, mpp)
    bag = imported(made)
    np.testing.assert_allclose(bag.positions, (tiles + 0.5) * TILE_UM, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(bag.features, values)


def test_torch_file_of_another_precision(tmp_path: Path) -> None:
    torch.save(torch.ones(3, 4, dtype=torch.bfloat16), tmp_path / "a.pt")
    assert import_bag(tmp_path / "a.pt", "slide").features.dtype == np.float32
