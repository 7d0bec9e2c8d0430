import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.datasets import load_gbsg2
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sparra.errors import UserError
from sparra.survival.cox import fit_cox, likelihood_ratio
from sparra.survival.outcomes import FollowUp


def test_published_coefficients_of_the_german_breast_cancer_study():
    """R: coxph(Surv(time, cens) ~ ., data = TH.data::GBSG2), Efron ties; tgrade by polynomial contrasts."""
    x, y = load_gbsg2()
    linear, quadratic = x["tgrade"].map({"I": -1, "II": 0, "III": 1}), x["tgrade"].map({"I": 1, "II": -2, "III": 1})
    columns = [x["horTh"] == "yes", x["age"], x["menostat"] == "Post", x["tsize"]]
    columns += [linear.astype(float) / np.sqrt(2), quadratic.astype(float) / np.sqrt(6)]
    columns += [x["pnodes"], x["progrec"], x["estrec"]]
    fit = fit_cox(np.column_stack(columns).astype(float), FollowUp(y["time"], y["cens"]))
    published = [-0.3462784, -0.0094592, 0.2584448, 0.0077961, 0.5512988, -0.2010905, 0.0487886, -0.0022172, 0.0001973]
    np.testing.assert_allclose(fit.coefficient, published, atol=5e-8)
    errors = [0.1290747, 0.0093006, 0.1834765, 0.0039390, 0.1898441, 0.1219654, 0.0074471, 0.0005735, 0.0004504]
    np.testing.assert_allclose(fit.standard_error, errors, atol=5e-7)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_ties_and_curves_equal_scikit_survival(simulate, ties):
    x, follow_up = simulate(120, 4)
    assert len(np.unique(follow_up.time)) < 110
    theirs = CoxPHSurvivalAnalysis(ties=ties, tol=1e-13).fit(x, follow_up.structured())
    fit = fit_cox(x, follow_up, ties=ties)
    np.testing.assert_allclose(fit.coefficient, theirs.coef_, atol=1e-9)
    risk = fit.predict_risk(x).values
    np.testing.assert_allclose(risk - risk.mean(), theirs.predict(x) - theirs.predict(x).mean(), atol=1e-9)
    if ties == "breslow":
        times = np.array([10.0, 40.0, 90.0])
        expected = np.array([step(times) for step in theirs.predict_survival_function(x)])
        np.testing.assert_allclose(fit.predict_survival(x, times).values, expected, atol=1e-8)


def test_errors_are_those_of_the_numerical_curvature(simulate):
    x, follow_up = simulate(80, 2)
    fit = fit_cox(x, follow_up)
    nested = fit_cox(x[:, :1], follow_up)
    test = likelihood_ratio(nested, fit)
    # Wald and likelihood ratio agree to second order for a coefficient near zero.
    assert (fit.coefficient[1] / fit.standard_error[1]) ** 2 == pytest.approx(test.statistic, rel=0.05)
    assert test.df == 1
    assert test.statistic == pytest.approx(2 * (fit.log_likelihood - nested.log_likelihood))


def test_strata_add_their_likelihoods(simulate):
    x, follow_up = simulate(60, 2)
    stratum = np.arange(60) % 3
    fit = fit_cox(x, follow_up, strata=stratum)
    parts = [fit_cox(x[stratum == s], follow_up[stratum == s]) for s in range(3)]
    assert fit.null_log_likelihood == pytest.approx(sum(part.null_log_likelihood for part in parts))
    assert fit.log_likelihood < sum(part.log_likelihood for part in parts)
    # A shift of everybody in a stratum changes nothing.
    shifted = fit_cox(x + 5.0 * stratum[:, None], follow_up, strata=stratum)
    np.testing.assert_allclose(shifted.coefficient, fit.coefficient, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100.0))
def test_coefficients_follow_the_unit(seed, unit):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 2))
    follow_up = FollowUp(np.ceil(rng.exponential(10, 30)), np.arange(30) % 3 > 0)
    fit, scaled = fit_cox(x, follow_up), fit_cox(x * unit, follow_up)
    np.testing.assert_allclose(scaled.coefficient * unit, fit.coefficient, rtol=1e-6, atol=1e-8)
    assert scaled.log_likelihood == pytest.approx(fit.log_likelihood)


def test_the_p_of_the_likelihood_ratio_is_uniform_under_the_null():
    rng = np.random.default_rng(0)
    p = []
    for _ in range(300):
        follow_up = FollowUp(rng.exponential(1.0, 80), rng.random(80) < 0.7)
        x = rng.normal(size=(80, 3))
        p.append(likelihood_ratio(fit_cox(x[:, :2], follow_up), fit_cox(x, follow_up)).p)
    assert 0.02 < (np.array(p) < 0.05).mean() < 0.09
    assert 0.4 < np.mean(p) < 0.6


def test_what_has_no_maximum_says_why(simulate):
    x, follow_up = simulate(40, 2)
    separated = np.column_stack([x[:, 0], -follow_up.time])
    monotone = fit_cox(separated, follow_up)
    assert "monotone likelihood" in monotone.reason
    assert np.isnan(monotone.covariance).all()
    collinear = fit_cox(np.column_stack([x[:, 0], 2 * x[:, 0]]), follow_up)
    assert collinear.reason == "the covariates are collinear, or one does not vary"
    assert np.isnan(likelihood_ratio(fit_cox(x[:, :1], follow_up), collinear).p)


def test_mistakes_are_told(simulate):
    x, follow_up = simulate(40, 2)
    with pytest.raises(UserError, match="finite covariates"):
        fit_cox(np.where(x > 2, np.nan, x) * np.inf, follow_up)
    with pytest.raises(UserError, match="do not fit the follow-up"):
        fit_cox(x[:-1], follow_up)
    with pytest.raises(UserError, match="39 stratum labels for 40"):
        fit_cox(x, follow_up, strata=np.zeros(39))
    with pytest.raises(UserError, match="at least one event"):
        fit_cox(x, FollowUp(follow_up.time, np.zeros(40)))
    full = fit_cox(x, follow_up)
    with pytest.raises(UserError, match="needs more covariates"):
        likelihood_ratio(full, full)
    with pytest.raises(UserError, match="the same subjects"):
        likelihood_ratio(fit_cox(x[:-1, :1], follow_up[np.arange(39)]), full)
