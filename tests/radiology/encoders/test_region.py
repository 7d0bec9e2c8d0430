from itertools import permutations, product

import numpy as np
import pytest

from sparra.radiology.encoders.region import Orientation
from sparra.radiology.geometry import Grid

from ..conftest import rotation

DIRECTIONS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
TURNS = [
    np.diag(signs).astype(float)[:, list(order)] @ rotation(0.1, -0.15, 0.2)
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


@pytest.mark.parametrize("towards", ["SAR", "SPL", "SLA"])
def test_axes_of_the_turned_array_point_where_they_should(towards: str) -> None:
    for direction in TURNS:
        grid = Grid((5, 6, 7), (1.0, 1.0, 1.0), (3.0, -4.0, 5.0), direction)
        orientation = Orientation.of(grid, towards)
        positions = grid.to_mm(np.moveaxis(np.indices((7, 6, 5))[::-1], 0, -1))
        turned = np.stack([orientation.turn(positions[..., axis]) for axis in range(3)], axis=-1)
        for axis, letter in enumerate(towards):
            step = np.diff(turned, axis=axis).reshape(-1, 3)[0]
            assert step @ np.array(DIRECTIONS[letter]) > 0.9


def test_turned_indices_come_back() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(7, 6, 5))
    for direction in TURNS[::5]:
        orientation = Orientation.of(Grid((5, 6, 7), (1.0,) * 3, (0.0,) * 3, direction), "SAR")
        turned = orientation.turn(array)
        assert orientation.turn_size(array.shape) == turned.shape
        points = np.argwhere(np.ones(turned.shape, bool))
        original = orientation.back(points.astype(float), array.shape).astype(int)
        np.testing.assert_array_equal(array[tuple(original.T)], turned[tuple(points.T)])
        z, y, x = array.shape
        lengths = turned.shape
        assert orientation.back_size((lengths[0], lengths[1], lengths[2])) == (x, y, z)
