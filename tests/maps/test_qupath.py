import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from tests.maps.conftest import DATA, needs_data, scores_at

from sparra.errors import UserError
from sparra.maps.label import MapLabel
from sparra.maps.qupath import write_geojson
from sparra.maps.scores import ImageScores
from sparra.maps.slide_grid import SlideGrid
from sparra.pathology.extract import extract_slide
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide

FAILED = MapLabel("SPARRA on slides", "failed", "It names no more than chance does.")
SLIDES = {"tcga-cr-7395": 0.25, "cmu-1-small-region": None, "small_dicom": 1.0}


def check_as_qupath_reads(content: dict) -> None:
    """What QuPath's GeoJSON reader (PathObjectTypeAdapters, 0.4 and later) takes from an object, type by type."""
    assert content["type"] == "FeatureCollection"
    assert isinstance(content["features"], list)
    for feature in content["features"]:
        assert feature["type"] == "Feature"
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        ring = feature["geometry"]["coordinates"][0]
        assert feature["geometry"]["type"] == "Polygon"
        assert ring[0] == ring[-1]
        assert all(isinstance(value, float) for point in ring for value in point)
        properties = feature["properties"]
        assert properties["objectType"] == "tile"
        assert len(properties["color"]) == 3
        assert all(isinstance(value, int) and 0 <= value <= 255 for value in properties["color"])
        assert isinstance(properties["classification"]["name"], str)
        assert all(isinstance(value, float | int) for value in properties["measurements"].values())
        assert properties.keys() <= {"objectType", "name", "color", "classification", "isLocked", "measurements"}
    ids = [feature["id"] for feature in content["features"]]
    assert len(set(ids)) == len(ids)


def test_tiles_are_qupath_objects_and_a_failed_map_says_so(tmp_path: Path) -> None:
    scores = scores_at(np.array([[128.0, 128], [384, 128], [128, 384]]), (256.0, 256.0), "slide")
    write_geojson(tmp_path / "map.geojson", scores, SlideGrid((0.25, 0.5), (4000, 2000)), FAILED)
    content = json.loads((tmp_path / "map.geojson").read_text())
    check_as_qupath_reads(content)
    assert content["features"][1]["geometry"]["coordinates"][0][:3] == [[1024, 0], [2048, 0], [2048, 512]]
    assert content["features"][2]["properties"]["measurements"] == {
        "Importance": scores.score[2],
        "Importance SD": scores.score_sd[2],
        "Node": 1,
    }
    assert all("FAILED" in f["properties"]["classification"]["name"] for f in content["features"])
    assert content["sparra"]["verdict_sentence"] == FAILED.sentence
    assert content["sparra"]["normalisation"] == "none"


def test_a_bag_without_mpp_is_refused() -> None:
    with pytest.raises(UserError, match="level 0"):
        SlideGrid.of({"mpp": None}, "P1")
    assert SlideGrid.of({"mpp": 0.5}, "P1") == SlideGrid((0.5, 0.5), None)
    assert SlideGrid.of({"slide": {"mpp_x": 0.25, "mpp_y": 0.5}}, "P1") == SlideGrid((0.25, 0.5), None)


@needs_data
@pytest.mark.real_data
@pytest.mark.parametrize("name", SLIDES)
def test_polygons_lie_on_the_tile_grid_of_real_slides_to_a_pixel(name: str, tmp_path: Path) -> None:
    """The grid is counted in µm from the slide's corner; the pixels that a tile was read from are read again."""
    path = next(DATA.glob(f"slides/{name}*"))
    settings = SlideSettings(tile_um=96.0, minimum_tissue=0.3, smallest_tissue_um2=1000.0)
    bag, _ = extract_slide(path, SLIDES[name], settings)
    scores = scores_at(bag.positions, bag.patch_size, "slide", provenance=bag.provenance)
    assert isinstance(scores, ImageScores)
    grid = SlideGrid.of(bag.provenance, name)
    write_geojson(tmp_path / "map.geojson", scores, grid, MapLabel("test"))
    content = json.loads((tmp_path / "map.geojson").read_text())
    check_as_qupath_reads(content)
    rings = np.array([feature["geometry"]["coordinates"][0] for feature in content["features"]])
    with Slide(path, SLIDES[name]) as slide:
        mpp = np.array([slide.resolution.x, slide.resolution.y])
        assert grid.dimensions == slide.dimensions
    step = settings.step_um / mpp
    numbers = rings[:, 0] / step
    assert np.abs(numbers - np.rint(numbers)).max() * step.max() <= 0.01
    np.testing.assert_allclose(rings[:, 2] - rings[:, 0], np.tile(96.0 / mpp, (len(rings), 1)), atol=0.011)
    assert (rings.min(axis=(0, 1)) >= 0).all()
    assert (rings[:, 0] < np.array(grid.dimensions)).all()
