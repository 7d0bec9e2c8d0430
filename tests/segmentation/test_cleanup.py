import numpy as np

from sparra.segmentation.cleanup import clean_labels
from sparra.segmentation.settings import InferenceSettings

SPACING = (1.0, 1.0, 1.0)


def cleaned(labels: np.ndarray, **changes: float) -> np.ndarray:
    return clean_labels(labels, SPACING, InferenceSettings(**changes))


def test_two_largest_parts_are_kept_and_specks_go() -> None:
    labels = np.zeros((20, 40, 40), np.uint8)
    labels[5:15, 5:15, 5:15] = 1
    labels[5:15, 5:14, 25:35] = 1
    labels[0:3, 30:39, 0:5] = 2  # smaller than the kidneys
    result = cleaned(labels)
    np.testing.assert_array_equal(result > 0, labels == 1)
    assert (cleaned(labels, most_kidneys=1) > 0).sum() == 1000
    labels[5:15, 5:14, 25:35], labels[0:3] = 0, 0
    labels[8:10, 8:10, 25:30] = 1  # 20 of 1000 voxels
    assert (cleaned(labels, least_part=0.1) > 0).sum() == 1000


def test_small_masses_become_kidney_and_thin_cysts_on_a_tumour_become_tumour() -> None:
    labels = np.zeros((30, 40, 40), np.uint8)
    labels[2:28, 2:38, 2:38] = 1
    labels[8:20, 8:20, 8:20] = 2
    labels[8:20, 8:20, 20:22] = 3  # a shell
    labels[8:20, 24:34, 8:20] = 3  # a cyst of its own
    labels[4:6, 4:6, 30:32] = 2  # a speck of 8 mm³
    result = cleaned(labels)
    assert (result[8:20, 8:20, 8:22] == 2).all()
    assert (result[8:20, 24:34, 8:20] == 3).all()
    assert (result[4:6, 4:6, 30:32] == 1).all()
    assert ((result > 0) == (labels > 0)).all()


def test_a_thick_cyst_beside_a_tumour_stays() -> None:
    labels = np.zeros((20, 20, 40), np.uint8)
    labels[4:16, 4:16, 4:16], labels[4:16, 4:16, 16:28] = 2, 3
    np.testing.assert_array_equal(cleaned(labels), labels)


def test_nothing_stays_nothing() -> None:
    empty = np.zeros((4, 5, 6), np.uint8)
    np.testing.assert_array_equal(cleaned(empty), empty)
