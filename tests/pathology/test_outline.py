import json
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from sparra.errors import UserError
from sparra.pathology.annotation import read_annotation
from sparra.pathology.artefacts import blurred_mask
from sparra.pathology.extract import extract_slide
from sparra.pathology.geojson import read_geojson, write_geojson
from sparra.pathology.outline import mask_of, outline_of
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.pathology.tissue import find_tissue

from .conftest import PaintTissue, WriteSlide

PENS = {"blue": (30, 50, 160), "green": (20, 140, 90), "black": (35, 30, 40), "red": (220, 45, 55)}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), share=st.floats(0.1, 0.9))
def test_an_outline_holds_just_the_pixels_of_its_mask(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((14, 19)) < share
    outline = outline_of(mask, (8.0, 8.0))
    assert outline.is_valid
    assert outline.area == pytest.approx(mask.sum() * 64)
    y, x = np.indices(mask.shape)
    inside = shapely.contains_xy(outline, (x + 0.5) * 8, (y + 0.5) * 8)
    assert np.array_equal(inside, mask)


def test_an_outline_filled_again_is_its_mask() -> None:
    y, x = np.indices((80, 90)) - 40
    radius = np.hypot(x, y)
    mask = (radius < 35) & ((radius > 18) | (radius < 8))  # an island in a hole
    assert (mask_of(outline_of(mask, (8.0, 8.0)), mask.shape, 8.0) != mask).mean() < 0.04


def test_geojson_keeps_outlines_and_is_laid_out_as_qupath(tmp_path: Path) -> None:
    mask = np.zeros((40, 50), bool)
    mask[5:30, 5:40], mask[10:20, 10:20], mask[13:16, 13:16] = True, False, True
    outline, pen = outline_of(mask, (8.0, 8.0)), outline_of(mask[:4] | True, (8.0, 8.0))
    path = tmp_path / "a.geojson"
    write_geojson(path, {"Tissue": outline, "Pen*": pen}, (0.25, 0.25))
    content = json.loads(path.read_text())
    assert content["type"] == "FeatureCollection"
    assert {feature["properties"]["objectType"] for feature in content["features"]} == {"annotation"}
    rings = [f["geometry"]["coordinates"][0] for f in content["features"] if f["properties"]["name"][:2] == "Ti"]
    corner = np.concatenate([np.asarray(ring) for ring in rings]).max(axis=0)
    assert corner.tolist() == [40 * 32, 30 * 32]  # pixels of level 0
    back = read_geojson(path, (0.25, 0.25), (2000, 2000))
    assert back.equals(outline.difference(pen))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid GeoJSON"),
        ('{"type": "FeatureCollection", "features": []}', "no area"),
        ('{"type": "Point", "coordinates": [1, 2]}', "no area"),
        ('{"type": "Polygon", "coordinates": [[[1e5, 1e5], [2e5, 1e5], [2e5, 2e5], [1e5, 1e5]]]}', "outside the slide"),
        ('{"type": "Polygon", "coordinates": "x"}', "geometry cannot be read"),
        ("[1, 2]", "no list of features"),
        ("1" * 5000, "not valid GeoJSON"),
        ('{"type": "Point", "coordinates": [1' + "0" * 400 + ", 2]}", "geometry cannot be read"),
        ('{"type": "Point", "coordinates": [1, 2], "properties": {"classification": {"names": 5}}}', "no area"),
    ],
)
def test_a_bad_annotation_is_told(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(content)
    with pytest.raises(UserError, match=words):
        read_geojson(path, (0.25, 0.25), (2000, 2000))


def test_a_feature_that_lies_nowhere_is_passed_over(tmp_path: Path) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]}
    features = [{"type": "Feature", "geometry": geometry, "properties": {}} for geometry in (None, square)]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(features))
    assert read_geojson(path, (1.0, 1.0), (100, 100)).area == 100


def test_tissue_that_is_all_ignored_is_told(tmp_path: Path) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]}
    features = [
        {"type": "Feature", "geometry": square, "properties": {"classification": {"name": name}}}
        for name in ("Tumor", "Ignore*")
    ]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(features))
    with pytest.raises(UserError, match="all of the annotated tissue is taken away"):
        read_geojson(path, (1.0, 1.0), (100, 100))


def test_polygons_of_one_annotation_that_lie_in_each_other_are_united(tmp_path: Path) -> None:
    squares = [[[[0, 0], [side, 0], [side, side], [0, side], [0, 0]]] for side in (10, 6)]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": squares}))
    assert read_geojson(path, (1.0, 1.0), (100, 100)).area == 100


def test_what_is_written_gives_the_same_tiles_and_an_edit_gives_others(
    write_slide: WriteSlide, paint_tissue: PaintTissue, tmp_path: Path
) -> None:
    chosen = SlideSettings(tile_um=32)
    slide = write_slide(paint_tissue(400, 300, 0.5, 2500, tissue_um=(60, 50, 340, 250))[0], 0.5, 1)
    found, _ = extract_slide(slide, None, chosen, record=tmp_path / "record")
    assert (tmp_path / "record.png").stat().st_size > 1000
    given_back, _ = extract_slide(slide, None, chosen, annotation=tmp_path / "record.geojson")
    assert np.array_equal(given_back.positions, found.positions)
    assert np.array_equal(given_back.extras["tissue_fraction"], found.extras["tissue_fraction"])
    assert given_back.provenance["tissue"]["source"] == "annotation"
    content = json.loads((tmp_path / "record.geojson").read_text())
    content["features"][0]["geometry"] = shapely.geometry.mapping(shapely.box(200, 200, 400, 400))
    (tmp_path / "edited").mkdir()
    (tmp_path / "edited" / "slide.geojson").write_text(json.dumps(content))
    edited, _ = extract_slide(slide, None, chosen.model_copy(update={"tissue_folder": tmp_path / "edited"}))
    assert edited.provenance["tissue"]["area_mm2"] == pytest.approx(0.01)
    assert (edited.positions > 84).all()
    assert (edited.positions < 216).all()


def test_a_mask_picture_replaces_the_tissue(write_slide: WriteSlide, tmp_path: Path) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 20:60] = 2
    Image.fromarray(mask).save(tmp_path / "m.png")
    with Slide(write_slide(np.full((600, 800, 3), 200, np.uint8), 0.5, 1)) as slide:
        outline = read_annotation(tmp_path / "m.png", slide)
        with pytest.raises(UserError, match="is empty"):
            read_annotation(tmp_path / "m.png", slide, (1,))
        Image.fromarray(mask[:, :40]).save(tmp_path / "n.png")
        with pytest.raises(UserError, match="has not the shape"):
            read_annotation(tmp_path / "n.png", slide)
    assert outline.bounds == (100, 50, 300, 150)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_how_opaque_a_mask_is_does_not_count(write_slide: WriteSlide, tmp_path: Path, mode: str) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 20:60] = 255
    Image.fromarray(mask).convert(mode).save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as kept:
        assert kept.mode == mode
    with Slide(write_slide(np.full((600, 800, 3), 200, np.uint8), 0.5, 1)) as slide:
        outline = read_annotation(tmp_path / "m.png", slide)
    assert (outline.bounds, outline.area) == ((100, 50, 300, 150), 20_000)


def test_what_is_no_number_in_a_mask_is_no_tissue(write_slide: WriteSlide, tmp_path: Path) -> None:
    mask = np.full((60, 80), np.nan, np.float32)
    mask[10:30, 20:60] = 1
    tifffile.imwrite(tmp_path / "m.tif", mask)
    with Slide(write_slide(np.full((600, 800, 3), 200, np.uint8), 0.5, 1)) as slide:
        assert read_annotation(tmp_path / "m.tif", slide).bounds == (100, 50, 300, 150)


@pytest.mark.parametrize("colour", PENS)
def test_pen_is_left_out_and_tissue_kept(paint_tissue: PaintTissue, colour: str) -> None:
    picture, _ = paint_tissue(1600, 1600, 4.0, 0, tissue_um=(200, 200, 1400, 1400))
    stroke = np.zeros(picture.shape[:2], bool)
    stroke[100:140] = True  # across glass and tissue, 160 µm wide
    picture[stroke] = PENS[colour]
    tissue = find_tissue(picture, 4.0, SlideSettings())
    mask = tissue.mask(picture.shape[:2])
    assert not mask[stroke].any()
    clear = ndimage.binary_dilation(stroke, iterations=10)
    inside = np.zeros_like(stroke)
    inside[55:345, 55:345] = True
    assert mask[inside & ~clear].mean() > 0.99


@pytest.mark.parametrize(("sigma_um", "left_out"), [(0.0, False), (1.0, False), (5.0, True)])
def test_blur_is_found_by_its_width(
    write_slide: WriteSlide, paint_tissue: PaintTissue, sigma_um: float, left_out: bool
) -> None:
    picture, _ = paint_tissue(800, 512, 0.5, 3000)
    right = picture[:, 800:].astype(np.float32)
    if sigma_um:
        right = ndimage.gaussian_filter(right, (sigma_um / 0.5, sigma_um / 0.5, 0))
    picture[:, 800:] = np.rint(right).astype(np.uint8)
    with Slide(write_slide(picture, 0.5, 2)) as slide:
        blurred = blurred_mask(slide, np.ones((64, 100), bool), 8.0, 2.0)
    assert blurred is not None
    assert blurred[:, :42].mean() < 0.02
    inside = blurred[:-12, 58:-12]  # the border of the slide itself is a sharp edge
    assert (inside.mean() > 0.9) if left_out else (inside.mean() < 0.02)
