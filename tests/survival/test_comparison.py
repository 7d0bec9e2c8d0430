import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sksurv.metrics import concordance_index_censored

from sparra.errors import UserError
from sparra.survival.comparison import compare_predictions, corrected_resampled_t_test, holm


def predictions(skill, n=150, folds=5, seed=0, noise_seed=1, repeats=1):
    """Out-of-fold risks that follow the hazard as far as `skill` says, folds on scales of their own."""
    rng, noise = np.random.default_rng(seed), np.random.default_rng(noise_seed)
    hazard = rng.normal(size=n)
    time = rng.exponential(np.exp(-hazard))
    event = rng.random(n) < 0.7
    tables = []
    for repeat in range(repeats):
        fold = rng.permutation(n) % folds
        risk = skill * hazard + (1 - skill) * noise.normal(size=n)
        rows = {"fold": fold + folds * repeat, "subject_id": [f"P{i}" for i in range(n)], "time": time, "event": event}
        tables.append(pd.DataFrame(rows | {"risk": risk * (1 + fold) + 10 * fold}))
    return pd.concat(tables, ignore_index=True)


def test_estimates_are_the_mean_within_folds():
    one, other = predictions(0.9), predictions(0.2, noise_seed=2)
    found = compare_predictions(one, other, test_to_train=0.25, seed=0)
    by_hand = [
        np.mean([concordance_index_censored(f["event"], f["time"], f["risk"])[0] for _, f in table.groupby("fold")])
        for table in (one, other)
    ]
    assert (found.first, found.second) == pytest.approx(by_hand, abs=1e-12)
    assert found.difference == pytest.approx(by_hand[0] - by_hand[1], abs=1e-12)
    assert (found.n_patients, found.n_folds, found.reason) == (150, 5, "")
    assert 0 < found.lower < found.difference < found.upper
    assert found.p_bootstrap < 0.01
    assert found.p < 0.05


def test_turned_round_it_is_the_negative():
    one, other = predictions(0.8), predictions(0.5, noise_seed=2)
    there = compare_predictions(one, other, test_to_train=0.25, seed=0)
    back = compare_predictions(other, one, test_to_train=0.25, seed=0)
    assert back.difference == pytest.approx(-there.difference)
    assert (back.lower, back.upper) == pytest.approx((-there.upper, -there.lower))
    assert back.p == pytest.approx(there.p)


def test_only_common_patients_count_and_order_does_not():
    one, other = predictions(0.8), predictions(0.5, noise_seed=2)
    part = other[other["subject_id"].isin({f"P{i}" for i in range(100)})].sample(frac=1, random_state=0)
    found = compare_predictions(one, part, test_to_train=0.25, seed=0)
    cut = compare_predictions(one[one["subject_id"].isin(part["subject_id"])], part, test_to_train=0.25, seed=0)
    assert found == cut
    assert found.n_patients == 100


def test_a_patient_of_several_repeats_is_one_patient():
    one, other = predictions(0.6, repeats=4), predictions(0.4, noise_seed=2, repeats=4)
    found = compare_predictions(one, other, test_to_train=0.25, seed=0)
    assert (found.n_patients, found.n_folds) == (150, 20)
    # Copies of one repeat hold no more patients than it, so the interval must not narrow.
    single = [table[table["fold"] < 5] for table in (one, other)]
    copied = [pd.concat([t.assign(fold=t["fold"] + 5 * k) for k in range(4)]) for t in single]
    once = compare_predictions(*single, test_to_train=0.25, seed=0)
    four = compare_predictions(*copied, test_to_train=0.25, seed=0)
    assert (four.lower, four.upper) == pytest.approx((once.lower, once.upper))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    # Both methods are noise: the true difference is 0, and an interval of 95 % should miss it about once in 20.
    covered = 0
    for seed in range(60):
        one, other = (predictions(0.0, 80, 2, seed, 1000 * k + seed) for k in (1, 2))
        found = compare_predictions(one, other, test_to_train=1.0, seed=seed, n_resamples=300)
        covered += found.lower <= 0 <= found.upper
    assert covered >= 51  # P(fewer | 95 %) < 0.1 %


def test_equal_methods_do_not_differ():
    one = predictions(0.5)
    found = compare_predictions(one, one.assign(risk=one["risk"] * 2 + 1), test_to_train=0.25, seed=0)
    assert (found.difference, found.lower, found.upper, found.p_bootstrap) == (0, 0, 0, 1)
    assert np.isnan(found.p)
    assert found.reason == "the methods rank alike in every fold"


def test_undefined_comparisons_say_why():
    one = predictions(0.5)
    strangers = one.assign(subject_id="Q" + one["subject_id"])
    assert "no patient in common" in compare_predictions(one, strangers, test_to_train=1, seed=0).reason
    censored = one.assign(event=False)
    assert "can be compared" in compare_predictions(censored, one, test_to_train=1, seed=0).reason
    with pytest.raises(UserError, match="twice in a fold"):
        compare_predictions(pd.concat([one, one]), one, test_to_train=1, seed=0)


def test_corrected_t_reduces_to_the_plain_one_and_follows_the_formula():
    rng = np.random.default_rng(0)
    d = rng.normal(0.02, 0.03, 10)
    t, p, reason = corrected_resampled_t_test(d, 0.0)
    assert (t, p) == pytest.approx(stats.ttest_1samp(d, 0.0))
    assert reason == ""
    corrected, p_corrected, _ = corrected_resampled_t_test(d, 0.25)
    # (1/10 + 1/4) over 1/10 inflates the variance 3.5-fold.
    assert corrected == pytest.approx(t / np.sqrt(3.5))
    assert p_corrected > p


def test_corrected_t_keeps_its_level_where_the_plain_test_does_not():
    # Differences over J folds with correlation rho = n_test/(n_test + n_train), as the correction assumes.
    rng = np.random.default_rng(1)
    rho, n = 0.2, 15
    shared = rng.normal(size=(2000, 1)) * np.sqrt(rho) + rng.normal(size=(2000, n)) * np.sqrt(1 - rho)
    plain = np.mean([corrected_resampled_t_test(d, 0.0)[1] < 0.05 for d in shared])
    corrected = np.mean([corrected_resampled_t_test(d, 0.25)[1] < 0.05 for d in shared])
    assert plain > 0.25
    assert 0.03 < corrected < 0.07


def test_holm_on_a_worked_example():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert holm([]).size == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p) - 1e-15).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
