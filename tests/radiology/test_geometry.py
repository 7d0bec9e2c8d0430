from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from sparra.radiology.errors import GeometryMismatchError
from sparra.radiology.geometry import Grid, require_same_grid


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
    require_same_grid(oblique_grid, rounded, "mask.nii.gz")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"size": (40, 36, 13)}, "40 x 36 x 13 voxels, its CT has 40 x 36 x 14"),
        ({"origin": (-30.0, 12.5, 103.0)}, "origin by 3 mm"),
        ({"spacing": (0.8, 0.9, 3.2)}, "spacing differs by 0.2 mm"),
        ({"direction": np.eye(3)}, "direction by 33.7 degrees"),
    ],
)
def test_what_differs_is_told_in_mm(oblique_grid: Grid, change: dict, expected: str) -> None:
    with pytest.raises(GeometryMismatchError) as caught:
        require_same_grid(oblique_grid, replace(oblique_grid, **change), "mask.nii.gz")
    assert expected in str(caught.value)
    assert str(caught.value).startswith("mask.nii.gz: ")
