import numpy as np
import pytest

from sparra.errors import UserError
from sparra.radiology.radiomics.discretisation import fixed_bin_number, fixed_bin_size, resegment

VOLUME = np.array([[[-1000.0, -500.0, -499.0, 0.0], [24.0, 25.0, 400.0, 401.0]]])
EVERY = np.ones(VOLUME.shape, bool)


def test_resegmentation_keeps_the_range_and_both_its_ends() -> None:
    kept = resegment(VOLUME, EVERY, (-500, 400))
    assert VOLUME[kept].tolist() == [-500, -499, 0, 24, 25, 400]


def test_outliers_are_told_from_the_whole_mask() -> None:
    values = np.r_[np.zeros(20), 100.0].reshape(1, 3, 7)
    kept = resegment(values, np.ones(values.shape, bool), outlier_sigma=3)
    assert kept.sum() == 20
    both = resegment(values, np.ones(values.shape, bool), (-1, 200), 3)
    assert both.sum() == 20


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(UserError, match="no voxel of the region is left"):
        resegment(VOLUME, EVERY, (1000, 2000))


def test_fixed_bin_size_begins_at_the_range_or_at_the_minimum() -> None:
    inside = resegment(VOLUME, EVERY, (-500, 400))
    levels, highest = fixed_bin_size(VOLUME, inside, 25, -500)
    assert levels.ravel().tolist() == [0, 1, 1, 21, 21, 22, 37, 0]
    assert highest == 37
    inside = VOLUME >= 24
    levels, highest = fixed_bin_size(VOLUME, inside, 25)
    assert levels[inside].tolist() == [1, 1, 16, 16]


def test_fixed_bin_number_divides_the_range() -> None:
    volume = np.arange(0, 101, 10.0).reshape(1, 1, -1)
    levels, highest = fixed_bin_number(volume, np.ones(volume.shape, bool), 4)
    assert levels.ravel().tolist() == [1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4]
    assert highest == 4
    levels, highest = fixed_bin_number(np.full((1, 1, 3), 5.0), np.array([[[True, False, True]]]), 4)
    assert (levels.ravel().tolist(), highest) == ([1, 0, 1], 1)
