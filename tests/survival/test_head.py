"""The survival model as arrays, against scikit-survival's."""

import numpy as np
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sparra.errors import UserError
from sparra.survival.head import SurvivalHead, head_of_cox, head_of_network
from sparra.survival.models import fit_survival_model
from sparra.survival.outcomes import FollowUp


def draw(n: int = 120, seed: int = 0) -> tuple[np.ndarray, FollowUp]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, 4)) * (1, 3, 0.1, 50) + (0, 5, 1, -20)
    hazard = features[:, 0] - 0.3 * (features[:, 1] - 5)
    death, censored = generator.exponential(np.exp(-hazard)), generator.exponential(2, n)
    # Rounded, so that there are ties.
    return features, FollowUp(np.ceil(20 * np.minimum(death, censored)), death <= censored)


def test_risk_and_breslow_baseline_are_those_of_scikit_survival() -> None:
    features, follow_up = draw()
    fitted = fit_survival_model("CoxPH", features, follow_up.time, follow_up.event, seed=0)
    head = head_of_cox(fitted, features, follow_up)
    standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    theirs = CoxPHSurvivalAnalysis(alpha=fitted.chosen["alpha"], tol=1e-12).fit(standardised, follow_up.structured())
    np.testing.assert_allclose(head.risk(features), theirs.predict(standardised), atol=1e-6)
    times = np.unique(follow_up.time[follow_up.event])
    curves = np.stack([function(times) for function in theirs.predict_survival_function(standardised)])
    np.testing.assert_allclose(head.survival(features, times).values, curves, atol=1e-6)
    np.testing.assert_allclose(np.exp(-head.cumulative_hazard(features)), curves, atol=1e-6)
    np.testing.assert_allclose(head.risk(features), fitted.predict_risk(features).values, atol=1e-12)
    assert head.cut == pytest.approx(np.median(theirs.predict(standardised)), abs=1e-6)


def test_the_baseline_of_a_networks_risk_is_scikit_survivals_at_its_slope() -> None:
    features, follow_up = draw()
    risk = 7 + 3 * features[:, 0]
    head = head_of_network(risk, follow_up)
    z = ((risk - risk.mean()) / risk.std())[:, None]
    theirs = CoxPHSurvivalAnalysis(alpha=1.0, tol=1e-12).fit(z, follow_up.structured())
    assert head.hazard_coefficient == pytest.approx(theirs.coef_, abs=1e-6)
    np.testing.assert_allclose(head.hazard, theirs.cum_baseline_hazard_(head.times), rtol=1e-6)


def test_a_risk_of_the_wrong_sign_gives_everyone_the_cohorts_curve() -> None:
    features, follow_up = draw()
    head = head_of_network(-features[:, 0], follow_up)
    curves = head.survival(-features[:, :1], [5.0, 10.0]).values
    assert np.ptp(curves, axis=0) == pytest.approx(0)


def test_bootstrap_intervals_of_the_survival_cover_the_truth() -> None:
    covered = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        x = generator.normal(size=150)
        death, censored = generator.exponential(np.exp(-x)), generator.exponential(2, 150)
        follow_up = FollowUp(np.minimum(death, censored), death <= censored)
        head = head_of_network(x, follow_up, replicates=60, seed=seed)
        low, high = np.percentile(head.survival_replicates([[0.5]], [0.5])[:, 0, 0], (2.5, 97.5))
        covered.append(low <= np.exp(-0.5 * np.exp(0.5)) <= high)
    assert np.mean(covered) > 0.85


def test_arrays_round_trip_and_what_does_not_fit_is_refused() -> None:
    features, follow_up = draw()
    fitted = fit_survival_model("Coxnet", features, follow_up.time, follow_up.event, seed=0)
    head = head_of_cox(fitted, features, follow_up, replicates=3)
    arrays = head.arrays()
    again = SurvivalHead.from_arrays(arrays)
    np.testing.assert_array_equal(again.survival_replicates(features, [3.0]), head.survival_replicates(features, [3.0]))
    for name in arrays:
        with pytest.raises(UserError, match="do not fit"):
            SurvivalHead.from_arrays({**arrays, name: arrays[name][:0]})
        with pytest.raises(UserError, match="do not fit"):
            SurvivalHead.from_arrays({key: value for key, value in arrays.items() if key != name})


def test_a_forest_is_refused() -> None:
    features, follow_up = draw(60)
    fitted = fit_survival_model("RSF", features, follow_up.time, follow_up.event, seed=0, inner_folds=2)
    with pytest.raises(UserError, match="RSF cannot be written"):
        head_of_cox(fitted, features, follow_up)
