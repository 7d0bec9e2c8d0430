import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import tifffile

from sparra.errors import UserError
from sparra.pathology.encoders import slide_encoders
from sparra.pathology.encoders.local import FEATURE_NAMES, LocalEncoder
from sparra.pathology.settings import SlideSettings

from ..conftest import PaintTissue, stained

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


@pytest.mark.parametrize("mpp", [0.25, 0.37, 0.5, 1.0])
def test_nuclei_do_not_depend_on_the_resolution_of_the_tile(paint_tissue: PaintTissue, mpp: float) -> None:
    side = round(200 / mpp)
    picture, centres = paint_tissue(side * mpp, side * mpp, mpp, 2000, 5)
    features = LocalEncoder().encode(picture[None], mpp)
    assert feature(features, "nuclei_per_mm2")[0] * (side * mpp / 1000) ** 2 == pytest.approx(len(centres), rel=0.08)


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


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="the real data are not beside the project")
def test_nuclei_of_real_kidney_tiles_against_their_annotation() -> None:
    for path in sorted((DATA / "kidney-tiles").glob("*.tif")):
        annotated = len(ET.parse(path.with_suffix(".xml")).findall(".//Region"))
        features = LocalEncoder().encode(tifffile.imread(path)[None], 0.252)
        counted = feature(features, "nuclei_per_mm2")[0] * 0.252**2
        assert counted == pytest.approx(annotated, rel=0.15), path.name
