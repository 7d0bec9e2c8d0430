import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sparra.errors import UserError
from sparra.survival.added_value import added_value, c_difference, standardised_within
from sparra.survival.estimators.coxph import CoxRidge
from sparra.survival.metrics import c_index
from sparra.survival.outcomes import FollowUp, RiskScores


def cohort(n, seed, effect):
    rng = np.random.default_rng(seed)
    age, imaging = rng.normal(60, 10, n), rng.normal(size=n)
    death = rng.exponential(np.exp(-0.05 * (age - 60) - effect * imaging))
    censoring = rng.exponential(2.0, n)
    follow_up = FollowUp(np.minimum(death, censoring), death <= censoring)
    return pd.DataFrame({"age": age}), follow_up, RiskScores(imaging), rng.permutation(np.arange(n) % 5)


def test_a_planted_effect_is_found_with_its_size():
    subjects, follow_up, imaging, fold = cohort(600, 1, effect=0.7)
    found = added_value(subjects, follow_up, imaging, fold=fold)
    assert found.likelihood_ratio.df == 1
    assert found.likelihood_ratio.p < found.p < 1e-10
    assert np.log(found.hazard_ratio) == pytest.approx(0.7, abs=0.15)
    assert found.lower < found.hazard_ratio < found.upper
    assert (found.n_subjects, found.columns) == (600, ("age",))


def test_p_is_uniform_where_imaging_adds_nothing():
    p = np.array(
        [
            added_value(subjects, follow_up, imaging, fold=fold).likelihood_ratio.p
            for subjects, follow_up, imaging, fold in (cohort(90, seed, effect=0.0) for seed in range(200))
        ]
    )
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_the_correction_keeps_the_level_for_out_of_fold_risks():
    """Ridge risks from noise, each subject's by a model without its fold: the plain p is too small, p is not."""
    plain, corrected = [], []
    for seed in range(200):
        rng = np.random.default_rng([5, seed])
        subjects, follow_up, _, fold = cohort(100, seed, effect=0.0)
        features, risk = rng.normal(size=(100, 20)), np.zeros(100)
        for number in range(5):
            inside = fold != number
            risk[~inside] = CoxRidge().fit(features[inside], follow_up[inside], 100.0, 0).risk(features[~inside])
        found = added_value(subjects, follow_up, RiskScores(risk), fold=fold)
        plain.append(found.likelihood_ratio.p < 0.05)
        corrected.append(found.p < 0.05)
    assert np.mean(plain) > 0.09
    assert 0.01 <= np.mean(corrected) <= 0.085


def test_the_scale_of_a_fold_does_not_matter():
    subjects, follow_up, imaging, fold = cohort(120, 3, effect=0.5)
    rescaled = RiskScores(imaging.values * (1.0 + fold) - 10.0 * fold)
    first = added_value(subjects, follow_up, imaging, fold=fold)
    second = added_value(subjects, follow_up, rescaled, fold=fold)
    assert first.likelihood_ratio.statistic == pytest.approx(second.likelihood_ratio.statistic, rel=1e-9)


def test_a_risk_that_is_a_covariate_adds_nothing_and_says_so():
    subjects, follow_up, _, _ = cohort(80, 4, effect=0.0)
    found = added_value(subjects, follow_up, RiskScores(subjects["age"].to_numpy()))
    assert "collinear" in found.likelihood_ratio.reason
    assert np.isnan(found.hazard_ratio)


def test_standardising_within_groups():
    values = standardised_within(np.array([1.0, 3.0, 5.0, 5.0]), np.array(["a", "a", "b", "b"]))
    assert values.tolist() == [-1.0, 1.0, 0.0, 0.0]


def test_the_difference_is_that_of_the_c_indices():
    _, follow_up, imaging, _ = cohort(150, 5, effect=1.0)
    noise = RiskScores(np.random.default_rng(1).normal(size=150))
    found = c_difference(follow_up, noise, imaging, seed=0)
    assert found.first == pytest.approx(c_index(follow_up, noise).value)
    assert found.second == pytest.approx(c_index(follow_up, imaging).value)
    assert found.difference == pytest.approx(found.second - found.first)
    assert 0 < found.lower < found.difference < found.upper
    assert c_difference(follow_up, noise, imaging, seed=0) == found


def test_a_method_does_not_differ_from_itself():
    _, follow_up, imaging, fold = cohort(60, 6, effect=1.0)
    same = c_difference(follow_up, imaging, RiskScores(2 * imaging.values + 1), seed=0, fold=fold)
    assert (same.difference, same.lower, same.upper) == (0.0, 0.0, 0.0)


def test_the_interval_is_paired():
    """Two nearly equal risks: unpaired draws would give an interval as wide as that of C itself."""
    _, follow_up, imaging, _ = cohort(150, 7, effect=0.7)
    close = RiskScores(imaging.values + 0.05 * np.random.default_rng(0).normal(size=150))
    found = c_difference(follow_up, imaging, close, seed=0)
    assert found.upper - found.lower < 0.03


def test_the_interval_covers_the_true_difference():
    """The covariate and a noisy copy of it; the true difference is that of a cohort of 20,000 (in parts)."""
    big = [_noisy(2000, 1000 + seed) for seed in range(10)]
    truth = np.mean([c_difference(*part, seed=0, n_resamples=1).difference for part in big])
    covered = []
    for seed in range(100):
        found = c_difference(*_noisy(100, seed), seed=seed, n_resamples=300)
        covered.append(found.lower <= truth <= found.upper)
    assert 0.87 <= np.mean(covered) <= 1.0


def _noisy(n, seed):
    _, follow_up, imaging, _ = cohort(n, seed, effect=0.8)
    noisy = RiskScores(imaging.values + np.random.default_rng([9, seed]).normal(size=n))
    return follow_up, noisy, imaging


def test_undefined_and_mistaken_input_says_why():
    subjects, follow_up, imaging, fold = cohort(40, 8, effect=0.0)
    censored = FollowUp(follow_up.time, np.zeros(40))
    assert "can be compared" in c_difference(censored, imaging, imaging, seed=0).reason
    with pytest.raises(UserError, match="39 rows of covariates"):
        added_value(subjects.iloc[:-1], follow_up, imaging)
    with pytest.raises(UserError, match="39 risk scores, 40 subjects"):
        c_difference(follow_up, RiskScores(imaging.values[:-1]), imaging, seed=0)
    with pytest.raises(UserError, match="needs risk scores"):
        added_value(subjects, follow_up, imaging.values, fold=fold)
