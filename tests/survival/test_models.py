from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparra.errors import UserError
from sparra.survival.estimators.coxph import CoxRidge
from sparra.survival.metrics import evaluate_fold
from sparra.survival.models import fit_survival_model, survival_models
from sparra.survival.outcomes import FollowUp
from sparra.survival.time_grid import declare_time_grid

NAMES = ["RSF", "CoxPH", "Coxnet", "FSVM", "GBM"]
DATA = Path(__file__).parents[3] / "shared" / "data"


def fit(name, features, follow_up, **options):
    return fit_survival_model(name, features, follow_up.time, follow_up.event, **{"seed": 0, **options})


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_signal_is_found_and_higher_is_worse(name, simulate):
    features, follow_up = simulate(160, 8, effect=1.5)
    features[:40:7, 4:] = np.nan
    train, test = np.arange(100), np.arange(100, 160)
    model = fit(name, features[train], follow_up[train])
    grid = declare_time_grid(follow_up.time, follow_up.event)
    risk = model.predict_risk(features[test])
    survival = model.predict_survival(features[test], grid.times)
    found = evaluate_fold(follow_up[train], follow_up[test], risk, survival, grid.times, grid.tau)
    assert found["c_index"].value > 0.7
    assert found["c_ipcw"].value > 0.7
    assert found["c_auc"].value > 0.7
    if name == "FSVM":
        assert survival is None
        assert found["ibs"].reason == "the model has no survival function"
    else:
        assert found["ibs"].value < 0.21
        worst_first = np.argsort(-risk.values)
        assert survival.values[worst_first[:10]].mean() < survival.values[worst_first[-10:]].mean()
    assert list(model.chosen) == [{"RSF": "max_depth", "GBM": "n_trees"}.get(name, "alpha")]


@pytest.mark.parametrize("name", NAMES)
def test_more_features_than_subjects_and_each_row_on_its_own(name, simulate):
    features, follow_up = simulate(40, 120)
    model = fit(name, features, follow_up, inner_folds=3)
    together = model.predict_risk(features[:5]).values
    alone = [model.predict_risk(features[[row]]).values[0] for row in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_model(name, simulate):
    features, follow_up = simulate(40, 6)
    first, second = (fit(name, features, follow_up, seed=5, inner_folds=3) for _ in range(2))
    assert first.tuning == second.tuning
    assert np.array_equal(first.predict_risk(features).values, second.predict_risk(features).values)


def test_time_zero_is_allowed_everywhere(simulate):
    features, follow_up = simulate(40, 4)
    follow_up.time[3] = 0.0
    for name in NAMES:
        assert np.isfinite(fit(name, features, follow_up, inner_folds=3).predict_risk(features).values).all()


def test_screening_is_part_of_the_fit(simulate):
    features, follow_up = simulate(100, 40)
    model = fit("CoxPH", features, follow_up, screening_p=0.01)
    assert 0 in model.preparation.kept
    assert len(model.preparation.kept) < 10


class BreaksOnTheWhole(CoxRidge):
    """Fits in the inner folds; on all 60 subjects the weaker penalties break down."""

    def fit(self, features, follow_up, value, seed):
        if len(features) == 60 and value < 100:
            raise ArithmeticError("weights are too large")
        return super().fit(features, follow_up, value, seed)


def test_the_next_best_is_taken_where_the_best_breaks_down_on_the_whole(simulate, monkeypatch):
    features, follow_up = simulate(60, 4)
    best = fit("CoxPH", features, follow_up)
    assert best.chosen["alpha"] < 100
    monkeypatch.setitem(survival_models._entries, "CoxPH", BreaksOnTheWhole())
    next_best = fit("CoxPH", features, follow_up)
    possible = {value: score for value, score in best.tuning.scores.items() if value >= 100}
    assert possible[next_best.chosen["alpha"]] == max(possible.values())
    assert next_best.tuning.skipped[best.chosen["alpha"]] == "weights are too large"


def test_mistakes_are_told(simulate):
    features, follow_up = simulate(30, 3)
    with pytest.raises(UserError, match="Did you mean 'Coxnet'"):
        fit("coxnet", features, follow_up)
    with pytest.raises(UserError, match="29 rows of features but follow-up of 30"):
        fit("CoxPH", features[:-1], follow_up)
    with pytest.raises(UserError, match="has 0 event"):
        fit("CoxPH", features, FollowUp(follow_up.time, np.zeros(30)))


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="the real data lie beside the project")
def test_real_head_and_neck_radiomics_carry_prognosis():
    """Published split: 102 to train, 35 to test. Tumour volume alone has C = 0.663 on all."""
    table = pd.read_csv(DATA / "hn1-radiomics" / "HN_Radiomics.csv", index_col=0)
    features = table.drop(columns="Structure").groupby("id").mean()
    clinical = pd.read_csv(DATA / "hn1-radiomics" / "HN_ClinicalData.csv").set_index("id").loc[features.index]
    time = clinical["overall_survival_in_days"].to_numpy(float)
    event = clinical["event_overall_survival"].to_numpy()
    grid = declare_time_grid(time, event)
    train, test = (np.flatnonzero(clinical["dataset"] == part) for part in ("train", "test"))
    whole = FollowUp(time, event)
    model = fit("CoxPH", features.to_numpy()[train], whole[train])
    risk = model.predict_risk(features.to_numpy()[test])
    survival = model.predict_survival(features.to_numpy()[test], grid.times)
    found = evaluate_fold(whole[train], whole[test], risk, survival, grid.times, grid.tau)
    assert [value.reason for value in found.values()] == ["", "", "", ""]
    assert found["c_index"].value > 0.5
