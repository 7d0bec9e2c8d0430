"""Bags for `benchmarks.graph_building`: random ones, and those of the real slides and CTs beside the project."""

import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from sparra.bags.bag import Bag
from sparra.pathology.extract import extract_slide
from sparra.pathology.settings import SlideSettings
from sparra.radiology.extract import extract_ct
from sparra.radiology.settings import CtSettings

DATA = Path(os.environ.get("SPARRA_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
N_FEATURES = 1024
# Every grid as fine as gives 1,500 to 8,000 patches, which the dense reference can still hold: tile and overlap in
# µm, and the mpp where the header holds none.
SLIDES: dict[str, tuple[float, float, float | None]] = {
    "cmu-1-small-region.svs": (24.0, 8.0, None),
    "tcga-cr-7395-01a-01-ts1.svs": (24.0, 0.0, 0.5),
}
CTS = ("STS_001", "STS_002", "STS_003", "STS_004")
CT_PATCHES = 4000
CT_VOXEL_MM = 1.024


def random_bag(n_patches: int, seed: int = 0) -> Bag:
    """Return tiles of 128 µm without gaps, in a square, with independent normal features."""
    generator = np.random.default_rng([41, seed])
    side = int(np.ceil(np.sqrt(n_patches)))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)[:n_patches]
    features = generator.standard_normal((n_patches, N_FEATURES), dtype=np.float32)
    return Bag("slide", features, grid * 128.0)


def random_tumour(n_tokens: int, seed: int = 0) -> Bag:
    """Return a ball of voxels of 1.024 mm, one token each, with 768 features (in float16).

    They are smooth waves through the tumour with noise, since independent ones would merge with no neighbour.
    """
    radius = (3 * n_tokens / (4 * np.pi)) ** (1 / 3)
    axis = np.arange(-np.ceil(radius) - 1, np.ceil(radius) + 2)
    grid = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    ball = grid[np.argsort(np.linalg.norm(grid, axis=1), kind="stable")[:n_tokens]]
    generator = np.random.default_rng([42, seed])
    waves = np.sin(ball @ generator.normal(size=(3, 24)) / 4 + generator.uniform(0, 2 * np.pi, 24))
    features = (waves @ generator.normal(size=(24, 768)) / np.sqrt(12)).astype(np.float32)
    features += 0.3 * generator.standard_normal(features.shape, dtype=np.float32)
    return Bag("ct", features.astype(np.float16), ball * CT_VOXEL_MM)


def slide_names() -> list[str]:
    """Return the real slides that are there."""
    return [name for name in SLIDES if (DATA / "slides" / name).exists()]


def ct_names() -> list[str]:
    """Return the real CTs that are there."""
    return [name for name in CTS if (DATA / "sts-ct" / "nifti" / name).exists()]


def slide_bag(name: str) -> Bag:
    """Return the bag of a real slide, with the features of the local encoder."""
    tile_um, overlap_um, mpp = SLIDES[name]
    return extract_slide(DATA / "slides" / name, mpp, SlideSettings(tile_um=tile_um, overlap_um=overlap_um))[0]


def ct_bag(name: str) -> Bag:
    """Return the bag of a real CT, its patches as dense as gives about `CT_PATCHES`."""
    folder = DATA / "sts-ct" / "nifti" / name
    mask = sitk.ReadImage(str(folder / "CT_mask.nii.gz"))
    volume = float((sitk.GetArrayViewFromImage(mask) > 0).sum()) * float(np.prod(mask.GetSpacing()))
    voxels = max(1, round((volume / CT_PATCHES) ** (1 / 3) / CT_VOXEL_MM))
    settings = CtSettings(stride_mm=voxels * CT_VOXEL_MM)
    return extract_ct(folder / "CT_image.nii.gz", folder / "CT_mask.nii.gz", 1, settings)[0]
