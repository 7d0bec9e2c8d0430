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


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_subject_by_subject_is_all_at_once_to_the_last_bit(dtype):
    """A giant subject is worked through in blocks; the plain formula is that of docs/method.md."""
    generator = np.random.default_rng(1)
    shapes = [(3, 37), (5000, 37), (0, 37), (1, 37), (1800, 37)]
    bags = [generator.normal(3.0, 20.0, shape).astype(dtype) for shape in shapes]
    whole = [bag.astype(np.float64) for bag in bags if len(bag)]
    mean = np.mean([values.mean(axis=0) for values in whole], axis=0)
    variance = np.mean([((values - mean) ** 2).mean(axis=0) for values in whole], axis=0)
    scaler = FeatureScaler.fit(bags)
    np.testing.assert_array_equal(scaler.mean, mean)
    np.testing.assert_array_equal(scaler.scale, np.sqrt(variance))
    for bag in bags:
        expected = ((bag.astype(np.float64) - mean) / np.sqrt(variance)).astype(np.float32)
        np.testing.assert_array_equal(scaler.transform(bag), expected)


def test_what_can_be_gone_through_only_once_is_refused():
    with pytest.raises(TypeError, match="once"):
        FeatureScaler.fit(bag for bag in [np.ones((2, 2))])
