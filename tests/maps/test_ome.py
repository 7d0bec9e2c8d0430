from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openslide
import pytest
import tifffile
from tests.maps.conftest import scores_at

from sparra.maps.label import MapLabel
from sparra.maps.ome import downsample_of, write_colour_tiff, write_scores_tiff
from sparra.maps.slide_grid import SlideGrid

GRID = SlideGrid((0.5, 0.5), (20_000, 12_001))
LABEL = MapLabel("SPARRA on slides", "failed", "It fails.")


@pytest.fixture
def scores():
    x, y = np.meshgrid(np.arange(10, 30) * 256.0 + 128, np.arange(5, 15) * 256.0 + 128)
    return scores_at(np.column_stack([x.ravel(), y.ravel()]), (256.0, 256.0), "slide")


def about(path: Path) -> ElementTree.Element:
    root = ElementTree.fromstring(tifffile.TiffFile(path).ome_metadata)
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
    return root


def test_scores_are_float_tiled_in_levels_with_their_pixel_size(scores, tmp_path: Path) -> None:
    path = tmp_path / "scores.ome.tiff"
    write_scores_tiff(path, scores, GRID, LABEL)
    assert downsample_of(scores, GRID) == 32
    with tifffile.TiffFile(path) as file:
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(2, 376, 625), (2, 188, 313), (2, 94, 157)]
        assert all(level.keyframe.is_tiled for level in levels)
        pixels, second = levels[0].asarray(), levels[1].asarray()
    assert pixels.dtype == np.float32
    # Each tile is 512 pixels of level 0, 16 of the heat-map.
    expected = np.kron(scores.score.reshape(10, 20), np.ones((16, 16)))
    np.testing.assert_allclose(pixels[0, 80:240, 160:480], expected, rtol=1e-6)
    np.testing.assert_allclose(pixels[1, 80:240, 160:480], 0.1 * expected, rtol=1e-6)
    assert np.isfinite(pixels[0]).sum() == expected.size
    np.testing.assert_allclose(second[0, 40:120, 80:240], expected[::2, ::2], rtol=1e-6)
    image = about(path).find("Image")
    sizes = image.find("Pixels")
    assert (float(sizes.get("PhysicalSizeX")), sizes.get("PhysicalSizeXUnit")) == (16.0, "µm")
    assert [c.get("Name") for c in sizes.findall("Channel")] == ["score", "standard deviation"]
    assert image.get("Name") == "FAILED ITS CHECKS: SPARRA on slides"
    assert "normalisation: none" in image.find("Description").text


def test_colours_open_in_openslide_too(scores, tmp_path: Path) -> None:
    path = tmp_path / "heat-map.ome.tiff"
    write_colour_tiff(path, scores, GRID, LABEL)
    with tifffile.TiffFile(path) as file:
        assert [level.shape for level in file.series[0].levels] == [(376, 625, 3), (188, 313, 3), (94, 157, 3)]
        pixels = file.series[0].levels[0].asarray()
    assert (pixels[0, 0] == 255).all()
    best = int(scores.score.argmax())
    row, column = 80 + best // 20 * 16 + 8, 160 + best % 20 * 16 + 8
    assert pixels[row, column].tolist() == [253, 231, 36]  # viridis' upper end
    slide = openslide.OpenSlide(path)
    assert slide.dimensions == (625, 376)
    region = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))
    np.testing.assert_array_equal(region[..., :3], pixels)
