import numpy as np
import pytest

from sparra.errors import UserError
from sparra.survival.cox import fit_cox
from sparra.survival.fusion import cross_fitted_risks, fit_late_fusion
from sparra.survival.metrics import c_index
from sparra.survival.models import fit_survival_model
from sparra.survival.outcomes import FollowUp, RiskScores


def two_modalities(n, seed=0):
    rng = np.random.default_rng(seed)
    ct, slide = rng.normal(size=n), rng.normal(size=n)
    death = rng.exponential(np.exp(-0.9 * ct - 0.6 * slide))
    return {"ct": 10 * ct + 3, "slide": slide}, FollowUp(death, np.ones(n))


def test_the_weights_are_those_of_a_cox_model():
    risks, follow_up = two_modalities(500)
    fusion = fit_late_fusion(risks, follow_up)
    expected = fit_cox(np.column_stack([risks["ct"], risks["slide"]]), follow_up).coefficient
    np.testing.assert_allclose(fusion.cox.coefficient / fusion.scale, expected, rtol=1e-8)
    single = max(c_index(follow_up, RiskScores(values)).value for values in risks.values())
    assert c_index(follow_up, fusion.predict_risk(risks)).value > single + 0.02


def test_a_missing_modality_counts_as_the_training_mean():
    risks, follow_up = two_modalities(200)
    risks["ct"][::3] = np.nan
    fusion = fit_late_fusion(risks, follow_up)
    missing, mean = ({"ct": np.array([value]), "slide": np.array([0.4])} for value in (np.nan, fusion.mean[0]))
    assert fusion.predict_risk(missing).values == pytest.approx(fusion.predict_risk(mean).values)
    assert fusion.predict_survival(missing, [0.5, 1.0]).values.shape == (1, 2)


def test_cross_fitted_risks_are_not_of_models_that_saw_the_subject(simulate):
    """Noise: in-sample risks rank the training part well, cross-fitted ones do not."""
    features, follow_up = simulate(90, 200, effect=0.0)
    train, test = cross_fitted_risks("CoxPH", features, follow_up, features[:20] + 0.0, seed=0)
    in_sample = fit_survival_model("CoxPH", features, follow_up.time, follow_up.event, seed=0)
    assert c_index(follow_up, in_sample.predict_risk(features)).value > 0.8
    assert c_index(follow_up, RiskScores(train)).value < 0.65
    seen = in_sample.predict_risk(features).values
    np.testing.assert_allclose(test, (seen[:20] - seen.mean()) / seen.std(), rtol=1e-9, atol=1e-12)


def test_cross_fitted_risks_carry_the_signal_on_one_scale(simulate):
    features, follow_up = simulate(150, 5, effect=1.5)
    train, test = cross_fitted_risks("Coxnet", features[:100], follow_up[np.arange(100)], features[100:], seed=0)
    assert c_index(follow_up[np.arange(100)], RiskScores(train)).value > 0.7
    assert c_index(follow_up[np.arange(100, 150)], RiskScores(test)).value > 0.7
    assert abs(train.mean()) < 0.3
    assert 0.4 < train.std() < 1.6


def test_mistakes_are_told():
    risks, follow_up = two_modalities(50)
    with pytest.raises(UserError, match="at least two modalities"):
        fit_late_fusion({"ct": risks["ct"]}, follow_up)
    with pytest.raises(UserError, match="modality 'flat' do not vary"):
        fit_late_fusion({"ct": risks["ct"], "flat": np.ones(50)}, follow_up)
    with pytest.raises(UserError, match="collinear"):
        fit_late_fusion({"ct": risks["ct"], "again": 2 * risks["ct"]}, follow_up)
    with pytest.raises(UserError, match=r"fitted to \['ct', 'slide'\] but got \['ct'\]"):
        fit_late_fusion(risks, follow_up).predict_risk({"ct": risks["ct"]})
