"""The estimators in scikit-learn's and scikit-survival's own machinery."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sksurv.metrics import (
    as_concordance_index_ipcw_scorer,
    as_cumulative_dynamic_auc_scorer,
    as_integrated_brier_score_scorer,
    concordance_index_censored,
)
from sksurv.util import Surv

import sparra
from sparra import ABMILSurvival, MeanSurvival, SparraSurvival
from sparra.bags import Bag
from sparra.errors import UserError
from sparra.graphs.build import build_graph
from sparra.graphs.settings import default_graph_settings

SMALL = {"options": {"hidden": 16, "pooled": 8, "encoder": 8, "ensemble": 1}, "epochs": 5, "cross_fit_folds": 2}


def draw(n: int, seed: int = 0) -> tuple[list[Bag], np.ndarray]:
    generator = np.random.default_rng(seed)
    bags, hazard = [], generator.normal(size=n)
    for value in hazard:
        size = int(generator.integers(8, 14))
        features = generator.normal(size=(size, 5)) + np.array([2 * value, 0, 0, 0, 0])
        bags.append(Bag("slide", features.astype(np.float32), generator.uniform(0, 900, (size, 2)), (128.0, 128.0)))
    death, censored = generator.exponential(np.exp(-1.5 * hazard)), generator.exponential(3, n)
    return bags, Surv.from_arrays(death <= censored, np.minimum(death, censored) + 0.01)


@pytest.fixture(scope="module")
def bags_and_y() -> tuple[list[Bag], np.ndarray]:
    return draw(36)


def mean(**parameters) -> MeanSurvival:
    return MeanSurvival(**{"epochs": 8, "learning_rate": 3e-3, "cross_fit_folds": 2, "random_state": 0, **parameters})


@pytest.mark.parametrize(
    "estimator",
    [SparraSurvival(**SMALL, random_state=1), ABMILSurvival(epochs=3, cross_fit_folds=2, random_state=1), mean()],
)
def test_equal_seeds_give_equal_predictions_and_a_clone_is_unfitted(bags_and_y, estimator) -> None:
    bags, y = bags_and_y
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(bags)
    risk = estimator.fit(bags, y).predict(bags)
    np.testing.assert_array_equal(copy.fit(bags, y).predict(bags), risk)
    assert not np.array_equal(clone(estimator).set_params(random_state=7).fit(bags, y).predict(bags), risk)


def test_a_planted_signal_is_learnt_and_scored_as_scikit_survival_does(bags_and_y) -> None:
    model, (new, y_new) = mean(epochs=20).fit(*bags_and_y), draw(40, seed=5)
    expected = concordance_index_censored(y_new["event"], y_new["time"], model.predict(new))[0]
    assert model.score(new, y_new) == pytest.approx(expected)
    assert expected > 0.7


def test_survival_and_hazard_functions_are_scikit_survivals_and_agree(bags_and_y) -> None:
    bags, y = bags_and_y
    model = mean().fit(bags, y)
    survival, hazard = model.predict_survival_function(bags), model.predict_cumulative_hazard_function(bags)
    times = np.linspace(0, y["time"].max(), 30)
    for s, h in zip(survival[:5], hazard[:5], strict=True):
        np.testing.assert_allclose(s(times), np.exp(-h(times)), atol=1e-12)
        assert s(0.0) == 1
        assert (np.diff(s(times)) <= 0).all()
    table = model.predict_survival_function(bags, return_array=True)
    np.testing.assert_allclose(survival[3](model.unique_times_), table[3])
    with pytest.raises(ValueError, match="x must be within"):
        survival[0](y["time"].max() + 1)


def test_it_serves_cross_validation_grid_search_and_scorers(bags_and_y) -> None:
    bags, y = bags_and_y
    assert np.isfinite(cross_val_score(mean(), bags, y, cv=2)).all()
    search = GridSearchCV(mean(), {"epochs": [1, 8]}, cv=2, error_score="raise").fit(bags, y)
    assert search.best_params_["epochs"] in (1, 8)
    assert search.predict(bags).shape == (len(bags),)
    tau = float(np.percentile(y["time"], 60))
    times = np.percentile(y["time"][y["event"]], [20, 40, 60])
    for scorer in (
        as_concordance_index_ipcw_scorer(mean(), tau=tau),
        as_cumulative_dynamic_auc_scorer(mean(), times=times),
        as_integrated_brier_score_scorer(mean(), times=times),
    ):
        assert np.isfinite(scorer.fit(bags, y).score(bags, y))
    wrapped = GridSearchCV(
        as_concordance_index_ipcw_scorer(mean(), tau=tau), {"estimator__epochs": [1, 2]}, cv=2, error_score="raise"
    )
    assert np.isfinite(wrapped.fit(bags, y).best_score_)


def test_a_cox_model_of_the_embeddings_takes_graphs_and_mappings(bags_and_y) -> None:
    bags, y = bags_and_y
    graphs = [build_graph(bag, default_graph_settings("slide"), "image") for bag in bags]
    model = mean(survival_model="CoxPH", inner_folds=2).fit(graphs, y)
    np.testing.assert_allclose(model.predict([{"slide": [bag]} for bag in bags]), model.predict(graphs))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"survival_model": "RSF"}, "Use network, CoxPH or Coxnet"),
        ({"epochs": 0}, "epochs"),
        ({"options": {"hiden": 3}}, "hidden"),
    ],
)
def test_wrong_parameters_are_told_when_fitting(bags_and_y, parameters, said) -> None:
    with pytest.raises(UserError, match=said):
        mean(**parameters).fit(*bags_and_y)


def test_wrong_inputs_are_told(bags_and_y) -> None:
    bags, y = bags_and_y
    with pytest.raises(UserError, match="cannot be a ndarray"):
        mean().fit([bag.features for bag in bags], y)
    with pytest.raises(UserError, match="35 subjects but follow-up of 36"):
        mean().fit(bags[1:], y)
    with pytest.raises(UserError, match="another modality"):
        mean().fit([{"ct": bag} for bag in bags], y)


def test_importing_sparra_brings_no_torch() -> None:
    code = "import sys, sparra; assert 'Bundle' in dir(sparra); print('torch' in sys.modules, 'sklearn' in sys.modules)"
    environment = {"PYTHONPATH": str(Path(sparra.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
