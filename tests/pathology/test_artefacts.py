"""Ink and blur drawn on simulated slides, against the tissue found on them."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from scipy import ndimage

from sparra.pathology.artefacts import blurred_mask
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.pathology.tissue import Tissue, find_tissue
from sparra.simulate import artefacts
from sparra.simulate.settings import SimulationSettings
from sparra.simulate.slide import SimulatedSlide, simulate_slide, write_slide

MASK_MPP = 8.0
PENS = dict(artefacts.PENS)
# Windows of focus are 96 µm and ink has a rim: nearer to the border, either verdict is right.
BORDER_CELLS, INSIDE_STROKE = 12, 4
# Without looking for ink. Green absorbs as no stain does and black is grey, so that these two are never tissue.
LEFT_OUT_UNGUARDED = {"blue": (0.0, 0.1), "red": (0.0, 0.1), "green": (0.9, 1.0), "black": (0.9, 1.0)}


def simulated(seed: int, **drawn: float) -> SimulatedSlide:
    settings = SimulationSettings.model_validate({"slide_um": 1280.0, "slide_mpp": 0.5, **drawn})
    return simulate_slide(0.0, settings, np.random.default_rng(seed))


def found(path: Path, made: SimulatedSlide, settings: SlideSettings) -> np.ndarray:
    write_slide(path, made)
    with Slide(path) as slide:
        tissue: Tissue = find_tissue(
            slide.overview(MASK_MPP), MASK_MPP, settings, (made.mpp, made.mpp),
            lambda mask, mpp: blurred_mask(slide, mask, mpp, settings.largest_blur_um or 0),
        )  # fmt: skip
    return tissue.mask(made.tissue.shape)


def shares(mask: np.ndarray, tissue: np.ndarray, spoilt: np.ndarray, inside: int) -> tuple[float, float]:
    """Return the share of spoilt tissue left out, and of good tissue kept, both away from the border between them."""
    bad, good = tissue & spoilt, tissue & ~spoilt
    inner = bad & ~ndimage.binary_dilation(good, iterations=inside)
    outer = good & ~ndimage.binary_dilation(spoilt, iterations=BORDER_CELLS)
    return float((~mask[inner]).mean()), float(mask[outer].mean())


@pytest.mark.parametrize("pen", PENS)
def test_ink_is_left_out_and_tissue_beside_it_kept(tmp_path: Path, pen: str) -> None:
    with patch.dict(artefacts.PENS, {pen: PENS[pen]}, clear=True):
        made = simulated(1, pen_marks=1)
    rejected, kept = shares(found(tmp_path / "s.tif", made, SlideSettings()), made.tissue, made.inked, INSIDE_STROKE)
    assert rejected > 0.99
    assert kept > 0.95
    unguarded = found(tmp_path / "s.tif", made, SlideSettings(leave_out_ink=False))
    lowest, highest = LEFT_OUT_UNGUARDED[pen]
    assert lowest <= shares(unguarded, made.tissue, made.inked, INSIDE_STROKE)[0] <= highest


@pytest.mark.parametrize("blur_um", [4.0, 8.0])
def test_blur_is_left_out_and_sharp_tissue_kept(tmp_path: Path, blur_um: float) -> None:
    made = simulated(2, blurred_share=0.4, blur_um=blur_um)
    rejected, kept = shares(found(tmp_path / "s.tif", made, SlideSettings()), made.tissue, made.blurred, BORDER_CELLS)
    assert rejected > 0.97
    assert kept > 0.97
    unguarded = found(tmp_path / "s.tif", made, SlideSettings(largest_blur_um=None))
    assert shares(unguarded, made.tissue, made.blurred, BORDER_CELLS)[0] < 0.1


def test_a_clean_slide_keeps_its_tissue_and_no_glass(tmp_path: Path) -> None:
    made = simulated(3)
    mask = found(tmp_path / "s.tif", made, SlideSettings())
    assert mask[made.tissue].mean() > 0.97
    assert mask[~ndimage.binary_dilation(made.tissue, iterations=3)].mean() < 0.01


@pytest.mark.parametrize(
    "densities",
    [(0.10, 0.75, 0.52), (0.15, 0.80, 0.58), (0.45, 0.62, 0.35), (0.08, 0.35, 0.20), (0.18, 0.95, 0.70)],
    ids=["eosin", "red cells", "haematoxylin", "pale eosin", "packed red cells"],
)
def test_deeply_stained_tissue_is_no_ink(densities: tuple[float, float, float]) -> None:
    picture = np.full((120, 120, 3), 244, np.uint8)
    picture[20:100, 20:100] = np.rint(245 * 10 ** -np.array(densities) - 1)
    mask = find_tissue(picture, MASK_MPP, SlideSettings()).mask((120, 120))
    assert mask[24:96, 24:96].all()
