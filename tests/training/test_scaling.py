import numpy as np
import pytest

from sparra.training.scaling import FeatureScaler


def test_every_subject_weighs_the_same():
    few, many = np.array([[0.0], [2.0]]), np.full((1000, 1), 11.0)
    scaler = FeatureScaler.fit([few, many])
    assert scaler.mean[0] == pytest.approx(6.0)
    assert scaler.scale[0] ** 2 == pytest.approx(np.mean([np.mean([36.0, 16.0]), 25.0]))


def test_equal_bags_give_the_pooled_standardisation():
    bags = np.random.default_rng(0).normal(3.0, 20.0, (5, 30, 4))
    scaler = FeatureScaler.fit(bags)
    pooled = np.concatenate([scaler.transform(bag) for bag in bags])
    np.testing.assert_allclose(pooled.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(pooled.std(0), 1, rtol=1e-5)


def test_constant_features_stay_finite():
    bags = [np.full((4, 2), 1e8), np.full((3, 2), 1e8)]
    assert (FeatureScaler.fit(bags).transform(bags[0]) == 0).all()
