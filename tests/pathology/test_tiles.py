from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparra.errors import UserError
from sparra.pathology.outline import outline_of
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.pathology.tiles import place_tiles, read_tiles
from sparra.pathology.tissue import Tissue

from .conftest import WriteSlide


def tissue_of(mask: np.ndarray, mpp: float) -> Tissue:
    """Tissue outlined along the very edges of the mask's pixels."""
    return Tissue(outline_of(mask, (mpp, mpp)), mpp)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    tile=st.integers(16, 90),
    overlap=st.integers(0, 15),
    mpp=st.integers(2, 9),
    minimum=st.floats(0.05, 1.0),
)
def test_kept_tiles_and_fractions_agree_with_counting(
    seed: int, tile: int, overlap: int, mpp: int, minimum: float
) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random((23, 31)) < generator.random()
    width, height = 31 * mpp - mpp // 2, 23 * mpp
    chosen = SlideSettings(tile_um=tile, overlap_um=overlap, minimum_tissue=minimum)
    grid = place_tiles(tissue_of(mask, float(mpp)), (width, height), chosen)

    micrometres = np.pad(mask.repeat(mpp, axis=0).repeat(mpp, axis=1), ((0, 200), (0, 200)))
    counted = {}
    for y in range(0, height, tile - overlap):
        for x in range(0, width, tile - overlap):
            fraction = micrometres[y : y + tile, x : x + tile].mean()
            if fraction >= minimum:
                counted[(x, y)] = fraction
    found = {tuple(corner): value for corner, value in zip(grid.corners_um.tolist(), grid.tissue_fraction)}  # noqa: B905
    assert found.keys() == counted.keys()
    assert np.allclose([found[key] for key in counted], list(counted.values()), atol=1e-6)
    assert np.allclose(grid.centres_um - grid.corners_um, tile / 2)


def test_fractions_of_pixels_count_in_part() -> None:
    mask = np.zeros((10, 10), bool)
    mask[:, :4] = True  # 30 µm of 75
    grid = place_tiles(tissue_of(mask, 7.5), (75, 75), SlideSettings(tile_um=50, minimum_tissue=0.01))
    assert grid.corners_um.tolist() == [[0, 0], [0, 50]]
    assert grid.tissue_fraction == pytest.approx([0.6, 0.3])


@pytest.fixture
def coloured(write_slide: WriteSlide) -> Slide:
    """A 5 x 4 checkerboard of 32-µm squares, each of its own colour."""
    colours = np.random.default_rng(1).integers(20, 235, (4, 5, 3), dtype=np.uint8)
    return Slide(write_slide(colours.repeat(128, axis=0).repeat(128, axis=1), 0.25))


SMALL = SlideSettings(tile_um=32, minimum_tissue=0.5, batch_size=3)


def test_tiles_show_the_place_that_their_position_names(coloured: Slide) -> None:
    mask = np.zeros((16, 20), bool)
    mask[4:12, 4:16] = True
    grid = place_tiles(tissue_of(mask, 8.0), coloured.size_um, SMALL)
    assert grid.centres_um.tolist() == [[x, y] for y in (48, 80) for x in (48, 80, 112)]
    tiles = np.concatenate([batch.copy() for batch in read_tiles(coloured, grid, SMALL)])
    for tile, (x, y) in zip(tiles, grid.centres_um, strict=True):
        colour = coloured.read_um(x - 1, y - 1, 2, 4)[2, 2]
        assert (tile[3:-3, 3:-3] == colour).all()
        # A tile one pixel off would show the next square in its last row or column.
        assert np.abs(tile[1:-1, 1:-1].astype(int) - colour).max() < 25


def test_threads_and_batches_change_nothing(coloured: Slide) -> None:
    grid = place_tiles(tissue_of(np.ones((16, 20), bool), 8.0), coloured.size_um, SMALL)
    results = []
    for threads, batch in ((1, 1), (1, 64), (4, 3), (3, 7)):
        chosen = SMALL.model_copy(update={"reading_threads": threads, "batch_size": batch})
        batches = [tiles.copy() for tiles in read_tiles(coloured, grid, chosen)]
        assert all(len(tiles) == batch for tiles in batches[:-1])
        results.append(np.concatenate(batches))
    assert results[0].shape == (20, 64, 64, 3)
    assert all(np.array_equal(result, results[0]) for result in results)


def test_no_more_than_two_batches_are_read_ahead() -> None:
    reads = []

    def read_um_into(x_um: float, y_um: float, size_um: float, tile: np.ndarray) -> None:
        reads.append((x_um, y_um))

    grid = place_tiles(tissue_of(np.ones((40, 40), bool), 8.0), (320, 320), SMALL)
    batches = read_tiles(SimpleNamespace(read_um_into=read_um_into), grid, SMALL)
    for done in range(1, 5):
        next(batches)
        assert done * 3 <= len(reads) <= (done + 1) * 3
    batches.close()
    assert len(reads) <= 15


def test_the_memory_of_two_batches_serves_all(coloured: Slide) -> None:
    grid = place_tiles(tissue_of(np.ones((16, 20), bool), 8.0), coloured.size_um, SMALL)
    held = {tiles.__array_interface__["data"][0] for tiles in read_tiles(coloured, grid, SMALL)}
    assert len(grid) == 20
    assert len(held) == 2


def test_no_tiles_are_no_batches(coloured: Slide) -> None:
    grid = place_tiles(tissue_of(np.zeros((16, 20), bool), 8.0), coloured.size_um, SMALL)
    assert list(read_tiles(coloured, grid, SMALL)) == []


def test_damage_met_while_reading_is_a_user_error() -> None:
    def read_um_into(x_um: float, y_um: float, size_um: float, tile: np.ndarray) -> None:
        raise UserError("the slide is damaged")

    grid = place_tiles(tissue_of(np.ones((40, 40), bool), 8.0), (320, 320), SMALL)
    with pytest.raises(UserError, match="damaged"):
        next(read_tiles(SimpleNamespace(read_um_into=read_um_into), grid, SMALL))
