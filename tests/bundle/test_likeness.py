"""Images drawn as those of training are remarked on at the nominal rate, shifted ones always."""

import numpy as np
import pytest

from sparra.bundle.likeness import Likeness, Moments
from sparra.errors import UserError


def draws(generator: np.random.Generator, axes: np.ndarray, n: int) -> np.ndarray:
    width = axes.shape[1]
    return np.exp(0.3 * (generator.normal(size=(n, len(axes))) @ axes * 0.5 + generator.normal(size=(n, width))))


@pytest.mark.parametrize(("n", "width"), [(40, 10), (40, 157), (200, 64)])
def test_the_rate_of_remarks_is_nominal_and_a_shift_is_found(n: int, width: int) -> None:
    alike, shifted = [], []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        axes = generator.normal(size=(8, width))
        like = Likeness.of(draws(generator, axes, n), seed=0)
        alike.append(np.mean(like.share_beyond(draws(generator, axes, 200)) < 0.05))
        shifted.append(np.mean(like.share_beyond(draws(generator, axes, 50) + 2.0) < 0.05))
    # One cohort of 40 fixes its own rate to within about ±0.03.
    assert 0.015 < np.mean(alike) < 0.085
    assert np.mean(shifted) > 0.95


def test_the_distance_is_mahalanobis_where_every_direction_is_kept() -> None:
    generator = np.random.default_rng(3)
    means = generator.normal(size=(400, 5)) @ generator.normal(size=(5, 5))
    new = generator.normal(size=(7, 5))
    centred = new - means.mean(axis=0)
    expected = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(np.cov(means.T)), centred)
    np.testing.assert_allclose(Moments.of(means).distance(new), expected, rtol=1e-8)


def test_it_keeps_aggregates_alone_and_survives_the_way_through_arrays() -> None:
    means = np.random.default_rng(5).normal(size=(50, 6))
    like = Likeness.of(means, seed=1)
    again = Likeness.from_arrays(like.arrays())
    np.testing.assert_array_equal(again.share_beyond(means), like.share_beyond(means))
    for values in like.arrays().values():
        assert not any(np.isclose(row, values).all() for row in means if row.shape == values.shape)


def test_a_feature_that_never_varied_is_noticed_when_it_does() -> None:
    means = np.random.default_rng(6).normal(size=(50, 6))
    means[:, 2] = 4.0
    like = Likeness.of(means, seed=1)
    new = means[:1].copy()
    assert like.share_beyond(new)[0] > 0.02
    new[0, 2] = 4.5
    assert like.share_beyond(new)[0] < 1 / 51


def test_too_few_subjects_are_refused() -> None:
    with pytest.raises(UserError, match="needs 10 subjects"):
        Likeness.of(np.zeros((9, 3)), seed=0)


def test_even_a_small_cohort_flags_what_lies_far_out() -> None:
    means = np.random.default_rng(8).normal(size=(12, 20))
    shares = Likeness.of(means, seed=0).share_beyond(np.stack([means.mean(axis=0) + 1e-3, means.mean(axis=0) + 20]))
    assert shares[0] > 0.5
    assert shares[1] < 0.02
