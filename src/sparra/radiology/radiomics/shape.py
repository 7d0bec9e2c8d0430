"""IBSI morphological features of a whole region (reference manual, section 3.1), in mm."""

# scikit-image's functions carry no types.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from scipy.special import eval_legendre
from skimage.measure import marching_cubes

from sparra.errors import UserError

#: Features of the mask alone.
SHAPE_IBSI_IDS = {
    "morph_volume": "RNU0",
    "morph_vol_approx": "YEKZ",
    "morph_area_mesh": "C0JK",
    "morph_av": "2PR5",
    "morph_comp_1": "SKGS",
    "morph_comp_2": "BQWJ",
    "morph_sph_dispr": "KRCK",
    "morph_sphericity": "QCFX",
    "morph_asphericity": "25C7",
    "morph_diam": "L0JK",
    "morph_pca_maj_axis": "TDIC",
    "morph_pca_min_axis": "P9VJ",
    "morph_pca_least_axis": "7J51",
    "morph_pca_elongation": "Q3CK",
    "morph_pca_flatness": "N17B",
    "morph_vol_dens_aabb": "PBX1",
    "morph_area_dens_aabb": "R59B",
    "morph_vol_dens_aee": "6BDE",
    "morph_area_dens_aee": "RDD2",
    "morph_vol_dens_conv_hull": "R3ER",
    "morph_area_dens_conv_hull": "7T7F",
}
#: Largest diameters within a plane, as PyRadiomics defines them; IBSI has none.
PLANE_DIAMETERS = ("morph_diam_xy", "morph_diam_xz", "morph_diam_yz")
#: Features of the mask and of the intensities in it.
SPATIAL_IBSI_IDS = {
    "morph_com": "KLMA",
    "morph_integ_int": "99N0",
    "morph_moran_i": "N365",
    "morph_geary_c": "NPT7",
}


def shape_features(mask: NDArray[np.bool_], spacing_mm: Sequence[float]) -> dict[str, float]:
    """Compute the features of the mask alone, on a marching-cubes mesh at 0.5 and on its voxels' centres.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
        At least two voxels thick along each axis.
    spacing_mm : sequence of float
        Size of a voxel along x, y, z.

    Returns
    -------
    dict of str to float
        Keys of `SHAPE_IBSI_IDS`, then `PLANE_DIAMETERS`.

    Raises
    ------
    UserError
        If the mask is flat, so that it has no volume in 3-D.
    """
    steps = np.asarray(spacing_mm, np.float64)[::-1]
    centres = np.argwhere(mask) * steps
    if not len(centres) or (np.ptp(centres, axis=0) == 0).any():
        raise UserError("the region is one voxel thick: it has no shape in 3-D", mend="Check the mask, or resample it")
    corners, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5, spacing=tuple(steps))
    corners = corners.astype(np.float64) - steps
    volume, area = _mesh_volume_and_area(corners, faces)
    hull = ConvexHull(corners)
    extent = np.ptp(corners, axis=0)
    box_area = 2 * (extent[0] * extent[1] + extent[1] * extent[2] + extent[0] * extent[2])
    variances = np.linalg.eigvalsh(np.cov(centres.T))[::-1]
    major, minor, least = 4 * np.sqrt(variances.clip(0))
    a, b, c = major / 2, minor / 2, least / 2
    compactness = 36 * np.pi * volume**2 / area**3
    found = {
        "morph_volume": volume,
        "morph_vol_approx": len(centres) * float(steps.prod()),
        "morph_area_mesh": area,
        "morph_av": area / volume,
        "morph_comp_1": volume / (np.sqrt(np.pi) * area**1.5),
        "morph_comp_2": compactness,
        "morph_sph_dispr": compactness ** (-1 / 3),
        "morph_sphericity": compactness ** (1 / 3),
        "morph_asphericity": compactness ** (-1 / 3) - 1,
        "morph_diam": _largest_distance(corners[hull.vertices]),
        "morph_pca_maj_axis": major,
        "morph_pca_min_axis": minor,
        "morph_pca_least_axis": least,
        "morph_pca_elongation": minor / major,
        "morph_pca_flatness": least / major,
        "morph_vol_dens_aabb": volume / extent.prod(),
        "morph_area_dens_aabb": area / box_area,
        "morph_vol_dens_aee": volume / (4 / 3 * np.pi * a * b * c),
        "morph_area_dens_aee": area / _ellipsoid_area(a, b, c),
        "morph_vol_dens_conv_hull": volume / hull.volume,
        "morph_area_dens_conv_hull": area / hull.area,
    }
    found |= {name: _largest_in_plane(corners, axis) for axis, name in enumerate(PLANE_DIAMETERS)}
    return {name: float(value) for name, value in found.items()}


def spatial_features(
    volume: NDArray[np.floating],
    mask: NDArray[np.bool_],
    intensity_mask: NDArray[np.bool_],
    spacing_mm: Sequence[float],
) -> dict[str, float]:
    """Compute the features that tie intensity to place.

    Moran's I and Geary's C weigh each pair of voxels by the inverse of its distance; the sums over pairs are
    convolutions, done by FFT. In a region of one intensity they are 0 and 1, as of intensities without order.

    Parameters
    ----------
    volume : ndarray, shape (z, y, x)
    mask : ndarray of bool, shape (z, y, x)
        The morphological mask.
    intensity_mask : ndarray of bool, shape (z, y, x)
        Its part whose intensities count.
    spacing_mm : sequence of float
        Size of a voxel along x, y, z.

    Returns
    -------
    dict of str to float
        Keys of `SPATIAL_IBSI_IDS`, in that order.
    """
    steps = np.asarray(spacing_mm, np.float64)[::-1]
    values = volume[intensity_mask].astype(np.float64)
    places = np.argwhere(intensity_mask) * steps
    heavy = values @ places / values.sum() if values.sum() else places.mean(axis=0)
    mesh_volume = shape_features(mask, spacing_mm)["morph_volume"]
    moran, geary = _spatial_autocorrelation(volume, intensity_mask, steps)
    return {
        "morph_com": float(np.linalg.norm((np.argwhere(mask) * steps).mean(axis=0) - heavy)),
        "morph_integ_int": float(values.mean() * mesh_volume),
        "morph_moran_i": moran,
        "morph_geary_c": geary,
    }


def _mesh_volume_and_area(corners: NDArray[np.float64], faces: NDArray[np.integer]) -> tuple[float, float]:
    a, b, c = (corners[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    return abs(float((a * np.cross(b, c)).sum())) / 6, float(np.linalg.norm(normals, axis=1).sum()) / 2


def _ellipsoid_area(a: float, b: float, c: float) -> float:
    """Return IBSI's series for the surface of an ellipsoid with half axes a >= b >= c.

    IBSI takes the eccentricities of b and of c against a, with which the series is not the exact surface (4 % off
    for the digital phantom); the consensus values follow it, so it is kept.
    """
    alpha, beta = np.sqrt(1 - (b / a) ** 2), np.sqrt(1 - (c / a) ** 2)
    # Kept from 0, where the series has a limit but its terms are 0 times infinity.
    product = max(alpha * beta, 1e-9)
    order = np.arange(21)
    terms = product**order / (1 - 4.0 * order**2) * eval_legendre(order, (alpha**2 + beta**2) / (2 * product))
    return float(4 * np.pi * a * b * terms.sum())


def _largest_distance(points: NDArray[np.float64]) -> float:
    return float(pdist(points).max()) if len(points) > 1 else 0.0


def _largest_in_plane(corners: NDArray[np.float64], axis: int) -> float:
    """Return the largest distance between mesh corners that lie in one plane perpendicular to `axis`."""
    order = np.argsort(corners[:, axis], kind="stable")
    corners = corners[order]
    breaks = np.flatnonzero(np.diff(corners[:, axis]) > 1e-3) + 1
    largest = 0.0
    for plane in np.split(np.delete(corners, axis, axis=1), breaks):
        flat = len(plane) < 4 or (np.ptp(plane, axis=0) == 0).any()
        largest = max(largest, _largest_distance(plane if flat else plane[ConvexHull(plane).vertices]))
    return largest


def _spatial_autocorrelation(
    volume: NDArray[np.floating], inside: NDArray[np.bool_], steps: NDArray[np.float64]
) -> tuple[float, float]:
    offsets = [np.arange(1 - n, n) * step for n, step in zip(inside.shape, steps, strict=True)]
    z, y, x = offsets[0][:, None, None], offsets[1][:, None], offsets[2]
    distance = np.sqrt(z**2 + y**2 + x**2)
    weight = np.divide(1.0, distance, out=np.zeros_like(distance), where=distance > 0)
    count = int(inside.sum())
    deviation = np.where(inside, volume - volume[inside].mean(dtype=np.float64), 0.0)
    square = float((deviation**2).sum())
    if count < 2 or square == 0:
        return 0.0, 1.0
    centre = tuple(slice(n - 1, 2 * n - 1) for n in inside.shape)
    weights = fftconvolve(inside.astype(np.float64), weight)[centre]
    neighbours = fftconvolve(deviation, weight)[centre]
    total = float(weights[inside].sum())
    products = float((deviation * neighbours).sum())
    squares = float((deviation**2 * weights).sum())
    return count / total * products / square, (count - 1) / total * (squares - products) / square
