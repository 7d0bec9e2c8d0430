import numpy as np
import pytest
from scipy.spatial.distance import cdist

from sparra.errors import UserError
from sparra.radiology.radiomics.shape import (
    PLANE_DIAMETERS,
    SHAPE_IBSI_IDS,
    SPATIAL_IBSI_IDS,
    shape_features,
    spatial_features,
)


def ellipsoid(half_axes_mm: tuple[float, float, float], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Mask [z, y, x] of an ellipsoid whose half axes lie along z, y, x."""
    steps = np.array(spacing_mm)[::-1]
    sizes = [int(a / s) + 3 for a, s in zip(half_axes_mm, steps, strict=True)]
    axes = [np.arange(-n, n + 1) * s for n, s in zip(sizes, steps, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    a, b, c = half_axes_mm
    return (z / a) ** 2 + (y / b) ** 2 + (x / c) ** 2 <= 1


def test_ball_on_an_anisotropic_grid() -> None:
    found = shape_features(ellipsoid((20, 20, 20), (0.8, 0.8, 1.5)), (0.8, 0.8, 1.5))
    assert tuple(found) == (*SHAPE_IBSI_IDS, *PLANE_DIAMETERS)
    assert found["morph_volume"] == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.01)
    assert found["morph_vol_approx"] == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.01)
    # A mesh of voxels is a staircase: its area stays some percent above the ball's.
    assert found["morph_area_mesh"] == pytest.approx(4 * np.pi * 20**2, rel=0.12)
    assert 0.88 < found["morph_sphericity"] < 1
    # The mesh lies half a voxel outside the outermost voxels' centres.
    for name in ("morph_diam", *PLANE_DIAMETERS):
        assert found[name] == pytest.approx(40, abs=1.5), name
    assert found["morph_pca_elongation"] == pytest.approx(1, abs=0.01)
    assert found["morph_vol_dens_conv_hull"] == pytest.approx(1, abs=0.05)
    assert found["morph_vol_dens_aabb"] == pytest.approx(np.pi / 6, rel=0.06)


def test_ellipsoid_axes_are_those_of_its_second_moments() -> None:
    found = shape_features(ellipsoid((10, 20, 30), (1, 1, 1)), (1, 1, 1))
    # Along a half axis a the variance of a solid ellipsoid is a² / 5.
    for name, half_axis in (("maj", 30), ("min", 20), ("least", 10)):
        assert found[f"morph_pca_{name}_axis"] == pytest.approx(4 * half_axis / np.sqrt(5), rel=0.01)
    assert found["morph_diam"] == pytest.approx(60, rel=0.03)
    assert found["morph_diam_yz"] == pytest.approx(40, rel=0.03)
    assert found["morph_diam_xz"] == pytest.approx(60, rel=0.03)
    assert found["morph_diam_xy"] == pytest.approx(60, rel=0.03)


def test_two_voxels_by_hand() -> None:
    mask = np.ones((2, 2, 2), bool)
    found = shape_features(mask, (1, 1, 1))
    # The mesh at 0.5 of a 2³ block is that block with cut corners and edges: 8 - 12 edges... by its facets.
    edges, corners = 12 * 1 * 0.5 * 0.5 / 2, 8 * (1 / 8 - 1 / 8 + (0.5**3 - 0.5**3 / 6))
    assert found["morph_volume"] == pytest.approx(8 - edges - corners)
    assert found["morph_vol_approx"] == 8
    assert found["morph_diam_xy"] == pytest.approx(np.sqrt(2**2 + 1**2))


def test_scaling_and_axis_order() -> None:
    rng = np.random.default_rng(5)
    mask = rng.random((5, 6, 7)) < 0.7
    small, large = shape_features(mask, (1, 1, 1)), shape_features(mask, (3, 3, 3))
    powers = {"morph_volume": 3, "morph_vol_approx": 3, "morph_area_mesh": 2, "morph_av": -1, "morph_diam": 1}
    for name, value in small.items():
        lengths = name in PLANE_DIAMETERS or name.endswith("_axis")
        power = powers.get(name, 1 if lengths else 0)
        assert large[name] == pytest.approx(value * 3.0**power, rel=1e-5), name
    turned = shape_features(mask.transpose(2, 1, 0), (1, 2, 3))
    straight = shape_features(mask, (3, 2, 1))
    for name, value in straight.items():
        if name not in PLANE_DIAMETERS:
            assert turned[name] == pytest.approx(value, rel=0.01), name


def test_autocorrelation_agrees_with_all_pairs() -> None:
    rng = np.random.default_rng(9)
    mask = rng.random((4, 5, 6)) < 0.6
    volume = rng.normal(40, 20, mask.shape)
    found = spatial_features(volume, mask, mask, (0.7, 0.9, 2.0))
    assert tuple(found) == tuple(SPATIAL_IBSI_IDS)
    x = volume[mask]
    distance = cdist(np.argwhere(mask) * (2.0, 0.9, 0.7), np.argwhere(mask) * (2.0, 0.9, 0.7))
    weight = np.divide(1, distance, out=np.zeros_like(distance), where=distance > 0)
    d, n = x - x.mean(), len(x)
    moran = n / weight.sum() * (weight * np.outer(d, d)).sum() / (d @ d)
    geary = (n - 1) / (2 * weight.sum()) * (weight * (x[:, None] - x) ** 2).sum() / (d @ d)
    assert found["morph_moran_i"] == pytest.approx(moran, abs=1e-9)
    assert found["morph_geary_c"] == pytest.approx(geary, abs=1e-9)


def test_one_intensity_has_no_spatial_order() -> None:
    found = spatial_features(np.full((3, 3, 3), 7.0), np.ones((3, 3, 3), bool), np.ones((3, 3, 3), bool), (1, 1, 1))
    assert (found["morph_moran_i"], found["morph_geary_c"]) == (0, 1)
    assert found["morph_com"] == pytest.approx(0, abs=1e-12)


def test_flat_mask_is_refused() -> None:
    with pytest.raises(UserError, match="one voxel thick"):
        shape_features(np.ones((1, 5, 5), bool), (1, 1, 1))
