"""With permuted outcomes there is nothing to find: whoever finds something has leaked."""

import numpy as np
import pandas as pd
import pytest
from benchmarks.parts.permuted_bags import NETWORKS, network_risks, noise_bags

from sparra.cohort.splits import stratified_folds
from sparra.survival.bootstrap import c_index_intervals
from sparra.survival.models import fit_survival_model, survival_models
from sparra.survival.outcomes import FollowUp, RiskScores
from sparra.survival.screening import univariate_cox

N, P = 120, 100
MODELS = ("RSF", "CoxPH", "Coxnet", "FSVM", "GBM")
# So far above chance is the lower end of the interval where test patients leak.
LEAKED = 0.55


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(11)
    features = rng.normal(size=(N, P))
    time = rng.exponential(np.exp(-features[:, 0]))
    event = rng.random(N) < 0.6
    shuffled = rng.permutation(N)
    return features, FollowUp(time[shuffled], event[shuffled])


def interval(follow_up, risk_of):
    """Return the C-index with its interval; ``risk_of(train, test)`` gives the risks of a fold's test part."""
    ids = [f"P{i:03d}" for i in range(N)]
    tables = []
    for fold in stratified_folds(ids, follow_up.event, 4, 0):
        train, test = (np.searchsorted(ids, part) for part in (fold.train, fold.test))
        rows = {"subject_id": fold.test, "time": follow_up.time[test], "event": follow_up.event[test]}
        tables.append(pd.DataFrame(rows).assign(risk=risk_of(train, test).values, fold=fold.fold))
    pooled = pd.concat(tables).assign(modality="slide", aggregator="", model="")
    return c_index_intervals(pooled, seed=0, n_resamples=400).iloc[0]


def risk_of_model(model, features, follow_up, screening_p):
    def risk_of(train, test):
        seen = follow_up[train]
        fitted = fit_survival_model(
            model, features[train], seen.time, seen.event, seed=0, inner_folds=3, screening_p=screening_p
        )
        return fitted.predict_risk(features[test])

    return risk_of


def test_no_survival_model_is_left_out():
    assert set(MODELS) == set(survival_models)


@pytest.mark.parametrize("model", MODELS)
def test_nested_steps_find_nothing(cohort, model):
    features, follow_up = cohort
    found = interval(follow_up, risk_of_model(model, features, follow_up, screening_p=0.2))
    assert found["lower"] <= 0.5 <= found["upper"]


@pytest.mark.parametrize("model", MODELS)
def test_a_model_that_saw_the_test_patients_would_be_seen(cohort, model):
    # With features chosen beforehand: on noise alone the tuning of Coxnet ends with no feature at all.
    features, follow_up = cohort
    chosen = univariate_cox(features, follow_up).p < 0.1
    leaking = risk_of_model(model, features[:, chosen], follow_up, screening_p=None)(np.arange(N), np.arange(N))
    found = interval(follow_up, lambda _, test: RiskScores(leaking.values[test]))
    assert found["lower"] > LEAKED


def test_features_chosen_on_all_patients_would_be_seen(cohort):
    # Test patients and all: the classical mistake.
    features, follow_up = cohort
    chosen = univariate_cox(features, follow_up).p < 0.1
    found = interval(follow_up, risk_of_model("CoxPH", features[:, chosen], follow_up, screening_p=None))
    assert found["lower"] > LEAKED


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_find_nothing_and_a_leak_would_be_seen(cohort, network):
    _, follow_up = cohort
    bags = noise_bags(follow_up, seed=2)
    nested = interval(follow_up, lambda train, test: network_risks(network, bags, train, test)[0])
    assert nested["lower"] <= 0.5 <= nested["upper"]
    # A network that was fitted to the test patients too.
    leaking = network_risks(network, bags, np.arange(N), np.arange(N))[0]
    leaked = interval(follow_up, lambda _, test: RiskScores(leaking.values[test]))
    assert leaked["lower"] > LEAKED
