"""Masks by strips against the same on the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage

from sparra.pathology import masks
from sparra.pathology.masks import ConnectedParts, closed, drop_small, fill_small, grown, strips, without
from sparra.pathology.outline import outline_of
from sparra.pathology.settings import SlideSettings
from sparra.pathology.tissue import find_tissue
from sparra.simulate.settings import SimulationSettings
from sparra.simulate.slide import simulate_slide


@pytest.fixture
def narrow_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "STRIP_PX", 1)
    monkeypatch.setattr(masks, "LEAST_ROWS", 3)


def random_mask(rows: int, columns: int, share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, columns)) < share


SHARES = st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.9, 1.0])
MASKS = st.builds(random_mask, st.integers(1, 25), st.integers(1, 12), SHARES, st.integers(0, 99))


def test_strips_cover_each_row_once_and_hold_no_more_than_asked() -> None:
    for shape in ((1, 1), (7, 10**7), (4001, 600), (3000, 9000)):
        rows = [row for part in strips(shape) for row in range(part.start, part.stop)]
        assert rows == list(range(shape[0]))
        for part in strips(shape):
            assert part.stop - part.start <= max(masks.LEAST_ROWS, masks.STRIP_PX // shape[1])


@hypothesis_settings(max_examples=200, deadline=None)
@given(MASKS)
def test_parts_by_strips_are_those_of_the_whole(mask: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "STRIP_PX", 1)
        patch.setattr(masks, "LEAST_ROWS", 3)
        parts = ConnectedParts(mask)
        expected, count = ndimage.label(mask)
        assert np.array_equal(np.concatenate([numbers for _, numbers in parts]), expected)
        assert parts.areas[1:].tolist() == np.bincount(expected.ravel(), minlength=count + 1)[1:].tolist()
        pixels = np.argwhere(np.ones_like(mask))[::-1]
        assert np.array_equal(parts.at(pixels), expected[pixels[:, 0], pixels[:, 1]])


@hypothesis_settings(max_examples=100, deadline=None)
@given(MASKS, st.integers(0, 20))
def test_small_parts_go_and_no_others(mask: np.ndarray, area: int) -> None:
    labels, count = ndimage.label(mask)
    expected = np.zeros_like(mask)
    for part in range(1, count + 1):
        if (labels == part).sum() >= area:
            expected |= labels == part
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "STRIP_PX", 1)
        patch.setattr(masks, "LEAST_ROWS", 3)
        by_strips, holes = mask.copy(), ~mask
        drop_small(by_strips, area)
        fill_small(holes, area)
        assert np.array_equal(by_strips, expected)
        assert np.array_equal(holes, ~expected)
    whole = mask.copy()
    drop_small(whole, area)
    assert np.array_equal(whole, expected)


@given(MASKS, st.integers(0, 99))
def test_what_is_without_another(mask: np.ndarray, seed: int) -> None:
    other = random_mask(*mask.shape, 0.5, seed)
    assert np.array_equal(without(mask, other), mask & ~other)


def test_a_disc_grows_and_closes_by_its_radius() -> None:
    mask = np.zeros((31, 31), dtype=bool)
    mask[15, 15] = True
    rows, columns = np.ogrid[:31, :31]
    assert np.array_equal(grown(mask, 5.0), (rows - 15) ** 2 + (columns - 15) ** 2 <= 25)
    gaps = np.ones((40, 40), dtype=bool)
    gaps[:, 10:13] = False
    gaps[:, 20:35] = False
    filled = closed(gaps, 3.0)
    assert filled[5:-5, 10:13].all()
    assert not filled[5:-5, 21:34].any()
    # The border of the slide is no gap.
    assert filled[gaps].all()


@pytest.mark.usefixtures("narrow_strips")
def test_tissue_does_not_depend_on_the_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = SimulationSettings(slide_um=1280.0, slide_mpp=1.0, pen_marks=3)
    picture = simulate_slide(0.0, drawn, np.random.default_rng(3)).rgb[::4, ::4]
    settings = SlideSettings(tissue_mpp=4.0, smallest_tissue_um2=2000)
    by_strips = find_tissue(picture, 4.0, settings)
    monkeypatch.undo()
    whole = find_tissue(picture, 4.0, settings)
    assert len(list(strips(picture.shape))) == 1
    assert by_strips.area_mm2 > 0.1
    assert by_strips.left_out
    assert by_strips == whole


@pytest.mark.usefixtures("narrow_strips")
def test_outlines_by_strips_keep_their_order_and_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = random_mask(40, 30, 0.55, seed=4)
    by_strips = outline_of(mask, (2.0, 2.0))
    monkeypatch.undo()
    assert by_strips == outline_of(mask, (2.0, 2.0))
