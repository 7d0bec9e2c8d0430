import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from sparra.maps.agreement import auroc, mean_over_pairs, planted_overlap, spearman, top_overlap

values = st.lists(st.integers(0, 6), min_size=5, max_size=30)


@given(values, st.integers(0, 2**31))
def test_spearman_and_auroc_equal_those_of_scipy_and_sklearn(first: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.array(first, float), rng.permutation(np.array(first, float))
    if np.ptp(x) > 0:
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    else:
        assert np.isnan(spearman(x, y))
    planted = rng.random(len(x)) < 0.4
    if planted.any() and not planted.all():
        assert auroc(x, planted) == pytest.approx(roc_auc_score(planted, x))
    else:
        assert np.isnan(auroc(x, planted))


def test_overlaps_of_known_rankings() -> None:
    x = np.arange(20.0)
    assert top_overlap(x, x) == 1
    assert top_overlap(x, -x) == 0
    assert mean_over_pairs([x, x, -x]) == pytest.approx((-1 / 3, 1 / 3))
    assert np.isnan(mean_over_pairs([x])).all()
    planted = x >= 16
    assert planted_overlap(x, planted) == 1
    assert planted_overlap(-x, planted) == 0
    # All tied: what a random choice of four of twenty holds on average.
    assert planted_overlap(np.zeros(20), planted) == pytest.approx(0.2)
