"""The part of each tile that is tissue, against the area of each tile cut out by itself."""

import numpy as np
import pytest
import shapely
from scipy import ndimage

from sparra.pathology.tiles import _tissue_fractions

PIXEL_UM = 8.0


def outline_of(seed: int) -> shapely.MultiPolygon:
    """A blob straightened as outlines are, so that corners fall on the borders of tiles."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(96, 96)), 6)
    rows, columns = np.nonzero(noise > np.quantile(noise, 0.5))
    squares = shapely.box(columns, rows, columns + 1, rows + 1)
    whole = shapely.union_all(squares)
    scaled = shapely.transform(whole, lambda points: points * PIXEL_UM)
    simple = shapely.simplify(scaled, 6.0)
    parts = [part for part in shapely.get_parts(simple) if part.geom_type == "Polygon"]
    return shapely.MultiPolygon(parts)


@pytest.mark.parametrize("seed", range(10))
def test_every_fraction_is_that_of_the_tile_alone(seed: int) -> None:
    outline = outline_of(seed)
    x = y = np.arange(0.0, 768.0, 64.0)
    tiles = shapely.box(x[None, :], y[:, None], x[None, :] + 64, y[:, None] + 64)
    expected = shapely.area(shapely.intersection(outline, tiles)) / 64**2
    np.testing.assert_allclose(_tissue_fractions(outline, x, y, 64.0), expected, atol=1e-6)
