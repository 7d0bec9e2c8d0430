"""One slide scanned at 20x and at 40x: parameters in µm, so the graphs have the same size."""

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
REAL = DATA / "slides" / "cmu-1-small-region.svs"


def write_tiled(path: Path, rgb: NDArray[np.uint8], mpp: float) -> Path:
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            rgb,
            tile=(256, 256),
            photometric="rgb",
            compression="deflate",
            resolution=(1e4 / mpp, 1e4 / mpp),
            resolutionunit="CENTIMETER",
            metadata=None,
        )
    return path


def node_counts(path: Path, slide: SlideSettings) -> dict[str, int]:
    """Nodes by metric, as built from the file."""
    bag, _ = extract_slide(path, None, slide)
    settings = {
        metric: GraphSettings.from_mapping({"feature_metric": metric}, "") for metric in ("standardised", "raw")
    }
    return {metric: len(build_graph(bag, given, "slide")) for metric, given in settings.items()}


@pytest.mark.slow
def test_synthetic_slide_at_two_magnifications(tmp_path: Path) -> None:
    """Pixels of 1 and 2 µm instead of 0.25 and 0.5, so that a slide of 16 mm² stays small: 5 % is 5 nodes."""
    slide = simulate_slide(0.5, SimulationSettings(slide_um=4096, slide_mpp=1.0), np.random.default_rng(3))
    coarse = np.asarray(Image.fromarray(slide.rgb).reduce(2))
    tiles = SlideSettings(mpp=2.0)
    forty = node_counts(write_tiled(tmp_path / "40x.tif", slide.rgb, 1.0), tiles)
    twenty = node_counts(write_tiled(tmp_path / "20x.tif", coarse, 2.0), tiles)
    assert min(forty.values()) > 80
    assert forty == pytest.approx(twenty, rel=0.05)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="real data absent")
def test_real_slide_at_two_magnifications(tmp_path: Path) -> None:
    with openslide.OpenSlide(REAL) as slide:
        mpp = float(slide.properties[openslide.PROPERTY_NAME_MPP_X])
        picture = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
    assert mpp == pytest.approx(0.499)
    doubled = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.BICUBIC)
    tiles = SlideSettings(tile_um=32)
    forty = node_counts(write_tiled(tmp_path / "40x.tif", np.asarray(doubled), mpp / 2), tiles)
    twenty = node_counts(REAL, tiles)
    assert forty["raw"] > 20
    assert forty == pytest.approx(twenty, rel=0.05)
