from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sksurv.datasets import load_whas500

from sparra.survival.outcomes import FollowUp

Simulate = Callable[..., tuple[NDArray[np.float64], FollowUp]]


@pytest.fixture
def simulate() -> Simulate:
    """Features of which the first carries the log hazard; ties and censoring included."""

    def draw(n: int, p: int, seed: int = 0, effect: float = 1.0) -> tuple[NDArray[np.float64], FollowUp]:
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(n, p))
        death = rng.exponential(np.exp(-effect * features[:, 0]))
        censoring = rng.exponential(1.5, n)
        time = np.ceil(np.minimum(death, censoring) * 100)
        return features, FollowUp(time, death <= censoring)

    return draw


@pytest.fixture
def whas500() -> tuple[NDArray[np.float64], FollowUp]:
    """scikit-survival's heart-attack cohort of 500, shuffled: it comes sorted by year."""
    features, outcome = load_whas500()
    order = np.random.default_rng(0).permutation(500)
    return features.astype(float).to_numpy()[order], FollowUp(outcome["lenfol"], outcome["fstat"])[order]


@pytest.fixture
def freireich() -> tuple[FollowUp, NDArray[np.str_]]:
    """Remission in weeks, 6-MP against placebo: Freireich et al., Blood 21 (1963)."""
    mp = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
    relapsed = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    placebo = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
    follow_up = FollowUp(np.array(mp + placebo), np.array(relapsed + [1] * 21))
    return follow_up, np.array(["6-MP"] * 21 + ["placebo"] * 21)
