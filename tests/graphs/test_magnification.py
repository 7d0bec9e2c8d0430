"""One slide scanned at 20x and at 40x: parameters in µm, so the graphs have the same size, whatever the tiles' mpp.

Pixels of a scan at 20x are means of four at 40x. Counts are compared where there are enough nodes for 5 % to be more
than one: lengths are scaled with the tile, so that a small slide in small tiles clusters as a large one at 128 µm.
"""

import os
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sparra.graphs.build import build_graph
from sparra.graphs.settings import GraphSettings
from sparra.pathology.extract import extract_slide
from sparra.pathology.settings import SlideSettings
from sparra.simulate.settings import SimulationSettings
from sparra.simulate.slide import simulate_slide

DATA = Path(os.environ.get("SPARRA_DATA", Path(__file__).parents[3] / "shared" / "data"))
SLIDES = DATA / "slides"
# Below it, 5 % is hardly more than two nodes.
LEAST_NODES = 60


def write_pyramid(path: Path, rgb: NDArray[np.uint8], mpp: float) -> Path:
    level, shrink = Image.fromarray(rgb), 1
    with tifffile.TiffWriter(path) as writer:
        while True:
            writer.write(
                np.asarray(level),
                tile=(256, 256),
                photometric="rgb",
                compression="deflate",
                resolution=(1e4 / (mpp * shrink), 1e4 / (mpp * shrink)),
                resolutionunit="CENTIMETER",
                subfiletype=int(shrink > 1),
                metadata=None,
            )
            if min(level.size) < 1000:
                return path
            level, shrink = level.reduce(2), 2 * shrink


def node_counts(path: Path, tile_um: float, mpp: float) -> dict[str, int]:
    """Nodes by metric, as built from the file with all features of the default encoder."""
    bag, _ = extract_slide(path, None, SlideSettings(tile_um=tile_um, mpp=mpp))
    scale = tile_um / 128
    counts = {"tiles": len(bag)}
    for metric in ("standardised", "raw"):
        given = {"feature_metric": metric, "distance_rate": 6e-3 / scale, "search_radius": 1000 * scale}
        counts[metric] = len(build_graph(bag, GraphSettings.from_mapping(given, ""), "slide"))
    return counts


def assert_same_size(rgb: NDArray[np.uint8], mpp: float, tile_um: float, folder: Path) -> None:
    """Compare scans at `mpp` and twice that, each in tiles read at `mpp` and twice that."""
    rgb = rgb[: len(rgb) // 2 * 2, : rgb.shape[1] // 2 * 2]
    forty = write_pyramid(folder / "40x.tif", rgb, mpp)
    twenty = write_pyramid(folder / "20x.tif", np.asarray(Image.fromarray(rgb).reduce(2)), 2 * mpp)
    counts = [node_counts(path, tile_um, read_at) for path in (forty, twenty) for read_at in (2 * mpp, mpp)]
    print(counts)
    for metric in ("tiles", "standardised", "raw"):
        found = [count[metric] for count in counts]
        assert min(found) > LEAST_NODES
        assert max(found) <= 1.05 * min(found)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "slide_um"), [(0, 2560), (1, 3072)])
def test_synthetic_slide_at_two_magnifications(seed: int, slide_um: int, tmp_path: Path) -> None:
    """Pixels of 1 and 2 µm instead of 0.25 and 0.5, so that the slide stays small."""
    simulated = SimulationSettings(slide_um=slide_um, slide_mpp=1.0)
    slide = simulate_slide(0.5, simulated, np.random.default_rng(seed))
    assert_same_size(slide.rgb, 1.0, 64.0, tmp_path)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif(not SLIDES.exists(), reason="real data absent")
@pytest.mark.parametrize(("name", "tile_um"), [("cmu-1-small-region.svs", 16), ("tcga-cr-7395-01a-01-ts1.svs", 24)])
def test_real_slide_at_two_magnifications(name: str, tile_um: float, tmp_path: Path) -> None:
    """The slides' own pixels stand for a scan at 40x, so that the one at 20x has truly lost detail."""
    with openslide.OpenSlide(SLIDES / name) as slide:
        rgb = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    assert_same_size(rgb, 0.25, tile_um, tmp_path)
