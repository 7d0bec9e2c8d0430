import numpy as np
from scipy.stats import spearmanr
from sksurv.svm import FastSurvivalSVM

from sparra.survival.estimators.fsvm import FastSvm


def test_higher_is_worse_and_equal_to_scikit_survival(simulate):
    features, follow_up = simulate(80, 5)
    fitted = FastSvm().fit(features, follow_up, 2.0**-8, seed=0)
    theirs = FastSurvivalSVM(alpha=2.0**-8, rank_ratio=1.0, random_state=0).fit(features, follow_up.structured())
    np.testing.assert_allclose(fitted.risk(features), theirs.predict(features), atol=1e-8)
    assert spearmanr(fitted.risk(features), follow_up.time).statistic < -0.3
    assert fitted.survival(features) is None


def test_the_row_space_fit_equals_the_direct_one(simulate):
    features, follow_up = simulate(40, 90)
    fitted = FastSvm().fit(features, follow_up, 2.0**-10, seed=0)
    direct = FastSurvivalSVM(alpha=2.0**-10, rank_ratio=1.0, random_state=0).fit(features, follow_up.structured())
    np.testing.assert_allclose(fitted.risk(features), direct.predict(features), atol=1e-5)


def test_the_grid_is_the_papers(simulate):
    grid = FastSvm().grid(*simulate(5, 1))
    assert np.log2(grid).tolist() == list(range(-26, 0, 2))
