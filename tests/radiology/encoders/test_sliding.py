import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparra.radiology.encoders.sliding import encode_windows, window_starts


@given(st.integers(1, 12), st.integers(0, 60), st.floats(0, 0.95))
def test_windows_cover_everything_and_end_flush(window: int, more: int, overlap: float) -> None:
    starts = window_starts(window + more, window, overlap)
    covered = np.zeros(window + more, bool)
    for start in starts:
        covered[start : start + window] = True
    assert covered.all()
    assert starts[0] == 0
    assert starts[-1] == more
    assert starts == sorted(set(starts))


def test_the_papers_windows() -> None:
    """32 × 256 × 256 voxels, a quarter overlap, in tokens of 4 × 16 × 16."""
    assert window_starts(66, 8, 0.25) == [0, 6, 12, 18, 24, 30, 36, 42, 48, 54, 58]
    assert window_starts(17, 16, 0.25) == [0, 1]


@pytest.mark.parametrize("batch", [1, 3])
def test_overlapping_windows_are_averaged(batch: int) -> None:
    """Each window says something of its own, so that only the right average comes out right."""
    tokens, window = (7, 6, 9), (3, 2, 4)
    rng = np.random.default_rng(0)
    said: dict[tuple[int, int, int], np.ndarray] = {}

    def read(start: tuple[int, int, int]) -> np.ndarray:
        return np.array(start, np.float32)

    def encode(inputs: np.ndarray) -> np.ndarray:
        starts = [tuple(start) for start in inputs.astype(int).tolist()]
        return np.stack([said.setdefault(start, rng.normal(size=(24, 5)).astype(np.float32)) for start in starts])

    layers = dict(encode_windows(tokens, window, 0.4, batch, read, encode))
    assert sorted(layers) == list(range(7))
    total, count = np.zeros((*tokens, 5)), np.zeros((*tokens, 1))
    for (z, y, x), values in said.items():
        place = np.s_[z : z + 3, y : y + 2, x : x + 4]
        total[place] += values.reshape(3, 2, 4, 5)
        count[place] += 1
    np.testing.assert_allclose(np.stack([layers[z] for z in range(7)]), total / count, rtol=1e-5, atol=1e-6)
