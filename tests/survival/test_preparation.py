import numpy as np
import pytest

from sparra.errors import UserError
from sparra.survival.preparation import fit_preparation


def test_missing_is_the_training_mean_constant_is_dropped_the_rest_standardised(simulate):
    features, follow_up = simulate(50, 4)
    features[:, 1] = 0.1
    features[:, 2] = np.nan
    features[::3, 3] = np.nan
    preparation = fit_preparation(features, follow_up)
    assert preparation.kept.tolist() == [0, 3]
    prepared = preparation.apply(features)
    np.testing.assert_allclose(prepared.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(prepared.std(axis=0), 1, atol=1e-12)
    assert (prepared[::3, 1] == 0).all()
    imputed = np.where(np.isnan(features[:, 3]), np.nanmean(features[:, 3]), features[:, 3])
    np.testing.assert_allclose(prepared[:, 1], (imputed - imputed.mean()) / imputed.std(), atol=1e-12)


def test_new_rows_are_scaled_by_the_training_part(simulate):
    features, follow_up = simulate(40, 2)
    preparation = fit_preparation(features, follow_up)
    new = np.array([[100.0, np.nan]])
    expected = (100 - features[:, 0].mean()) / features[:, 0].std()
    np.testing.assert_allclose(preparation.apply(new), [[expected, 0.0]])
    with pytest.raises(UserError, match="fitted to 2 features but got 3"):
        preparation.apply(np.zeros((1, 3)))


def test_screening_keeps_the_signal(simulate):
    features, follow_up = simulate(120, 30)
    kept = fit_preparation(features * 1e3 + 5, follow_up, screening_p=1e-4).kept
    assert kept.tolist() == [0]
    with pytest.raises(UserError, match=r"p below 1e-300.*raise 'screening_p'"):
        fit_preparation(features[:, 1:], follow_up, screening_p=1e-300)


def test_unusable_features_are_refused(simulate):
    features, follow_up = simulate(20, 2)
    with pytest.raises(UserError, match="none of the 2 features varies"):
        fit_preparation(np.ones((20, 2)), follow_up)
    features[3, 1] = np.inf
    with pytest.raises(UserError, match="1 features hold infinite"):
        fit_preparation(features, follow_up)
