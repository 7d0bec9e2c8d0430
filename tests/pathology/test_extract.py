import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparra.errors import UserError
from sparra.pathology.encoders.local import FEATURE_NAMES
from sparra.pathology.extract import _reduced, extract_slide
from sparra.pathology.settings import SlideSettings

from .conftest import PaintTissue, WriteSlide, halved

DATA = Path(__file__).parents[3] / "shared" / "data"
real_data = pytest.mark.skipif(not DATA.exists(), reason="the real data are not beside the project")
SETTINGS = SlideSettings(tile_um=64, thumbnail_px=256, batch_size=16)
TISSUE_UM = (100.0, 80.0, 540.0, 400.0)


@pytest.fixture(scope="module")
def scene(paint_tissue: PaintTissue) -> np.ndarray:
    return paint_tissue(640, 480, 0.25, 2500, tissue_um=TISSUE_UM)[0]


def test_bag_and_preview_agree_with_the_scene(write_slide: WriteSlide, scene: np.ndarray) -> None:
    bag, preview = extract_slide(write_slide(scene, 0.25, 3), None, SETTINGS)
    left, top, right, bottom = TISSUE_UM
    x, y = bag.positions.T
    pixel = SETTINGS.tissue_mpp
    assert ((x > left - pixel) & (x < right + pixel) & (y > top - pixel) & (y < bottom + pixel)).all()
    assert len(bag) == pytest.approx((right - left) * (bottom - top) / 64**2, rel=0.2)
    assert bag.feature_names == FEATURE_NAMES
    assert bag.patch_size == (64, 64)
    assert bag.provenance["tissue"]["area_mm2"] == pytest.approx(0.44 * 0.32, rel=0.1)
    assert bag.provenance["grid"]["level_mpp"] == pytest.approx(0.5)
    json.dumps(bag.provenance)
    inside = bag.extras["tissue_fraction"] > 0.99
    density = bag.features[inside, FEATURE_NAMES.index("nuclei_per_mm2")].mean()
    # Nuclei of 3 µm radius on a border count in both tiles.
    assert density == pytest.approx(2500 * (67 / 64) ** 2, rel=0.05)

    assert preview.pixels.shape == (192, 256, 3)
    assert preview.spacing == (2.5, 2.5)
    column, row = np.rint(preview.to_pixels(np.array([[left, top]]))[0]).astype(int)
    assert not preview.mask[row - 6, column - 6]
    assert preview.mask[row + 6, column + 6]
    assert (preview.pixels[row - 6, column - 6] > 245).all()
    assert preview.pixels[row + 6, column + 6, 1] < 220


def test_preview_of_a_large_slide_comes_from_its_overview(write_slide: WriteSlide, scene: np.ndarray) -> None:
    chosen = SETTINGS.model_copy(update={"thumbnail_px": 64})
    path = write_slide(scene, 0.25, 2)
    _, preview = extract_slide(path, None, chosen)
    assert preview.pixels.shape == (48, 64, 3)
    assert preview.spacing == (10, 10)
    for place, tissue in (((110, 90), True), ((530, 390), True), ((85, 200), False), ((300, 420), False)):
        column, row = np.rint(preview.to_pixels(np.array([place], float))[0]).astype(int)
        assert preview.mask[row, column] == tissue
        assert (preview.pixels[row, column, 1] < 225) == tissue


def test_planted_crowd_of_nuclei_is_found_where_it_is(write_slide: WriteSlide, paint_tissue: PaintTissue) -> None:
    picture, _ = paint_tissue(640, 480, 0.5, 800)
    picture[400:528, 640:768] = paint_tissue(64, 64, 0.5, 6000)[0]  # at (320..384, 200..264) µm
    bag, _ = extract_slide(write_slide(picture, 0.5, 1), None, SETTINGS)
    crowded = bag.positions[bag.features[:, FEATURE_NAMES.index("nuclei_per_mm2")].argmax()]
    assert np.abs(crowded - (352, 232)).max() <= 32


def test_one_tissue_scanned_at_40x_and_20x_gives_nearly_one_bag(write_slide: WriteSlide, scene: np.ndarray) -> None:
    noisy = np.clip(scene + np.random.default_rng(0).normal(0, 3, scene.shape), 0, 255).astype(np.uint8)
    at_40x, _ = extract_slide(write_slide(noisy, 0.25, 3, name="40x.tif"), None, SETTINGS)
    at_20x, _ = extract_slide(write_slide(halved(noisy), 0.5, 2, name="20x.tif"), None, SETTINGS)
    assert np.array_equal(at_40x.positions, at_20x.positions)
    spread = at_40x.features.std(axis=0) + 1e-6
    difference = np.abs(at_40x.features - at_20x.features) / spread
    assert np.median(difference) < 0.1
    nuclei = FEATURE_NAMES.index("nuclei_per_mm2")
    assert np.corrcoef(at_40x.features[:, nuclei], at_20x.features[:, nuclei])[0, 1] > 0.98


def test_threads_and_batches_change_nothing(write_slide: WriteSlide, scene: np.ndarray) -> None:
    path = write_slide(scene)
    bags = [
        extract_slide(path, None, SETTINGS.model_copy(update={"reading_threads": threads, "batch_size": batch}))[0]
        for threads, batch in ((1, 64), (4, 5))
    ]
    assert np.array_equal(bags[0].features, bags[1].features)


def test_blank_slide_and_too_little_tissue(write_slide: WriteSlide, paint_tissue: PaintTissue) -> None:
    blank = write_slide(np.full((1024, 1024, 3), 244, np.uint8), name="blank.tif")
    with pytest.raises(UserError, match="holds no stained tissue"):
        extract_slide(blank, None, SETTINGS)
    thin = paint_tissue(400, 1200, 0.5, 0, tissue_um=(150, 20, 190, 1180))[0]
    with pytest.raises(UserError, match="no tile of 256 µm holds 50% tissue"):
        extract_slide(write_slide(thin, 0.5, 1), None, SlideSettings(tile_um=256))


def test_mpp_missing_then_supplied(write_slide: WriteSlide, scene: np.ndarray) -> None:
    path = write_slide(scene, None)
    with pytest.raises(UserError, match="does not say its resolution"):
        extract_slide(path, None, SETTINGS)
    assert extract_slide(path, 0.25, SETTINGS)[0].provenance["slide"]["mpp_source"] == "table"


def test_slide_cut_off_is_a_user_error_at_extraction(write_slide: WriteSlide, scene: np.ndarray) -> None:
    noisy = np.clip(scene + np.random.default_rng(0).normal(0, 9, scene.shape), 0, 255).astype(np.uint8)
    path = write_slide(noisy, 0.25, 1)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged or cut off"):
        extract_slide(path, None, SETTINGS)


def test_unknown_encoder(write_slide: WriteSlide, scene: np.ndarray) -> None:
    with pytest.raises(UserError, match="Did you mean 'local'"):
        extract_slide(write_slide(scene), None, SETTINGS.model_copy(update={"encoder": "locl"}))


@real_data
@pytest.mark.real_data
def test_real_slide_with_its_own_mpp() -> None:
    bag, preview = extract_slide(DATA / "slides" / "cmu-1-small-region.svs", None, SlideSettings())
    assert 30 <= len(bag) <= 60
    assert bag.provenance["slide"]["mpp_x"] == 0.499
    assert max(preview.pixels.shape) == 1024
    assert (preview.pixels[~preview.mask].mean(axis=1) > 200).mean() > 0.95


@real_data
@pytest.mark.real_data
def test_real_slide_without_mpp_and_a_dicom_that_openslide_refuses() -> None:
    slide = DATA / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    with pytest.raises(UserError, match="does not say its resolution"):
        extract_slide(slide, None, SlideSettings())
    bag, _ = extract_slide(slide, 0.5, SlideSettings(mpp=1.0))
    assert 130 <= len(bag) <= 190
    # Its header gives 15 × 15 mm for 3236 × 2638 pixels.
    with pytest.raises(UserError, match="differs along x"):
        extract_slide(DATA / "slides" / "small_dicom.dcm", None, SlideSettings())
    bag, _ = extract_slide(DATA / "slides" / "small_dicom.dcm", 0.5, SlideSettings())
    assert bag.provenance["slide"]["vendor"] == "dicom"
    assert len(bag) > 40


def test_a_scan_coarser_than_its_tiles_is_noted(write_slide: WriteSlide, scene: np.ndarray) -> None:
    path = write_slide(halved(halved(scene)), 1.0, 1)
    notes = [
        extract_slide(path, None, SETTINGS.model_copy(update={"mpp": mpp}))[0].provenance["notes"]
        for mpp in (0.5, 0.8, 1.0)
    ]
    assert notes == [["scanned at 1 µm a pixel, so tiles of 0.5 µm are enlarged and show no more"], [], []]


@pytest.mark.parametrize("factor", [1.0, 2.5, 7.03])
def test_a_thumbnail_by_strips_is_that_of_the_whole(factor: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (611, 403, 3), dtype=np.uint8)
    height, width = int(611 / factor), int(403 / factor)
    box = (0.0, 0.0, width * factor, height * factor)
    whole = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS, box=box))
    # The places of the filter are rounded otherwise in the last digit.
    assert np.abs(_reduced(picture, factor).astype(int) - whole).max() <= 1
