"""IBSI texture families of many patches at once, under any of IBSI's ways to aggregate directions and slices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sparra.radiology.radiomics.cooccurrence import COOCCURRENCE_IBSI_IDS, cooccurrence_features
from sparra.radiology.radiomics.emphasis import (
    DEPENDENCE_IBSI_IDS,
    DISTANCE_ZONE_IBSI_IDS,
    RUN_IBSI_IDS,
    ZONE_IBSI_IDS,
    emphasis_features,
)
from sparra.radiology.radiomics.kernels import (
    DIRECTIONS,
    DIRECTIONS_2D,
    PaddedLevels,
    compare_neighbours,
    count_pairs,
    count_runs,
    find_zones,
)
from sparra.radiology.radiomics.neighbourhood import NEIGHBOURHOOD_IBSI_IDS, neighbourhood_features

Aggregation = Literal["3d_merged", "3d_averaged", "2d_averaged", "2d_merged", "2.5d_averaged", "2.5d_merged"]
TextureFamily = Literal["glcm", "glrlm", "glszm", "gldzm", "ngtdm", "gldm"]
Features = dict[str, NDArray[np.float64]]

#: Names and IBSI identifiers of each family's features. IBSI calls the dependence matrix (GLDM) NGLDM.
TEXTURE_IBSI_IDS: dict[TextureFamily, dict[str, str]] = {
    "glcm": COOCCURRENCE_IBSI_IDS,
    "glrlm": RUN_IBSI_IDS,
    "glszm": ZONE_IBSI_IDS,
    "gldzm": DISTANCE_ZONE_IBSI_IDS,
    "ngtdm": NEIGHBOURHOOD_IBSI_IDS,
    "gldm": DEPENDENCE_IBSI_IDS,
}


@dataclass(frozen=True)
class _Counted:
    """Levels of all units (patches, or slices of patches), and how their matrices are joined."""

    levels: NDArray[np.integer]
    region: NDArray[np.bool_]
    n_levels: int
    n_patches: int
    steps: tuple[tuple[int, ...], ...]
    merge_slices: bool
    merge_directions: bool

    @cached_property
    def padded(self) -> PaddedLevels:
        return PaddedLevels.of(self.levels)

    @cached_property
    def voxels(self) -> NDArray[np.float64]:
        """Voxels that count, shape (n_patches, slices)."""
        counted: NDArray[np.float64] = (self.levels > 0).sum(axis=(1, 2, 3)).astype(np.float64)
        return self.joined(counted)

    @property
    def all_steps(self) -> tuple[tuple[int, ...], ...]:
        """Steps to every neighbour."""
        return (*self.steps, *(tuple(-s for s in step) for step in self.steps))

    def joined(self, per_unit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn (units, ...) into (n_patches, slices, ...), slices added up if they are merged."""
        split = per_unit.reshape(self.n_patches, -1, *per_unit.shape[1:])
        return split.sum(axis=1, keepdims=True) if self.merge_slices else split


def texture_features(
    levels: NDArray[np.integer],
    n_levels: int,
    families: Sequence[TextureFamily],
    aggregation: Aggregation = "3d_merged",
    coarseness: int = 0,
    region: NDArray[np.bool_] | None = None,
) -> Features:
    """Compute the features of every patch.

    A feature is computed of each matrix and then averaged where the aggregation says so. Neighbours are at Chebyshev
    distance 1. A patch without two neighbouring voxels gets a co-occurrence matrix of its levels on the diagonal, as
    if each voxel were its own neighbour, so that its features stay finite.

    Parameters
    ----------
    levels : ndarray of int, shape (n_patches, z, y, x)
        Grey levels 1 to `n_levels`; 0 marks voxels that do not count. Each patch holds one that counts at least.
    n_levels : int
        The N_g of the normalised features.
    families : sequence of str
        Keys of `TEXTURE_IBSI_IDS`.
    aggregation : str
        Of the names in IBSI's manual: 3D merged (IAZD), 3D averaged (ITBB), 2D averaged (BTW3), 2D slice-merged
        (SUJT), 2.5D direction-merged (JJUI, here ``2.5d_averaged``: over directions) and 2.5D merged (ZW7Z).
        Families without directions only heed whether slices are apart (2D), merged (2.5D) or not there (3D).
    coarseness : int
        Largest difference in level at which a neighbour counts as alike in GLDM (IBSI's α).
    region : ndarray of bool, shape of `levels`, optional
        Morphological mask, from whose border GLDZM measures distance; by default the voxels that count.

    Returns
    -------
    dict of str to ndarray, each of shape (n_patches,)
    """
    counted = _arrange(levels, levels > 0 if region is None else region, n_levels, aggregation)
    features: Features = {}
    for family in families:
        if family not in ("ngtdm", "gldm"):
            features |= _FAMILIES[family](counted)
    if "ngtdm" in families or "gldm" in families:
        both = _neighbour_features(counted, coarseness)
        features |= {name: value for family in ("ngtdm", "gldm") if family in families for name, value in both[family]}
    return features


def _arrange(
    levels: NDArray[np.integer], region: NDArray[np.bool_], n_levels: int, aggregation: Aggregation
) -> _Counted:
    patches, depth, height, width = levels.shape
    dimension, joining = aggregation.split("_")
    steps, merge_slices = DIRECTIONS, True
    if dimension != "3d":
        slices = (patches * depth, 1, height, width)
        levels, region, steps, merge_slices = (
            levels.reshape(slices),
            region.reshape(slices),
            DIRECTIONS_2D,
            dimension == "2.5d",
        )
    return _Counted(levels, region, n_levels, patches, steps, merge_slices, joining == "merged")


def _directional(
    counted: _Counted, kernel: Callable[..., object], cells: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count per direction; returns matrices (n_patches, n_matrices, *cells) and the voxels that each is of."""
    padded = counted.padded
    n_slots = 1 if counted.merge_directions else len(counted.steps)
    slots = np.arange(len(counted.steps), dtype=np.int64) % n_slots
    counts = np.zeros((len(counted.levels), n_slots, *cells))
    kernel(padded.flat, padded.offsets(counted.steps), slots, counts)
    joined = counted.joined(counts)
    merged = len(counted.steps) / n_slots
    voxels = np.repeat(counted.voxels * merged, n_slots, axis=1)
    return joined.reshape(counted.n_patches, -1, *cells), voxels


def _pair_features(counted: _Counted) -> Features:
    n = counted.n_levels
    matrices, _ = _directional(counted, count_pairs, (n, n))
    matrices += matrices.swapaxes(2, 3)
    lonely = np.flatnonzero(matrices.sum(axis=(1, 2, 3)) == 0)
    if len(lonely):
        own = counted.levels.reshape(counted.n_patches, -1)[lonely]
        histogram = (own[:, :, None] == np.arange(1, n + 1)).sum(axis=1)
        matrices[lonely[:, None], 0, np.arange(n), np.arange(n)] = histogram
    filled, mean = _filled(matrices)
    features = cooccurrence_features(filled)
    return {name: mean(values) for name, values in features.items()}


def _run_features(counted: _Counted) -> Features:
    longest = max(counted.levels.shape[1:])
    matrices, voxels = _directional(counted, count_runs, (counted.n_levels, longest))
    sizes = np.arange(1.0, longest + 1)[None]
    return _emphasis(RUN_IBSI_IDS, matrices, sizes, voxels)


def _zones(counted: _Counted, depth: NDArray[np.int16] | None = None) -> NDArray[np.int32]:
    """Return (unit, level, size, distance from the border) of every zone."""
    padded = counted.padded
    zones = np.empty((int((padded.flat > 0).sum()), 4), np.int32)
    levels = padded.flat.copy()
    found = find_zones(levels, padded.flat if depth is None else depth, padded.offsets(counted.all_steps), zones)
    return zones[:found]


def _zone_features(counted: _Counted) -> Features:
    zones = _zones(counted)
    return _zone_emphasis(ZONE_IBSI_IDS, counted, zones[:, 0], zones[:, 1], zones[:, 2])


def _distance_zone_features(counted: _Counted) -> Features:
    flat = counted.levels.shape[1] == 1
    depth = np.zeros((len(counted.levels), *(extent + 2 for extent in counted.levels.shape[1:])), np.int16)
    for unit, inside in zip(depth, counted.region, strict=True):
        # The border voxels have distance 1; a slice knows no neighbouring slices.
        if flat:
            unit[1] = ndimage.distance_transform_cdt(np.pad(inside[0], 1), metric="taxicab")
        else:
            unit[:] = ndimage.distance_transform_cdt(np.pad(inside, 1), metric="taxicab")
    zones = _zones(counted, depth.reshape(len(depth), -1))
    return _zone_emphasis(DISTANCE_ZONE_IBSI_IDS, counted, zones[:, 0], zones[:, 1], zones[:, 3])


def _zone_emphasis(
    names: dict[str, str],
    counted: _Counted,
    unit: NDArray[np.int32],
    level: NDArray[np.int32],
    size: NDArray[np.int32],
) -> Features:
    """Put the zones into matrices with a column for each size that occurs, and compute their features."""
    voxels = counted.voxels
    slices = len(counted.levels) // counted.n_patches
    matrix = (unit // slices if counted.merge_slices else unit).astype(np.int64)
    side = int(size.max()) + 1
    pairs, pair_of = np.unique(matrix * side + size, return_inverse=True)
    owner, own_size = np.divmod(pairs, side)
    column = np.arange(len(pairs)) - np.searchsorted(owner, np.arange(voxels.size))[owner]
    shape = (voxels.size, counted.n_levels, int(column.max()) + 1)
    cell = (matrix * shape[1] + level - 1) * shape[2] + column[pair_of]
    counts = np.bincount(cell, minlength=int(np.prod(shape))).astype(np.float64)
    sizes = np.ones((voxels.size, shape[2]))
    sizes[owner, column] = own_size
    return _emphasis(names, counts.reshape(*voxels.shape, *shape[1:]), sizes, voxels)


def _neighbour_features(counted: _Counted, coarseness: int) -> dict[str, list[tuple[str, NDArray[np.float64]]]]:
    padded, n = counted.padded, counted.n_levels
    offsets = padded.offsets(counted.all_steps)
    dependence = np.zeros((len(counted.levels), n, len(offsets) + 1))
    differences = np.zeros((len(counted.levels), 2, n))
    compare_neighbours(padded.flat, offsets, coarseness, dependence, differences)
    sizes = np.arange(1.0, len(offsets) + 2)[None]
    alike = _emphasis(DEPENDENCE_IBSI_IDS, counted.joined(dependence), sizes, counted.voxels)
    matrices = counted.joined(differences)
    matrices, mean = _filled(matrices, empty=counted.voxels == 0)
    tone = {name: mean(values) for name, values in neighbourhood_features(matrices).items()}
    return {"gldm": list(alike.items()), "ngtdm": list(tone.items())}


def _emphasis(
    names: dict[str, str], counts: NDArray[np.float64], sizes: NDArray[np.float64], voxels: NDArray[np.float64]
) -> Features:
    """Features of matrices (n_patches, n_matrices, levels, sizes), averaged over those that count something."""
    chosen = counts.sum(axis=(2, 3)) > 0
    filled, mean = _filled(counts)
    own_sizes = sizes[chosen.ravel()] if len(sizes) > 1 else sizes
    values = emphasis_features(filled, own_sizes, voxels[chosen])
    return {name: mean(value) for name, value in zip(names, values, strict=False)}


def _filled(
    matrices: NDArray[np.float64], empty: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float64], Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    """Pick the matrices (of n_patches, n_matrices, ...) that are not empty; returns them and the mean by patch."""
    chosen = matrices.sum(axis=(2, 3)) > 0 if empty is None else ~empty
    owner = np.nonzero(chosen)[0]
    counts = chosen.sum(axis=1)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        by_patch: NDArray[np.float64] = np.bincount(owner, values, minlength=len(counts)) / counts
        return by_patch

    return matrices[chosen], mean


_FAMILIES: dict[TextureFamily, Callable[[_Counted], Features]] = {
    "glcm": _pair_features,
    "glrlm": _run_features,
    "glszm": _zone_features,
    "gldzm": _distance_zone_features,
}
