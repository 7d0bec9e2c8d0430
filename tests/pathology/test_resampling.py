import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparra.pathology.resampling import averaged, resample

PICTURE = np.random.default_rng(0).integers(0, 256, (331, 347, 3), dtype=np.uint8)


def resampled(first: tuple[float, float], span: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    out = np.empty((size[1], size[0], 3), np.uint8)
    resample(PICTURE, first, span, out)
    return out


@pytest.mark.parametrize("factors", [(1, 1), (2, 2), (3, 2), (4, 4), (17, 19)])
def test_means_are_pillows(factors: tuple[int, int]) -> None:
    expected = np.asarray(Image.fromarray(PICTURE).reduce(factors)).astype(int)
    found = averaged(PICTURE, factors).astype(int)
    # Pillow averages what is left over at the end, and its division is short of exact but for powers of two.
    difference = found - expected[: len(found), : found.shape[1]]
    assert np.abs(difference).max() <= (factors not in [(1, 1), (2, 2), (4, 4)])


def test_pixels_on_the_grid_are_taken_as_they_are() -> None:
    assert np.array_equal(resampled((7.0, 11.0), (300.0, 290.0), (300, 290)), PICTURE[11:301, 7:307])


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 40),
    st.floats(0, 40),
    st.floats(0.3, 1.9),
    st.floats(0.3, 1.9),
    st.integers(1, 120),
    st.integers(1, 120),
)
def test_lanczos_is_pillows(x: float, y: float, scale_x: float, scale_y: float, width: int, height: int) -> None:
    span = (width * scale_x, height * scale_y)
    box = (x, y, x + span[0], y + span[1])
    expected = Image.fromarray(PICTURE).resize((width, height), Image.Resampling.LANCZOS, box=box)
    assert np.abs(resampled((x, y), span, (width, height)) - np.asarray(expected).astype(int)).max() <= 1


def lanczos_matrix(first: float, span: float, size: int, length: int) -> np.ndarray:
    """The filter written out in double precision, shape (size, length)."""
    scale = span / size
    distance = (np.arange(length) + 0.5 - first - (np.arange(size)[:, None] + 0.5) * scale) / max(scale, 1.0)
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("span", [253.27, 256.0, 299.7, 240.5, 130.0])
def test_lanczos_is_its_formula(span: float) -> None:
    first, size = (21.3, 10.8), (200, 210)
    down, across = (lanczos_matrix(first[1 - a], span, size[1 - a], PICTURE.shape[a]) for a in (0, 1))
    smooth = np.asarray(Image.fromarray(PICTURE).reduce(4).resize((347, 331), Image.Resampling.BICUBIC))
    expected = np.moveaxis(down @ np.moveaxis(smooth.astype(float), -1, 0) @ across.T, 0, -1)
    out = np.empty((210, 200, 3), np.uint8)
    resample(smooth, first, (span, span), out)
    # Each of the two steps is rounded to whole grey levels.
    assert np.abs(out - np.clip(expected, 0, 255)).max() <= 1.25
    assert np.abs((out - np.clip(expected, 0, 255)).mean()) < 0.05


@pytest.mark.parametrize("cycles", [0.05, 0.15, 0.25, 0.4])
def test_frequencies_below_the_new_limit_are_kept_and_those_above_are_gone(cycles: float) -> None:
    """A wave along x, reduced 1.6 fold: 0.3125 cycles a pixel is the highest that the result can hold."""
    wave = 127.5 + 100 * np.cos(2 * np.pi * cycles * np.arange(400))
    picture = np.broadcast_to(np.rint(wave)[None, :, None], (40, 400, 3)).astype(np.uint8)
    out = np.empty((20, 200, 3), np.uint8)
    resample(np.ascontiguousarray(picture), (20.0, 4.0), (320.0, 32.0), out)
    amplitude = np.sqrt(2) * (out[10, 20:-20, 0] - 127.5).std() / 100
    assert amplitude == pytest.approx({0.05: 1.0, 0.15: 1.0, 0.25: 0.87, 0.4: 0.1}[cycles], abs=0.06)


def test_a_flat_picture_stays_flat() -> None:
    flat, out = np.full((200, 200, 3), 255, np.uint8), np.empty((77, 77, 3), np.uint8)
    for span in (60.0, 77.0, 120.3, 199.9):
        resample(flat, (0.0, 0.0), (span, span), out)
        assert (out == 255).all()
