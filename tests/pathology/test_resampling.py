import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparra.pathology.resampling import resample

PICTURE = np.random.default_rng(0).integers(0, 256, (331, 347, 3), dtype=np.uint8)


def resampled(first: tuple[float, float], span: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    out = np.empty((size[1], size[0], 3), np.uint8)
    resample(PICTURE, first, span, out)
    return out


@pytest.mark.parametrize("factors", [(1, 1), (2, 2), (3, 2), (4, 4), (17, 19)])
def test_whole_factors_are_means_as_pillow_takes_them(factors: tuple[int, int]) -> None:
    size = (300 // factors[0], 300 // factors[1])
    box = (7, 11, 7 + size[0] * factors[0], 11 + size[1] * factors[1])
    span = (float(box[2] - box[0]), float(box[3] - box[1]))
    expected = np.asarray(Image.fromarray(PICTURE).reduce(factors, box=box)).astype(int)
    # Pillow's own division is short of exact where the factors are no powers of two.
    assert np.abs(resampled((7.0, 11.0), span, size) - expected).max() <= (factors not in [(1, 1), (2, 2), (4, 4)])


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


@pytest.mark.parametrize("span", [506.5 / 2, 256.0, 299.7, 311.0])
def test_about_two_is_means_and_then_lanczos(span: float) -> None:
    first, size = (21.3, 10.8), (128, 128)
    means = Image.fromarray(PICTURE).reduce(2, box=(1, 0, 347, 330))
    half = ((first[0] - 1) / 2, first[1] / 2)
    expected = means.resize(size, Image.Resampling.LANCZOS, box=(*half, half[0] + span / 2, half[1] + span / 2))
    assert np.abs(resampled(first, (span, span), size) - np.asarray(expected).astype(int)).max() <= 1


def test_a_flat_picture_stays_flat() -> None:
    flat, out = np.full((200, 200, 3), 255, np.uint8), np.empty((77, 77, 3), np.uint8)
    for span in (60.0, 77.0, 120.3, 199.9):
        resample(flat, (0.0, 0.0), (span, span), out)
        assert (out == 255).all()
