"""From probabilities on the working grid to a label map on the CT's own grid, without specks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sparra.radiology.geometry import Grid
from sparra.segmentation.preprocess import to_scan
from sparra.segmentation.regions import CYST, KIDNEY, REGIONS, THRESHOLD, TUMOUR, merge_regions
from sparra.segmentation.settings import InferenceSettings

_NEIGHBOURS = np.ones((3, 3, 3))


def labels_on_scan(
    probability: NDArray[np.float32], grid: Grid, scan: Grid, settings: InferenceSettings
) -> NDArray[np.uint8]:
    """Interpolate each region's probability onto the scan, cut at 0.5, merge, and drop what is no kidney.

    Parameters
    ----------
    probability : ndarray of float32, shape (3, x, y, z)
    grid : Grid
        Of `probability`.
    scan : Grid
    settings : InferenceSettings

    Returns
    -------
    ndarray of uint8, shape (z, y, x) of `scan`
    """
    regions = {name: to_scan(probability[i], grid, scan) > THRESHOLD for i, name in enumerate(REGIONS)}
    return clean_labels(merge_regions(regions), scan.spacing[::-1], settings)


def clean_labels(
    labels: NDArray[np.uint8], spacing_mm: Sequence[float], settings: InferenceSettings
) -> NDArray[np.uint8]:
    """Keep the largest parts of kidney with its masses, and masses that are no specks.

    Regions are cut apart each, so a shell of `mass` that is not `tumour` is left around a tumour: a cyst that
    touches a tumour and is nowhere thick becomes tumour. A speck of tumour or cyst becomes kidney.

    Parameters
    ----------
    labels : ndarray of uint8, shape (a, b, c)
    spacing_mm : sequence of float
        Voxel size along a, b, c.
    settings : InferenceSettings
    """
    voxel_mm3 = float(np.prod(spacing_mm))
    cleaned = labels.copy()
    parts, count = ndimage.label(labels > 0, structure=_NEIGHBOURS)
    if count:
        sizes = np.bincount(parts.ravel())[1:]
        order = np.argsort(-sizes, kind="stable")[: settings.most_kidneys]
        kept = [1 + index for index in order if sizes[index] >= settings.least_part * sizes.max()]
        cleaned[~np.isin(parts, kept)] = 0
    _join_shells(cleaned, spacing_mm, settings.least_cyst_depth_mm)
    for label in (TUMOUR, CYST):
        masses, count = ndimage.label(cleaned == label, structure=_NEIGHBOURS)
        if count:
            small = 1 + np.flatnonzero(np.bincount(masses.ravel())[1:] * voxel_mm3 < settings.least_mass_ml * 1000)
            cleaned[np.isin(masses, small)] = KIDNEY
    return cleaned


def _join_shells(labels: NDArray[np.uint8], spacing_mm: Sequence[float], least_depth_mm: float) -> None:
    """Turn thin cysts on a tumour into tumour, in place."""
    parts, _ = ndimage.label(labels == CYST, structure=_NEIGHBOURS)
    for index, box in enumerate(ndimage.find_objects(parts), start=1):
        around = tuple(slice(max(b.start - 1, 0), b.stop + 1) for b in box)
        part = parts[around] == index
        touching = ndimage.binary_dilation(part, _NEIGHBOURS) & (labels[around] == TUMOUR)
        depth = ndimage.distance_transform_edt(np.pad(part, 1), sampling=spacing_mm)
        if touching.any() and depth.max() < least_depth_mm:
            labels[around][part] = TUMOUR
