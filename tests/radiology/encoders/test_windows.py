import numpy as np
import pytest

from sparra.radiology.encoders.windows import SOFT_TISSUE, foreground_window, into_window


def published(scan: np.ndarray) -> np.ndarray:
    """Step by step as SegVol's description has it: threshold, percentiles, clip, z-score, then 0 to 1."""
    values = scan.astype(np.float64).ravel()
    foreground = values[values > values.mean()]
    low, high = np.percentile(foreground, [0.05, 99.95])
    scores = (np.clip(scan.astype(np.float64), low, high) - foreground.mean()) / max(foreground.std(), 1e-8)
    scores = scores - scores.min()
    return scores / max(scores.max(), 1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_window_equals_the_published_steps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scan = np.rint(rng.choice([-1000, -100, 40, 60, 900], (9, 20, 30)) + rng.normal(0, 30, (9, 20, 30)))
    scan = scan.astype(np.float32)
    np.testing.assert_allclose(into_window(scan, foreground_window(scan)), published(scan), atol=1e-6)


def test_a_scan_of_one_value_and_one_with_holes_have_a_window() -> None:
    low, high = foreground_window(np.full((2, 3, 3), 40, np.float32))
    assert low < high
    scan = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    expected = foreground_window(scan)
    assert foreground_window(np.concatenate([scan, np.full((1, 3, 3), np.nan, np.float32)])) == expected


def test_soft_tissue_is_level_40_width_400() -> None:
    hu = np.array([-1000, -160, 40, 240, 3000], np.float32)
    np.testing.assert_allclose(into_window(hu, SOFT_TISSUE), [0, 0, 0.5, 1, 1])
