import numpy as np
import pytest

from sparra.radiology.region import bounding_box, select_tumour


@pytest.fixture
def two_parts() -> np.ndarray:
    mask = np.zeros((10, 12, 14), bool)
    mask[1:3, 1:3, 1:3] = True
    mask[5:9, 6:10, 7:12] = True
    mask[9, 10, 12] = True  # touches the larger part by a corner only
    return mask


def test_largest_component_and_what_was_dropped(two_parts: np.ndarray) -> None:
    tumour = select_tumour(two_parts, "largest")
    assert tumour.components == 2
    assert tumour.dropped_voxels == 8
    assert tumour.mask.sum() == 4 * 4 * 5 + 1
    assert tumour.start.tolist() == [7, 6, 5]
    assert tumour.mask.shape == (5, 5, 6)


def test_all_components(two_parts: np.ndarray) -> None:
    tumour = select_tumour(two_parts, "all")
    assert tumour.dropped_voxels == 0
    assert tumour.start.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(tumour.mask, two_parts[bounding_box(two_parts)])
