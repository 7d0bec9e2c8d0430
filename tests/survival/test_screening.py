import numpy as np
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sparra.survival.outcomes import FollowUp
from sparra.survival.screening import univariate_cox


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


def test_a_monotone_likelihood_is_flagged():
    follow_up = FollowUp(np.arange(1.0, 21.0), np.arange(20) < 10)
    early = (np.arange(20) < 10).astype(float)
    result = univariate_cox(np.column_stack([early, np.sin(np.arange(20.0))]), follow_up)
    assert result.converged.tolist() == [False, True]
    assert np.isnan(result.p[0])


def test_p_is_uniform_without_signal(simulate):
    features, follow_up = simulate(200, 1000, effect=0.0)
    p = univariate_cox(features, follow_up).p
    assert 0.16 < (p < 0.2).mean() < 0.24
