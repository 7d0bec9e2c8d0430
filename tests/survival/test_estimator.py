import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sksurv.datasets import load_whas500

from sparra.errors import UserError
from sparra.survival.estimator import SurvivalEstimator, as_follow_up
from sparra.survival.models import survival_models


@pytest.mark.parametrize("name", ["RSF", "CoxPH", "Coxnet", "FSVM", "GBM"])
def test_one_interface_for_all_models(simulate, name):
    features, follow_up = simulate(240, 6, effect=1.5)
    model = SurvivalEstimator(name, seed=1, inner_folds=3).fit(features[:150], follow_up[np.arange(150)])
    assert model.predict(features[150:]).shape == (90,)
    assert model.score(features[150:], follow_up[np.arange(150, 240)]) > 0.7
    if name == "FSVM":
        with pytest.raises(UserError, match="has no survival function"):
            model.predict_survival_function(features, [10.0])
        return
    curves = model.predict_survival_function(features[150:], [10.0, 50.0])
    assert curves.shape == (90, 2)
    assert np.corrcoef(model.predict(features[150:]), curves[:, 1])[0, 1] < -0.5


def test_all_models_are_registered():
    assert set(survival_models.names()) >= {"RSF", "CoxPH", "Coxnet", "FSVM", "GBM"}


def test_scikit_learn_can_cross_validate_it():
    features, outcome = load_whas500()
    table = features.astype(float).to_numpy()
    order = np.random.default_rng(0).permutation(500)
    model = SurvivalEstimator("CoxPH", inner_folds=3, screening_p=0.2)
    scores = cross_val_score(model, table[order], outcome[order], cv=3)
    assert (scores > 0.7).all()
    assert clone(model).get_params() == model.get_params()


def test_what_is_no_follow_up_is_told():
    with pytest.raises(UserError, match="structured array of event and time"):
        as_follow_up(np.zeros((5, 2)))
    with pytest.raises(UserError, match="structured array"):
        as_follow_up([1, 2])
