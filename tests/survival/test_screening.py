import numpy as np
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sparra.survival.outcomes import FollowUp
from sparra.survival.screening import univariate_cox


def test_published_coefficient_of_the_6mp_trial(freireich):
    follow_up, arm = freireich
    result = univariate_cox((arm == "placebo").astype(float)[:, None], follow_up)
    # R: coxph(Surv(time, event) ~ arm, ties = "breslow") gives 1.509 (se 0.410), p = 0.00023.
    assert result.coefficient[0] == pytest.approx(1.509, abs=5e-4)
    assert result.standard_error[0] == pytest.approx(0.4096, abs=5e-5)
    assert result.p[0] == pytest.approx(0.00023, abs=5e-6)


def test_all_features_at_once_equal_single_fits(simulate):
    features, follow_up = simulate(90, 12)
    result = univariate_cox(features, follow_up)
    single = [
        CoxPHSurvivalAnalysis().fit(features[:, [column]], follow_up.structured()).coef_[0] for column in range(12)
    ]
    np.testing.assert_allclose(result.coefficient, single, atol=1e-6)
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
