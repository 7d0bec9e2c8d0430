"""Tissue found on simulated slides with pen marks and places out of focus, against where these were drawn.

``python -m benchmarks.slide_artefacts`` prints a table and, on the last line, one JSON object. For blur by 3 to 16 µm
(standard deviation) of a third of the tissue: ``blur_<um>_rejected``, share of the blurred tissue that is not in the
tissue found, and ``blur_<um>_kept``, share of the sharp tissue that is; ``sharp_kept`` without any blur; ``all_8_kept``
where the whole slide is blurred by 8 µm. ``pen_rejected`` and ``pen_kept`` the same for four strokes of a pen.
Means over slides.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sparra.pathology.artefacts import blurred_mask
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.pathology.tissue import find_tissue
from sparra.simulate.settings import SimulationSettings
from sparra.simulate.slide import TRUTH_DOWNSAMPLE, simulate_slide, write_slide

SEEDS = (0, 1)
BLURS_UM = (3.0, 5.0, 8.0, 16.0)
# Nearer to the border between good and bad, either verdict is right: windows of focus are 96 µm, ink has a rim.
BORDER_UM = 96.0


def tissue_found(path: Path, mpp: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    settings = SlideSettings()
    with Slide(path) as slide:
        tissue = find_tissue(
            slide.overview(settings.tissue_mpp), settings.tissue_mpp, settings, (mpp, mpp),
            lambda mask, mask_mpp: blurred_mask(slide, mask, mask_mpp, settings.largest_blur_um or 0),
        )  # fmt: skip
    assert settings.tissue_mpp == mpp * TRUTH_DOWNSAMPLE
    return tissue.mask(shape)


def shares(**drawn: float) -> tuple[float, float]:
    """Return the share of spoilt tissue left out, and of good tissue kept."""
    found = []
    for seed in SEEDS:
        settings = SimulationSettings.model_validate({"slide_um": 2048.0, **drawn})
        slide = simulate_slide(0.0, settings, np.random.default_rng(seed))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "slide.tif"
            write_slide(path, slide)
            mask = tissue_found(path, slide.mpp, (slide.tissue.shape[0], slide.tissue.shape[1]))
        spoilt = slide.blurred | (slide.inked & slide.tissue)
        steps = round(BORDER_UM / slide.mpp / TRUTH_DOWNSAMPLE)
        far = {}
        for name, part, other in (("bad", spoilt, slide.tissue & ~spoilt), ("good", slide.tissue & ~spoilt, spoilt)):
            far[name] = part & ~ndimage.binary_dilation(other, iterations=steps)
        rejected = float((~mask[far["bad"]]).mean()) if far["bad"].any() else np.nan
        found.append((rejected, float(mask[far["good"]].mean()) if far["good"].any() else np.nan))
    rejected, kept = np.nanmean(found, axis=0) if np.isfinite(found).any() else (np.nan, np.nan)
    return float(rejected), float(kept)


def main() -> None:
    figures: dict[str, float] = {"sharp_kept": shares()[1]}
    for blur_um in BLURS_UM:
        rejected, kept = shares(blurred_share=0.33, blur_um=blur_um)
        figures |= {f"blur_{blur_um:g}_rejected": rejected, f"blur_{blur_um:g}_kept": kept}
    figures["all_8_kept"] = 1 - shares(blurred_share=1.0, blur_um=8.0)[0]
    figures["pen_rejected"], figures["pen_kept"] = shares(pen_marks=4)
    print(json.dumps({name: float(f"{value:.3g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
