"""With permuted outcomes there is nothing to find: whoever finds something has leaked."""

import numpy as np
import pandas as pd
import pytest

from sparra.cohort.splits import stratified_folds
from sparra.survival.bootstrap import c_index_intervals
from sparra.survival.models import fit_survival_model
from sparra.survival.outcomes import FollowUp
from sparra.survival.screening import univariate_cox

N, P = 120, 100
MODELS = ("CoxPH", "Coxnet", "FSVM")


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(11)
    features = rng.normal(size=(N, P))
    time = rng.exponential(np.exp(-features[:, 0]))
    event = rng.random(N) < 0.6
    shuffled = rng.permutation(N)
    return features, time[shuffled], event[shuffled]


def interval(features, time, event, model, screening_p):
    ids = [f"P{i:03d}" for i in range(N)]
    tables = []
    for fold in stratified_folds(ids, event, 4, 0):
        train, test = (np.searchsorted(ids, part) for part in (fold.train, fold.test))
        fitted = fit_survival_model(
            model, features[train], time[train], event[train], seed=0, inner_folds=3, screening_p=screening_p
        )
        risk = fitted.predict_risk(features[test]).values
        rows = {"subject_id": fold.test, "time": time[test], "event": event[test], "risk": risk, "fold": fold.fold}
        tables.append(pd.DataFrame(rows).assign(modality="slide", aggregator="mean", model=model))
    return c_index_intervals(pd.concat(tables), seed=0, n_resamples=400).iloc[0]


@pytest.mark.parametrize("model", MODELS)
def test_nested_steps_find_nothing(cohort, model):
    found = interval(*cohort, model, screening_p=0.2)
    assert found["lower"] <= 0.5 <= found["upper"]


def test_a_leak_would_be_seen(cohort):
    # Features chosen on the whole cohort, test patients and all: the classical mistake.
    features, time, event = cohort
    chosen = univariate_cox(features, FollowUp(time, event)).p < 0.1
    found = interval(features[:, chosen], time, event, "CoxPH", screening_p=None)
    assert found["lower"] > 0.55
