from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from sparra.radiology.geometry import Grid, alignment, mismatch


def test_positions_agree_with_itk(oblique_grid: Grid) -> None:
    image = sitk.Image(*oblique_grid.size, sitk.sitkUInt8)
    image.SetSpacing(oblique_grid.spacing)
    image.SetOrigin(oblique_grid.origin)
    image.SetDirection(oblique_grid.direction.ravel().tolist())
    indices = np.array([[0, 0, 0], [3.5, 7.25, 2.0], [39, 35, 13]])
    expected = [image.TransformContinuousIndexToPhysicalPoint(index) for index in indices.tolist()]
    positions = Grid.of(image).to_mm(indices)
    np.testing.assert_allclose(positions, expected, atol=1e-9)
    np.testing.assert_allclose(oblique_grid.to_index(positions), indices, atol=1e-9)


def test_rounded_headers_pass(oblique_grid: Grid) -> None:
    rounded = replace(oblique_grid, origin=tuple(np.float32(oblique_grid.origin).tolist()))
    aligned = alignment(oblique_grid, rounded)
    assert aligned is not None
    assert (aligned.axes, aligned.signs, aligned.start) == ((0, 1, 2), (1, 1, 1), (0, 0, 0))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"size": (40, 36, 13), "origin": (-30.0, 12.5, 101.0)}, "40 x 36 x 13 voxels, its CT has 40 x 36 x 14"),
        ({"origin": (-30.0, 12.5, 103.0)}, "origin by 3 mm"),
        ({"spacing": (0.8, 0.9, 3.2)}, "spacing differs by 0.2 mm"),
        ({"direction": np.eye(3)}, "direction by 33.7 degrees"),
    ],
)
def test_what_differs_is_told_in_mm(oblique_grid: Grid, change: dict, expected: str) -> None:
    changed = replace(oblique_grid, **change)
    assert alignment(oblique_grid, changed) is None
    sentence = str(mismatch(oblique_grid, changed, "mask.nii.gz"))
    assert expected in sentence
    assert sentence.startswith("mask.nii.gz: ")


def test_only_the_same_voxels_cover_a_grid(oblique_grid: Grid) -> None:
    one_slice_off = replace(oblique_grid, origin=tuple(oblique_grid.to_mm([0, 0, 1]).tolist()))
    shorter = replace(oblique_grid, size=(40, 36, 13))
    found = [alignment(oblique_grid, grid) for grid in (oblique_grid, one_slice_off, shorter)]
    assert [aligned.start for aligned in found] == [(0, 0, 0), (0, 0, 1), (0, 0, 0)]
    assert [aligned.covers(oblique_grid) for aligned in found] == [True, False, False]


def turned_part(grid: Grid, start: tuple, size: tuple, axes: tuple, signs: tuple) -> Grid:
    """The grid of a block of `grid` stored with permuted and flipped axes."""
    first = [s if sign > 0 else s + n - 1 for s, n, sign in zip(start, size, signs, strict=True)]
    return Grid(
        tuple(size[a] for a in axes),
        tuple(grid.spacing[a] for a in axes),
        tuple(grid.to_mm(first).tolist()),
        np.stack([signs[a] * grid.direction[:, a] for a in axes], axis=1),
    )


@given(
    axes=st.sampled_from(list(permutations(range(3)))),
    signs=st.tuples(*[st.sampled_from([1, -1])] * 3),
    start=st.tuples(*[st.integers(-3, 5)] * 3),
    size=st.tuples(*[st.integers(1, 6)] * 3),
)
def test_any_turned_part_of_a_lattice_falls_back_in_place(axes: tuple, signs: tuple, start: tuple, size: tuple) -> None:
    ct = Grid((9, 9, 9), (0.8, 0.9, 3.0), (-30.0, 12.5, 100.0), np.linalg.qr(np.arange(9).reshape(3, 3) ** 2.0)[0])
    part = turned_part(ct, start, size, axes, signs)
    aligned = alignment(ct, part)
    assert aligned is not None
    assert aligned.start == start
    # The value of each voxel is its place: the CT's index that its centre lies on.
    k, j, i = np.indices(part.size[::-1])
    places = np.rint(ct.to_index(part.to_mm(np.stack([i, j, k], axis=-1)))).astype(int)
    codes = places @ [1, 100, 10000]
    z, y, x = np.indices(size[::-1])
    expected = (x + start[0]) + 100 * (y + start[1]) + 10000 * (z + start[2])
    np.testing.assert_array_equal(aligned.turned(codes), expected)
