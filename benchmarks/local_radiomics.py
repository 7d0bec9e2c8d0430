"""Radiomics of 1,000 patches of 16³ voxels: ours against PyRadiomics. `python -m benchmarks.local_radiomics`.

The encoder ``local``, with all of its families and directions averaged as PyRadiomics does, and PyRadiomics' own
`execute` with first-order, GLCM, GLRLM, GLSZM, GLDM and NGTDM, called once a patch, are given the same patches:
correlated noise in whole HU, about a sixth of whose voxels lie outside the mask, none inside it without a neighbour,
and in which every patch reaches the lowest and highest grey level, so that both number the levels alike. ``ratio`` is
PyRadiomics' time for all patches over ours, the least of its runs, which come after either half of PyRadiomics'.
``max_relative_difference`` is the largest over all patches and the features that both define alike, in double
precision; ``features_compared`` of ``features`` are.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter

from benchmarks.parts.pyradiomics_names import PYRADIOMICS_NAMES, their_value
from sparra.radiology.encoders.local import LocalEncoder, LocalEncoderSettings
from sparra.radiology.encoders.pyradiomics import load_pyradiomics
from sparra.radiology.patches import Patches

EDGE = 16
BIN_WIDTH_HU = 25
RANGE_HU = (-200, 300)
CLASSES = ("firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm")


def make_patches(count: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.bool_], Patches]:
    """Return a volume, its mask and `count` patches that do not overlap."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(count ** (1 / 3)))
    shape = (side * EDGE,) * 3
    noise = gaussian_filter(rng.normal(size=shape), 0.8)
    # Below the upper end, which PyRadiomics gives a level of its own.
    volume = np.rint(50 + 120 * noise / noise.std()).clip(RANGE_HU[0], RANGE_HU[1] - 1).astype(np.float32)
    mask = gaussian_filter(rng.normal(size=shape), 2.0)
    mask = mask > np.quantile(mask, 1 / 6)
    grid = np.stack(np.meshgrid(*[np.arange(side) * EDGE] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:count]
    patches = Patches(grid, EDGE, np.ones(count, np.float32), count)
    for start in grid:
        inside = mask[box(start)]
        # A voxel without neighbours is left out of NGTDM by IBSI, but counted by PyRadiomics.
        inside &= convolve(inside.astype(int), np.ones((3, 3, 3), int), mode="constant") > 1
        values = volume[box(start)][mask[box(start)]]
        if values.min() >= RANGE_HU[0] + BIN_WIDTH_HU or values.max() < RANGE_HU[1] - BIN_WIDTH_HU:
            raise ValueError("a patch does not reach both ends of the grey levels")
    return volume, mask, patches


def box(start: NDArray[np.int_]) -> tuple[slice, ...]:
    """Return the voxels of the patch that begins at `start`."""
    return tuple(slice(int(s), int(s) + EDGE) for s in start)


def make_extractor() -> Any:
    """Return PyRadiomics with the families and levels of ours."""
    radiomics = load_pyradiomics()
    extractor = radiomics.featureextractor.RadiomicsFeatureExtractor(binWidth=BIN_WIDTH_HU, additionalInfo=False)
    extractor.disableAllFeatures()
    for name in CLASSES:
        extractor.enableFeatureClassByName(name)
    return extractor


def make_encoder(aggregation: Literal["3d_averaged", "3d_merged"]) -> LocalEncoder:
    """Return the encoder ``local`` with the levels of `make_patches`."""
    return LocalEncoder(LocalEncoderSettings(bin_width_hu=BIN_WIDTH_HU, hu_range=RANGE_HU, aggregation=aggregation))


def as_images(volume: NDArray[np.float32], mask: NDArray[np.bool_], patches: Patches) -> list[tuple[Any, Any]]:
    """Return each patch and its mask as SimpleITK images."""
    return [
        (sitk.GetImageFromArray(volume[box(start)]), sitk.GetImageFromArray(mask[box(start)].astype(np.uint8)))
        for start in patches.starts
    ]


def differences(
    encoder: LocalEncoder, ours: NDArray[np.float64], theirs: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Return the largest relative difference of each feature that both define alike.

    Relative to the value, or to the feature's mean size over the patches where that is larger: skewness and the like
    pass through 0.
    """
    largest = {}
    for name in set(encoder.feature_names) & set(PYRADIOMICS_NAMES):
        expected = np.array([their_value(name, values) for values in theirs])
        scale = np.maximum(np.abs(expected), np.abs(expected).mean())
        found = ours[:, encoder.feature_names.index(name)]
        largest[name] = float((np.abs(found - expected) / scale).max())
    return largest


def main(count: int, repeats: int) -> None:
    """Time both and print the figures."""
    volume, mask, patches = make_patches(count)
    extractor, images = make_extractor(), as_images(volume, mask, patches)
    encoders = {"averaged": make_encoder("3d_averaged"), "default": make_encoder("3d_merged")}
    few = Patches(patches.starts[:2], EDGE, patches.tumour_fraction[:2], 2)
    for encoder in encoders.values():
        encoder.encode(volume, mask, few)
    extractor.execute(*images[0])
    theirs, seconds_theirs = [], 0.0
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for half in (images[: count // 2], images[count // 2 :]):
        begin = time.perf_counter()
        theirs += [extractor.execute(image, label) for image, label in half]
        seconds_theirs += time.perf_counter() - begin
        for name in [*encoders] * repeats:
            begin = time.perf_counter()
            encoders[name].encode(volume, mask, patches)
            seconds[name].append(time.perf_counter() - begin)
    largest = differences(encoders["averaged"], encoders["averaged"].encode_exactly(volume, mask, patches), theirs)
    figures = {
        "ratio": seconds_theirs / min(seconds["averaged"]),
        "max_relative_difference": max(largest.values()),
        "worst_feature": max(largest, key=lambda name: largest[name]),
        "features_compared": len(largest),
        "features": len(encoders["averaged"].feature_names),
        "patches": count,
        "seconds_local": min(seconds["averaged"]),
        "seconds_local_default": min(seconds["default"]),
        "seconds_pyradiomics": seconds_theirs,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.patches, arguments.repeats)
