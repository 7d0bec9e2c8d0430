from pathlib import Path

import numpy as np
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from sparra.radiology.geometry import Grid
from sparra.radiology.resample import isotropic_grid, needed_box, resample_image, resample_mask

SLOPE = np.array([3.0, -2.0, 1.5])


def positions_of(grid: Grid) -> np.ndarray:
    index = np.indices(grid.size[::-1])[::-1]
    return grid.to_mm(np.moveaxis(index, 0, -1))


def big_oblique(oblique_grid: Grid) -> Grid:
    return Grid((40, 44, 36), oblique_grid.spacing, oblique_grid.origin, oblique_grid.direction)


def test_linear_ramp_is_exact(oblique_grid: Grid) -> None:
    source = big_oblique(oblique_grid)
    target = isotropic_grid(source, 1.024)
    ramp = positions_of(source) @ SLOPE
    # The mirrored edge bends the ramp; its trace is below 1e-4 HU twelve voxels further in.
    result = resample_image(ramp.astype(np.float32), source, target)
    index = source.to_index(positions_of(target))
    inside = ((index >= 12) & (index <= np.array(source.size) - 13)).all(axis=-1)
    assert inside.sum() > 5000
    np.testing.assert_allclose(result[inside], (positions_of(target) @ SLOPE)[inside], atol=2e-3)


def test_agrees_with_itk_everywhere(oblique_grid: Grid) -> None:
    rng = np.random.default_rng(5)
    voxels = rng.normal(0, 100, oblique_grid.size[::-1]).astype(np.float32)
    target = isotropic_grid(oblique_grid, 1.3)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(oblique_grid.spacing)
    image.SetOrigin(oblique_grid.origin)
    image.SetDirection(oblique_grid.direction.ravel().tolist())
    expected = sitk.Resample(
        image, target.size, sitk.Transform(), sitk.sitkBSpline3, target.origin, target.spacing,
        image.GetDirection(), -1024.0,
    )  # fmt: skip
    wanted = sitk.GetArrayFromImage(expected)
    index = oblique_grid.to_index(positions_of(target))
    # Half a voxel beyond the outermost centres ITK goes on with the mirror, where we repeat the edge.
    inside = ((index >= 0) & (index <= np.array(oblique_grid.size) - 1)).all(axis=-1)
    result = resample_image(voxels, oblique_grid, target)
    clipped = wanted.clip(voxels.min(), voxels.max())
    np.testing.assert_allclose(result[inside], clipped[inside], atol=0.05)


def test_crop_gives_what_the_whole_gives(oblique_grid: Grid) -> None:
    source = big_oblique(oblique_grid)
    voxels = np.random.default_rng(1).normal(0, 100, source.size[::-1]).astype(np.float32)
    whole_grid = isotropic_grid(source, 1.0)
    part = whole_grid.part((12, 13, 40), (9, 10, 11))
    low, high = needed_box(source, part)
    assert (high - low).prod() < np.prod(source.size) / 2
    crop = voxels[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
    result = resample_image(crop, source.part(low, high - low), part)
    whole = resample_image(voxels, source, whole_grid)
    np.testing.assert_allclose(result, whole[40:51, 13:23, 12:21], atol=0.05)


def test_edges_neither_ring_nor_leak_air(oblique_grid: Grid) -> None:
    voxels = np.full(oblique_grid.size[::-1], -1000.0, np.float32)
    voxels[:, :, 20:] = 1500.0
    wide = isotropic_grid(oblique_grid, 1.0).part((-6, -6, -6), (50, 50, 60))
    result = resample_image(voxels, oblique_grid, wide)
    assert result.min() == -1000.0
    assert result.max() == 1500.0
    np.testing.assert_allclose(result[:, :, 0], -1000.0, atol=0.1)
    np.testing.assert_allclose(result[:, :, -1], 1500.0, atol=0.1)


def test_mask_takes_the_nearest_voxel(oblique_grid: Grid) -> None:
    mask = np.random.default_rng(2).random(oblique_grid.size[::-1]) < 0.3
    target = isotropic_grid(oblique_grid, 1.1).part((-3, -3, -3), (45, 45, 50))
    x, y, z = np.moveaxis(np.floor(oblique_grid.to_index(positions_of(target)) + 0.5).astype(int), -1, 0)
    nx, ny, nz = oblique_grid.size
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny) & (z >= 0) & (z < nz)
    expected = inside & mask[z.clip(0, nz - 1), y.clip(0, ny - 1), x.clip(0, nx - 1)]
    between = np.abs(oblique_grid.to_index(positions_of(target)) % 1 - 0.5).min(axis=-1) < 1e-3
    result = resample_mask(mask, oblique_grid, target)
    assert between.mean() < 0.1
    np.testing.assert_array_equal(result[~between], expected[~between])


def test_ties_do_not_hang_on_rounding_of_the_header() -> None:
    mask = np.random.default_rng(2).random((14, 20, 20)) < 0.5
    results = []
    for shift in (0.0, 1e-5, -1e-5):
        source = Grid((20, 20, 14), (1.0, 1.0, 3.0), (shift, shift, shift), np.eye(3))
        exact = Grid(source.size, source.spacing, (0.0, 0.0, 0.0), source.direction)
        results.append(resample_mask(mask, source, isotropic_grid(exact, 1.0).part((-1, 0, 0), (22, 20, 43))))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@given(
    size=st.tuples(*[st.integers(1, 60)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    wanted=st.floats(0.5, 3),
)
def test_grids_share_centre_and_cover(size: tuple, spacing: tuple, wanted: float) -> None:
    source = Grid(size, spacing, (5.0, -7.0, 11.0), np.eye(3))
    target = isotropic_grid(source, wanted)
    centres = [grid.to_mm((np.array(grid.size) - 1) / 2) for grid in (source, target)]
    np.testing.assert_allclose(centres[0], centres[1], atol=1e-6)
    excess = np.array(target.size) * wanted - np.array(size) * spacing
    assert (excess > -1e-3).all()
    assert (excess < wanted + 1e-3).all()


def test_one_slice_can_be_resampled(tmp_path: Path) -> None:
    source = Grid((8, 8, 1), (1.0, 1.0, 5.0), (0.0, 0.0, 0.0), np.eye(3))
    voxels = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    result = resample_image(voxels, source, isotropic_grid(source, 1.0))
    np.testing.assert_allclose(result, np.repeat(voxels, 5, axis=0), atol=1e-3)
