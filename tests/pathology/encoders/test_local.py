import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import tifffile
from shapely.geometry import Polygon
from skimage.draw import ellipse

from sparra.errors import UserError
from sparra.pathology.encoders import slide_encoders
from sparra.pathology.encoders.local import FEATURE_NAMES, LocalEncoder
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide

from ..conftest import PaintTissue, WriteSlide, stained

DATA = Path(__file__).parents[4] / "shared" / "data"


def feature(features: np.ndarray, name: str) -> np.ndarray:
    return features[:, FEATURE_NAMES.index(name)]


def test_registered_with_its_card() -> None:
    entry = slide_encoders["local"]
    encoder = entry.build(SlideSettings())
    tiles = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    features = encoder.encode(tiles, 0.5)
    assert features.shape == (2, entry.card.dimension)
    assert features.dtype == np.float32
    assert len(set(encoder.feature_names)) == entry.card.dimension
    with pytest.raises(UserError, match="slide encoder"):
        slide_encoders["none"]


@pytest.mark.parametrize("nuclei_per_mm2", [0, 500, 2000, 4500])
def test_planted_nuclei_are_counted(paint_tissue: PaintTissue, nuclei_per_mm2: float) -> None:
    pictures, counts = [], []
    for seed in range(4):
        picture, centres = paint_tissue(256, 256, 0.5, nuclei_per_mm2, seed)
        pictures.append(picture)
        counts.append(len(centres))
    features = LocalEncoder().encode(np.stack(pictures), 0.5)
    planted = np.array(counts)
    assert np.allclose(feature(features, "nuclei_per_mm2") * 0.256**2, planted, rtol=0.06, atol=0.01)
    assert np.allclose(feature(features, "nuclear_area_fraction"), planted * np.pi * 9 / 256**2, rtol=0.25, atol=1e-4)
    if nuclei_per_mm2:
        assert feature(features, "nuclear_mean_area_um2") == pytest.approx(np.pi * 9, rel=0.25)
        assert (feature(features, "nuclear_contrast") > 0.3).all()


@pytest.mark.parametrize("nuclei_per_mm2", [500, 2000, 4500])
def test_spacing_of_planted_nuclei(paint_tissue: PaintTissue, nuclei_per_mm2: float) -> None:
    for seed in range(2):
        picture, centres = paint_tissue(256, 256, 0.5, nuclei_per_mm2, seed)
        features = LocalEncoder().encode(picture[None], 0.5)
        distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
        nearest = np.where(distances > 0, distances, np.inf).min(axis=1)
        assert feature(features, "nuclear_mean_spacing_um")[0] == pytest.approx(nearest.mean(), rel=0.05)
        assert feature(features, "nuclear_sd_spacing_um")[0] == pytest.approx(nearest.std(), rel=0.15)


@pytest.mark.parametrize(("long_um", "short_um"), [(4, 4), (5, 3.5), (6, 3)])
@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2])
def test_area_and_shape_of_painted_ellipses(long_um: float, short_um: float, angle: float) -> None:
    haematoxylin = np.full((512, 512), 0.08)
    for row in range(24, 500, 46):
        for column in range(24, 500, 46):
            # Not at one place within the pixels of 1 µm.
            centre = (row + column % 3, column + row % 2)
            haematoxylin[ellipse(*centre, long_um / 0.5, short_um / 0.5, rotation=angle)] = 0.7
    painted_um2 = (haematoxylin > 0.5).sum() * 0.5**2 / 121
    features = LocalEncoder().encode(stained(haematoxylin, np.full_like(haematoxylin, 0.25))[None], 0.5)
    assert feature(features, "nuclei_per_mm2")[0] * 0.256**2 == pytest.approx(121)
    assert feature(features, "nuclear_mean_area_um2")[0] == pytest.approx(painted_um2, rel=0.2)
    assert feature(features, "nuclear_sd_area_um2")[0] < 4
    assert feature(features, "nuclear_mean_axis_ratio")[0] == pytest.approx(short_um / long_um, abs=0.08)
    assert feature(features, "nuclear_mean_spacing_um")[0] == pytest.approx(23, abs=1)


@pytest.mark.parametrize("mpp", [0.25, 0.37, 0.5, 1.0])
def test_nuclei_do_not_depend_on_the_resolution_of_the_tile(paint_tissue: PaintTissue, mpp: float) -> None:
    side = round(200 / mpp)
    picture, centres = paint_tissue(side * mpp, side * mpp, mpp, 2000, 5)
    features = LocalEncoder().encode(picture[None], mpp)
    assert feature(features, "nuclei_per_mm2")[0] * (side * mpp / 1000) ** 2 == pytest.approx(len(centres), rel=0.08)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_tile_read_finer_is_the_tile_read_at_the_working_resolution(
    paint_tissue: PaintTissue, write_slide: WriteSlide, factor: int
) -> None:
    """All features, bit by bit: a finer tile is brought to 0.5 µm as the slide itself would be."""
    picture, _ = paint_tissue(256, 256, 0.25, 2000, 3)
    with Slide(write_slide(picture, 0.25, 1)) as slide:
        working = slide.read_um(32, 64, 128, 256)
        finer = slide.read_um(32, 64, 128, 256 * factor)
    assert np.array_equal(LocalEncoder().encode(finer[None], 0.5 / factor), LocalEncoder().encode(working[None], 0.5))


def test_stain_amounts_are_recovered() -> None:
    amounts = [(0.1, 0.4), (0.5, 0.1), (0.0, 0.3), (0.3, 0.0)]
    tiles = np.stack([stained(np.full((64, 64), h), np.full((64, 64), e)) for h, e in amounts])
    features = LocalEncoder().encode(tiles, 0.5)
    assert feature(features, "haematoxylin_mean") == pytest.approx([h for h, _ in amounts], abs=0.01)
    assert feature(features, "eosin_mean") == pytest.approx([e for _, e in amounts], abs=0.01)
    assert np.abs(feature(features, "residual_mean")).max() < 0.01
    assert (feature(features, "nuclei_per_mm2") == 0).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_tiles_have_finite_features(value: int) -> None:
    features = LocalEncoder().encode(np.full((1, 256, 256, 3), value, np.uint8), 0.5)
    assert np.isfinite(features).all()
    assert feature(features, "white_fraction") == (value == 255)
    assert feature(features, "nuclei_per_mm2") == 0
    assert feature(features, "haematoxylin_glcm_1um_joint_entropy") == 0


@pytest.mark.parametrize("mpp", [0.5, 0.37])
def test_a_tile_is_encoded_by_itself(paint_tissue: PaintTissue, mpp: float) -> None:
    tissue = [paint_tissue(64, 64, 0.5, density, seed)[0] for seed, density in enumerate((0, 900, 3000, 5000))]
    noise = np.random.default_rng(0).integers(0, 255, (5, 128, 128, 3), dtype=np.uint8)
    tiles = np.concatenate([np.stack(tissue), noise])
    together = LocalEncoder().encode(tiles, mpp)
    singly = np.concatenate([LocalEncoder().encode(tile[None], mpp) for tile in tiles])
    backwards = LocalEncoder().encode(np.ascontiguousarray(tiles[::-1]), mpp)[::-1]
    assert np.array_equal(together, singly)
    assert np.array_equal(together, backwards)


def annotated_polygons(path: Path) -> list[np.ndarray]:
    """Outlines of the annotated nuclei as (x, y) in pixels."""
    regions = ET.parse(path).findall(".//Region")
    return [
        np.array([[float(vertex.get("X", "nan")), float(vertex.get("Y", "nan"))] for vertex in region.iter("Vertex")])
        for region in regions
    ]


KIDNEY_TILES = sorted((DATA / "kidney-tiles").glob("*.tif"))


@pytest.mark.real_data
@pytest.mark.skipif(not KIDNEY_TILES, reason="the real data are not beside the project")
def test_nuclei_of_real_kidney_tiles_against_their_annotation() -> None:
    mpp = 0.252
    for path in KIDNEY_TILES:
        nuclei = annotated_polygons(path.with_suffix(".xml"))
        area_um2 = [Polygon(outline).area * mpp**2 for outline in nuclei if len(outline) > 2]
        picture = tifffile.imread(path)
        features = LocalEncoder().encode(picture[None], mpp)
        counted = feature(features, "nuclei_per_mm2")[0] * (picture.shape[0] * mpp / 1000) ** 2
        assert counted == pytest.approx(len(nuclei), rel=0.15), path.name
        assert feature(features, "nuclear_mean_area_um2")[0] == pytest.approx(np.mean(area_um2), rel=0.10), path.name
        assert feature(features, "nuclear_sd_area_um2")[0] == pytest.approx(np.std(area_um2), rel=0.40), path.name
