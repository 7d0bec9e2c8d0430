import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sparra.maps.paint import paint


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(0.3, 9), st.floats(0.3, 9))
def test_paint_equals_painting_one_rectangle_after_another(seed: int, width: float, height: float) -> None:
    rng = np.random.default_rng(seed)
    centres, values = rng.uniform(-4, 24, size=(12, 2)), rng.random(12)
    total, count = np.zeros((18, 21)), np.zeros((18, 21))
    for centre, value in zip(centres, values, strict=True):
        columns, rows = (inside(centre[axis], side, n) for axis, side, n in ((0, width, 21), (1, height, 18)))
        window = np.ix_(rows, columns)
        total[window] += value
        count[window] += 1
    with np.errstate(invalid="ignore"):
        expected = total / count
    np.testing.assert_allclose(paint(centres, (width, height), values, (18, 21)), expected, atol=1e-12)


def inside(centre: float, side: float, n: int) -> list[int]:
    """Pixels whose centre lies in an interval; if there is none, the one that it lies in."""
    every = range(-50, 80)
    found = [i for i in every if centre - side / 2 <= i < centre + side / 2]
    found = found or [i for i in every if i - 0.5 <= centre < i + 0.5]
    return [i for i in found if 0 <= i < n]


@given(st.integers(0, 2**31))
def test_boxes_in_three_dimensions_equal_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres, values, size = rng.uniform(-2, 12, size=(6, 3)), rng.random(6), rng.uniform(0.4, 6, size=3)
    total, count = np.zeros((2, 9, 8, 7))
    for centre, value in zip(centres, values, strict=True):
        window = np.ix_(*(inside(centre[axis], size[axis], n) for axis, n in ((2, 9), (1, 8), (0, 7))))
        total[window] += value
        count[window] += 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(paint(centres, size, values, (9, 8, 7)), total / count, atol=1e-12)


def test_tiles_that_touch_leave_no_gap_and_no_overlap() -> None:
    x, y = np.meshgrid(np.arange(4) * 8 + 3.5, np.arange(3) * 8 + 3.5)
    centres, values = np.column_stack([x.ravel(), y.ravel()]), np.arange(12.0)
    expected = np.kron(values.reshape(3, 4), np.ones((8, 8)))
    np.testing.assert_array_equal(paint(centres, (8, 8), values, (24, 32)), expected)
