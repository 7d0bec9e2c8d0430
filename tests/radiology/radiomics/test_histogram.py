import numpy as np
import pytest
from scipy import stats

from sparra.radiology.radiomics.histogram import HISTOGRAM_IBSI_IDS, histogram_features


def test_features_agree_with_numpy() -> None:
    rng = np.random.default_rng(1)
    levels = np.where(rng.random((6, 300)) < 0.2, 0, rng.binomial(9, 0.4, (6, 300)) + 1)
    found = histogram_features(levels, 10)
    assert tuple(found) == tuple(HISTOGRAM_IBSI_IDS)
    for row, patch in enumerate(levels):
        x = patch[patch > 0]
        counts = np.bincount(x, minlength=11)[1:]
        p = counts / counts.sum()
        gradient = np.r_[counts[1] - counts[0], (counts[2:] - counts[:-2]) / 2, counts[-1] - counts[-2]]
        expected = {
            "ih_mean": x.mean(),
            "ih_skew": stats.skew(x),
            "ih_mode": counts.argmax() + 1,
            "ih_entropy": stats.entropy(p, base=2),
            "ih_uniformity": (p**2).sum(),
            "ih_max_grad": gradient.max(),
            "ih_max_grad_g": gradient.argmax() + 1,
            "ih_min_grad": gradient.min(),
            "ih_min_grad_g": gradient.argmin() + 1,
        }
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(value), name


def test_of_equal_modes_the_one_nearest_the_mean_counts() -> None:
    found = histogram_features(np.array([[1, 1, 4, 4, 5, 5, 5, 1]]), 5)
    assert found["ih_mode"][0] == 5
