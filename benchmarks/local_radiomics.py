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
import logging
import time

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import convolve, gaussian_filter

from benchmarks.parts.pyradiomics_names import PYRADIOMICS_NAMES, their_value
from sparra.radiology.encoders.local import LocalEncoder, LocalEncoderSettings
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


def main(count: int, repeats: int) -> None:
    """Time both and print the figures."""
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    logging.getLogger("radiomics").setLevel(logging.ERROR)
    volume, mask, patches = make_patches(count)
    extractor = RadiomicsFeatureExtractor(binWidth=BIN_WIDTH_HU, additionalInfo=False)
    extractor.disableAllFeatures()
    for name in CLASSES:
        extractor.enableFeatureClassByName(name)
    pairs = [
        (sitk.GetImageFromArray(volume[box(s)]), sitk.GetImageFromArray(mask[box(s)].astype(np.uint8)))
        for s in patches.starts
    ]
    encoder = LocalEncoder(
        LocalEncoderSettings(bin_width_hu=BIN_WIDTH_HU, hu_range=RANGE_HU, aggregation="3d_averaged")
    )
    default = LocalEncoder(LocalEncoderSettings(bin_width_hu=BIN_WIDTH_HU, hu_range=RANGE_HU))
    few = Patches(patches.starts[:2], EDGE, patches.tumour_fraction[:2], 2)
    for warm in (encoder, default):
        warm.encode(volume, mask, few)
    extractor.execute(*pairs[0])

    theirs, seconds_theirs = [], 0.0
    seconds, seconds_default = [], []
    for half in (pairs[: count // 2], pairs[count // 2 :]):
        begin = time.perf_counter()
        theirs += [extractor.execute(image, label) for image, label in half]
        seconds_theirs += time.perf_counter() - begin
        for _ in range(repeats):
            begin = time.perf_counter()
            encoder.encode(volume, mask, patches)
            seconds.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            default.encode(volume, mask, patches)
            seconds_default.append(time.perf_counter() - begin)
    ours = encoder.encode_exactly(volume, mask, patches)
    common = [name for name in encoder.feature_names if name in PYRADIOMICS_NAMES]
    expected = np.array([[their_value(name, values) for name in common] for values in theirs])
    found = ours[:, [encoder.feature_names.index(name) for name in common]]
    # Against the size of the feature over the patches: skewness and the like pass through 0.
    scale = np.maximum(np.abs(expected), np.abs(expected).mean(axis=0))
    difference = np.abs(found - expected) / scale
    worst = common[int(difference.max(axis=0).argmax())]
    figures = {
        "ratio": seconds_theirs / min(seconds),
        "max_relative_difference": float(difference.max()),
        "worst_feature": worst,
        "features_compared": len(common),
        "features": len(encoder.feature_names),
        "patches": count,
        "seconds_local": min(seconds),
        "seconds_local_default": min(seconds_default),
        "seconds_pyradiomics": seconds_theirs,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.patches, arguments.repeats)
