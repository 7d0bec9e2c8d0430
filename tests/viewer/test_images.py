import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.report.conftest import make_slide
from tests.viewer.conftest import (
    CT_SHAPE,
    CT_SPACING,
    HOT_CT,
    HOT_SLIDE,
    MPP,
    SLIDE_PX,
    TILE_UM,
    UNSURE_SLIDE,
    WITHOUT_PICTURES,
    Client,
    SeenStudy,
)

from sparra.pathology.slide import Slide
from sparra.viewer.colours import heat_png, palette, windowed
from sparra.viewer.tiles import TILE_PX, Pyramid, Thumbnail, paint_tile, read_tile

METHOD = "modality=joint&aggregator=sparra&layer=importance"


def pixels_of(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)))


def rgba_of(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGBA"))


def test_tiles_are_just_what_the_slide_reader_gives(seen_study: SeenStudy, client: Client) -> None:
    facts = json.loads(client.body(f"/slide/{seen_study.slide_key}/info.json?{METHOD}"))
    assert (facts["width"], facts["height"], facts["mpp"]) == (*SLIDE_PX, MPP)
    assert facts["last_level"] == math.ceil(math.log2(max(SLIDE_PX)))
    with Slide(seen_study.folder / "slide.tiff") as slide:
        for level in range(facts["first_level"], facts["last_level"] + 1):
            mpp = MPP * 2 ** (facts["last_level"] - level)
            columns, rows = (math.ceil(math.ceil(side * MPP / mpp) / TILE_PX) for side in SLIDE_PX)
            for column in range(columns):
                for row in range(rows):
                    shown = pixels_of(client.body(f"/slide/{seen_study.slide_key}/picture/{level}/{column}/{row}"))
                    side_um = TILE_PX * mpp
                    expected = slide.read_um(column * side_um, row * side_um, side_um, TILE_PX)
                    np.testing.assert_array_equal(shown, expected[: shown.shape[0], : shown.shape[1]])
    # Together the tiles of the last level are the slide.
    assert shown.shape == (SLIDE_PX[1] % TILE_PX, SLIDE_PX[0] % TILE_PX, 3)


def test_the_slides_heat_lies_on_its_tiles_to_the_pixel(seen_study: SeenStudy, client: Client) -> None:
    facts = json.loads(client.body(f"/slide/{seen_study.slide_key}/info.json?{METHOD}"))
    centre = seen_study.slide_bag.positions[HOT_SLIDE]
    assert facts["heat"]["focus"] == centre.tolist()
    left, top = ((centre - TILE_UM / 2) / MPP).astype(int)
    side = round(TILE_UM / MPP)
    column, row = left // TILE_PX, top // TILE_PX
    heat = rgba_of(client.body(f"/slide/{seen_study.slide_key}/heat/{facts['last_level']}/{column}/{row}?{METHOD}"))
    hottest = (heat[..., :3] == list(palette()[-3:])).all(axis=-1) & (heat[..., 3] == 255)
    expected = np.zeros(heat.shape[:2], dtype=bool)
    y, x = top - row * TILE_PX, left - column * TILE_PX
    expected[y : y + side, x : x + side] = True
    np.testing.assert_array_equal(hottest, expected)
    # Beyond the last whole tile there is nothing.
    last = rgba_of(client.body(f"/slide/{seen_study.slide_key}/heat/{facts['last_level']}/4/0?{METHOD}"))
    covered = SLIDE_PX[0] * MPP // TILE_UM * TILE_UM / MPP - 4 * TILE_PX
    np.testing.assert_array_equal(last[..., 3] > 0, np.broadcast_to(np.arange(last.shape[1]) < covered, last.shape[:2]))


def test_the_standard_deviation_is_a_layer_where_it_is_known(seen_study: SeenStudy, client: Client) -> None:
    facts = json.loads(client.body(f"/slide/{seen_study.slide_key}/info.json?{METHOD}"))
    assert facts["heat"]["highest_sd"] == pytest.approx(0.02)
    assert facts["heat"]["spread"] == "posterior"
    left, top = ((seen_study.slide_bag.positions[UNSURE_SLIDE] - TILE_UM / 2) / MPP).astype(int)
    place = f"{facts['last_level']}/{left // TILE_PX}/{top // TILE_PX}"
    address = f"/slide/{seen_study.slide_key}/heat/{place}?modality=joint&aggregator=sparra&layer=sd"
    heat = rgba_of(client.body(address))
    hottest = np.argwhere((heat[..., :3] == list(palette()[-3:])).all(axis=-1))
    assert hottest.min(axis=0).tolist() == [top % TILE_PX, left % TILE_PX]
    assert len(hottest) == (TILE_UM / MPP) ** 2
    ct = json.loads(client.body(f"/ct/{seen_study.ct_key}/info.json?{METHOD}"))["heat"]
    assert ct["highest_sd"] is None
    assert "no posterior spread" in ct["spread"]
    assert client.status(f"/ct/{seen_study.ct_key}/heat/axial/5?modality=joint&aggregator=sparra&layer=sd") == 404


@pytest.mark.parametrize(("plane", "axis"), [("axial", 0), ("coronal", 1), ("sagittal", 2)])
def test_slices_are_the_volume_turned_to_the_patient(
    seen_study: SeenStudy, client: Client, plane: str, axis: int
) -> None:
    # The scan's first axis runs to the right and its third to the feet.
    upright = seen_study.hu[::-1, :, ::-1]
    facts = json.loads(client.body(f"/ct/{seen_study.ct_key}/info.json?{METHOD}"))["planes"][plane]
    assert facts["slices"] == CT_SHAPE[axis]
    others = [a for a in range(3) if a != axis]
    assert facts["spacing_mm"] == pytest.approx([CT_SPACING[2 - others[1]], CT_SPACING[2 - others[0]]])
    for index in (0, 3, CT_SHAPE[axis] - 1):
        shown = pixels_of(client.body(f"/ct/{seen_study.ct_key}/picture/{plane}/{index}?level=40&width=400"))
        section = np.take(upright, index, axis=axis)
        section = section if plane == "axial" else section[::-1]  # The head is up.
        grey = np.rint(((section.astype(float) + 160) * 255 / 400).clip(0, 255))
        np.testing.assert_allclose(shown, grey, atol=1)
        assert (shown == grey).mean() > 0.999


def test_outline_is_the_rim_of_the_mask(seen_study: SeenStudy, client: Client) -> None:
    rim = rgba_of(client.body(f"/ct/{seen_study.ct_key}/outline/axial/6"))[..., 3] > 0
    inside = seen_study.mask[::-1, :, ::-1][6].astype(bool)
    expected = inside.copy()
    expected[13:27, 19:37] = False  # The box without its outermost pixels.
    np.testing.assert_array_equal(rim, expected)
    assert not rgba_of(client.body(f"/ct/{seen_study.ct_key}/outline/axial/0"))[..., 3].any()


def test_the_cts_heat_lies_on_its_patches(seen_study: SeenStudy, client: Client) -> None:
    focus = json.loads(client.body(f"/ct/{seen_study.ct_key}/info.json?{METHOD}"))["heat"]["focus"]
    index = ((seen_study.ct_bag.positions[HOT_CT] - [30, -20, 500]) / [-0.8, 0.8, -2.5]).round().astype(int)
    upright = {"sagittal": CT_SHAPE[2] - 1 - index[0], "coronal": index[1], "axial": CT_SHAPE[0] - 1 - index[2]}
    assert focus == upright
    heat = rgba_of(client.body(f"/ct/{seen_study.ct_key}/heat/axial/{focus['axial']}?{METHOD}"))
    hottest = np.argwhere((heat[..., :3] == list(palette()[-3:])).all(axis=-1))
    assert len(hottest) == 8 * 8  # 6.4 mm at 0.8 mm a voxel
    np.testing.assert_allclose(hottest.mean(axis=0), [focus["coronal"], focus["sagittal"]], atol=0.51)


def test_without_its_original_an_image_is_shown_from_what_is_kept(seen_study: SeenStudy, client: Client) -> None:
    patients = json.loads(client.body("/patients/joint/sparra/network"))["patients"]
    images = {image["modality"]: image["key"] for image in patients[3]["images"]}
    slide = json.loads(client.body(f"/slide/{images['slide']}/info.json?{METHOD}"))
    assert "small picture" in slide["note"]
    assert (slide["width"], slide["height"]) == (200, 150)
    tile = pixels_of(client.body(f"/slide/{images['slide']}/picture/{slide['last_level']}/0/0"))
    assert tile.shape == (150, 200, 3)
    ct = json.loads(client.body(f"/ct/{images['ct']}/info.json?{METHOD}"))
    assert ct["planes"]["axial"]["slices"] == 40
    assert client.status(f"/ct/{images['ct']}/picture/sagittal/63?level=40&width=400") == 200


@pytest.mark.parametrize("modality", ["slide", "ct"])
def test_an_image_without_any_picture_is_told_and_no_error(client: Client, modality: str) -> None:
    facts = json.loads(client.body(f"/{modality}/{WITHOUT_PICTURES}-0/info.json?{METHOD}"))
    assert facts == {"absent": "Only the features of this image are here, and they came without a picture of it."}


def test_a_method_without_importance_says_so(seen_study: SeenStudy, client: Client) -> None:
    facts = json.loads(client.body(f"/slide/{seen_study.slide_key}/info.json?modality=joint&aggregator=mean"))
    assert facts["heat"] is None
    assert facts["heat_note"]
    assert client.status(f"/slide/{seen_study.slide_key}/heat/8/0/0?modality=joint&aggregator=mean") in (404, 422)


def test_patients_are_sorted_by_risk_with_their_follow_up(seen_study: SeenStudy, client: Client) -> None:
    import pandas as pd

    answer = json.loads(client.body("/patients/joint/sparra/CoxPH"))
    patients = answer["patients"]
    assert [p["percentile"] for p in patients] == sorted((p["percentile"] for p in patients), reverse=True)
    table = pd.read_csv(seen_study.layout.predictions, dtype={"subject_id": str})
    arm = table[(table["modality"] == "joint") & (table["aggregator"] == "sparra") & (table["model"] == "CoxPH")]
    expected = arm.set_index("subject_id")
    for patient in patients:
        row = expected.loc[patient["subject_id"]]
        assert (patient["time"], patient["event"], patient["group"]) == (row["time"], row["event"], row["group"])
    for group, curve in answer["curves"].items():
        times = expected.loc[expected["group"] == group, "time"]
        assert curve["time"][0] == 0
        assert curve["survival"][0] == 1
        assert curve["time"][-1] == times.max()
        assert (np.diff(curve["survival"]) <= 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_tiles_of_every_level_cover_it_without_gap_or_overlap(width: int, height: int) -> None:
    pyramid = Pyramid.of((width * 0.25, height * 0.25), 0.25)
    assert (pyramid.width_px, pyramid.height_px) == (width, height)
    assert 2**pyramid.last_level >= max(width, height) > 2 ** (pyramid.last_level - 1) or max(width, height) == 1
    for level in range(pyramid.first_level, pyramid.last_level + 1):
        scale = 2 ** (pyramid.last_level - level)
        sums = []
        for axis, side in ((0, width), (1, height)):
            place, total = 0, 0
            while tile := pyramid.tile(level, *((place, 0) if axis == 0 else (0, place))):
                total += (tile.width_px, tile.height_px)[axis]
                place += 1
            sums.append(total)
            assert total == math.ceil(side / scale)
    assert pyramid.tile(pyramid.first_level, 1, 0) is None


def test_a_slide_without_coarse_levels_is_read_in_small_parts() -> None:
    class Recorder:
        size_um = (40_000.0, 40_000.0)
        largest = 0.0

        def level_mpp(self, mpp: float) -> float:
            return 0.25

        def read_um(self, x_um: float, y_um: float, size_um: float, size_px: int) -> np.ndarray:
            self.largest = max(self.largest, size_um / 0.25)
            value = int(x_um // 10_000) * 16 + int(y_um // 10_000)
            return np.full((size_px, size_px, 3), value, dtype=np.uint8)

    slide = Recorder()
    pyramid = Pyramid.of(slide.size_um, 0.25)
    tile = pyramid.tile(pyramid.first_level, 0, 0)
    pixels = read_tile(slide, tile)
    assert slide.largest <= 2048
    assert pixels.shape == (tile.height_px, tile.width_px, 3)
    assert pixels[-1, -1, 0] == 3 * 16 + 3
    assert pixels[0, -1, 0] == 3 * 16


def test_a_thumbnail_is_read_like_a_slide() -> None:
    _, preview = make_slide(np.random.default_rng(0))
    thumbnail = Thumbnail(preview)
    assert thumbnail.size_um == (6400.0, 4800.0)
    np.testing.assert_array_equal(thumbnail.read_um(320.0, 640.0, 3200.0, 100), preview.pixels[20:120, 10:110])


def test_heat_is_transparent_where_nothing_is_and_has_the_maps_ends() -> None:
    values = np.array([[np.nan, 0.0], [0.5, 2.0]])
    heat = rgba_of(heat_png(values, 0.0, 2.0))
    assert heat[0, 0, 3] == 0
    assert heat[0, 1].tolist() == [*palette()[3:6], 255]
    assert heat[1, 1].tolist() == [*palette()[-3:], 255]
    flat = rgba_of(heat_png(np.zeros((2, 2)), 0.0, 0.0))
    assert (flat == [*palette()[3:6], 255]).all()


def test_window_ends_are_black_and_white() -> None:
    hu = np.array([[-161, -160, 40, 240, 3000]], dtype=np.int16)
    assert windowed(hu, 40, 400).tolist() == [[0, 0, 128, 255, 255]]


def test_patches_off_the_tile_are_not_painted() -> None:
    tile = Pyramid(512, 512, 1.0).tile(9, 1, 0)
    painted = paint_tile(tile, np.array([[100.0, 100.0], [300.0, 100.0]]), (20.0, 20.0), np.array([1.0, 2.0]))
    assert np.nansum(painted) == 2.0 * 400
    assert np.argwhere(np.isfinite(painted)).min(axis=0).tolist() == [90, 34]
