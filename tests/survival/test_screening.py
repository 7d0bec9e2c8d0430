import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sksurv.datasets import load_gbsg2
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sparra.errors import UserError
from sparra.survival.cox import fit_cox
from sparra.survival.outcomes import FollowUp
from sparra.survival.screening import benjamini_hochberg, univariate_cox

LIFELINES = [
    [1.060354057, 0.9955254061, 0.9972318566],
    [1.046438005, 0.9841054829, 0.996106815],
    [1.074455172, 1.00707785, 0.9983581688],
    [3.488720581e-18, 0.4461579766, 1.486393138e-06],
]


@pytest.mark.parametrize(
    ("ties", "coefficient", "error", "p"), [("breslow", 1.509, 0.4096, 0.00023), ("efron", 1.572, 0.4124, 0.000138)]
)
def test_published_coefficient_of_the_6mp_trial(freireich, ties, coefficient, error, p):
    follow_up, arm = freireich
    result = univariate_cox((arm == "placebo").astype(float)[:, None], follow_up, ties)
    # R: coxph(Surv(time, event) ~ arm, ties = ...).
    assert result.coefficient[0] == pytest.approx(coefficient, abs=5e-4)
    assert result.standard_error[0] == pytest.approx(error, abs=5e-5)
    assert result.p[0] == pytest.approx(p, abs=5e-6)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_all_features_at_once_equal_single_fits(simulate, ties):
    features, follow_up = simulate(90, 12)
    assert len(np.unique(follow_up.time)) < 80
    features[:, 6:] = np.exp(2 * features[:, 6:]) * 1e3  # skewed, and on another scale
    result = univariate_cox(features, follow_up, ties)
    single = [
        CoxPHSurvivalAnalysis(ties=ties).fit(features[:, [column]], follow_up.structured()).coef_[0]
        for column in range(12)
    ]
    np.testing.assert_allclose(result.coefficient * features.std(axis=0), single * features.std(axis=0), atol=1e-6)
    assert result.converged.all()
    assert result.p.argmin() == 0


def test_what_has_no_finite_coefficient_is_flagged():
    follow_up = FollowUp(np.arange(1.0, 21.0), np.arange(20) < 10)
    early = (np.arange(20) < 10).astype(float)
    late_only = np.where(np.arange(20) == 0, 0.0, 1.0)
    table = np.column_stack([early, -np.arange(20.0), np.sin(np.arange(20.0)), np.full(20, 3.0), -early, late_only])
    result = univariate_cox(table, follow_up)
    constant = "does not vary within any risk set"
    assert result.reason.tolist() == ["monotone likelihood"] * 2 + ["", constant] + ["monotone likelihood"] * 2
    assert result.converged.tolist() == [False, False, True, False, False, False]
    for values in (result.coefficient, result.standard_error, result.p, result.hazard_ratio, *result.interval):
        assert np.isnan(values).tolist() == [True, True, False, True, True, True]
    assert result.selected(1.0).tolist() == [False, False, True, False, False, False]


def test_a_feature_of_the_censored_alone_carries_no_information():
    """It differs only between subjects that are never at risk together at an event."""
    follow_up = FollowUp(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 1, 0]))
    result = univariate_cox(np.array([[5.0], [0.0], [0.0], [0.0]]), follow_up)
    assert result.reason.tolist() == ["does not vary within any risk set"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from(["efron", "breslow"]), st.floats(0.3, 4.0))
@example(891, "efron", 3.375)  # its information changes by 2e-5 in the last step
def test_every_coefficient_is_a_maximum_or_flagged(seed, ties, skew):
    """Few subjects, many ties, heavy tails, binary features: none is wrongly called converged."""
    rng = np.random.default_rng(seed)
    follow_up = FollowUp(np.ceil(rng.exponential(4, 15)), np.r_[True, rng.random(14) < 0.6])
    table = np.column_stack([np.exp(skew * rng.normal(size=(15, 4))), rng.random((15, 3)) < 0.3])
    result = univariate_cox(table, follow_up, ties)
    for column in np.flatnonzero(result.converged):
        fit = fit_cox(table[:, [column]], follow_up, ties=ties)
        if fit.reason == "":
            spread = table[:, column].std()
            assert result.coefficient[column] * spread == pytest.approx(fit.coefficient[0] * spread, abs=1e-6)
            assert result.standard_error[column] == pytest.approx(fit.standard_error[0], rel=1e-5)
    assert (result.reason != "the iteration did not settle").all()


def test_wald_values_of_lifelines():
    """lifelines 0.30.3, CoxPHFitter (Efron ties) on one column of GBSG2 at a time: HR, 95 % interval, p."""
    x, y = load_gbsg2()
    result = univariate_cox(x[["pnodes", "age", "progrec"]].to_numpy(dtype=float), FollowUp(y["time"], y["cens"]))
    assert result.hazard_ratio == pytest.approx(LIFELINES[0], rel=1e-6)
    assert result.interval[0] == pytest.approx(LIFELINES[1], rel=1e-6)
    assert result.interval[1] == pytest.approx(LIFELINES[2], rel=1e-6)
    assert result.p == pytest.approx(LIFELINES[3], rel=1e-4)


def test_benjamini_hochberg_of_the_original_paper():
    """Benjamini & Hochberg (1995), section 3.2: of 15 p-values the four smallest are rejected at 0.05."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
    p += [0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    q = benjamini_hochberg(np.array([*p, np.nan]))
    assert (q[:15] < 0.05).sum() == 4
    assert np.isnan(q[15])
    assert q[3] == pytest.approx(0.0095 * 15 / 4)


def test_the_false_discovery_rate_is_kept(simulate):
    """Ten real features of 400: among those selected at 0.1 about a tenth or less are noise."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 400))
    death = rng.exponential(np.exp(-features[:, :10] @ np.full(10, 0.5)))
    fits = univariate_cox(features, FollowUp(death, np.ones(300)))
    chosen = fits.selected(0.1, "benjamini-hochberg")
    assert chosen[:10].sum() > 5
    assert chosen[10:].sum() <= 0.25 * chosen.sum()
    assert chosen.sum() < fits.selected(0.1).sum()
    with pytest.raises(UserError, match="no adjustment called 'holm'"):
        fits.selected(0.1, "holm")


def test_mistakes_are_told(simulate):
    features, follow_up = simulate(30, 3)
    with pytest.raises(UserError, match="finite features"):
        univariate_cox(np.where(features > 1, np.nan, features), follow_up)
    with pytest.raises(UserError, match="does not fit the follow-up of 30"):
        univariate_cox(features[:-1], follow_up)
    with pytest.raises(UserError, match="at least one event"):
        univariate_cox(features, FollowUp(follow_up.time, np.zeros(30)))
    assert univariate_cox(features[:, :0], follow_up).p.shape == (0,)


def test_p_is_uniform_without_signal(simulate):
    features, follow_up = simulate(200, 1000, effect=0.0)
    p = univariate_cox(features, follow_up).p
    assert 0.16 < (p < 0.2).mean() < 0.24
