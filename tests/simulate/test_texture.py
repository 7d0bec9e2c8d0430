import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sparra.simulate.texture import grow_region, largest_component, smooth_noise, soft_step


@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 1.0))
@settings(max_examples=30, deadline=None)
def test_region_is_connected_inside_and_of_the_wanted_share(seed, share):
    generator = np.random.default_rng(seed)
    inside = largest_component(smooth_noise(generator, (60, 50), (4.0, 4.0)) > 0)
    region = grow_region(inside, smooth_noise(generator, (60, 50), (6.0, 6.0)), share)
    assert ndimage.label(region)[1] == 1
    assert not (region & ~inside).any()
    assert np.count_nonzero(region) >= share * np.count_nonzero(inside)


def test_region_takes_the_lowest_orders_where_they_are_connected():
    order = np.arange(20, dtype=np.float32)[None, :] + np.zeros((4, 1), np.float32)
    region = grow_region(np.ones((4, 20), bool), order, 0.25)
    assert region[:, :5].all()
    assert not region[:, 5:].any()


def test_region_crosses_higher_orders_to_reach_its_share():
    # Two valleys with a ridge between: the seed's own valley alone is too small.
    order = np.array([[0, 1, 9, 2, 3, 4, 5, 6]], np.float32)
    assert grow_region(np.ones((1, 8), bool), order, 0.5).tolist() == [[True] * 8]


def test_noise_has_unit_variance_and_the_correlation_of_its_filter():
    sigma = 3.0
    field = smooth_noise(np.random.default_rng(1), (512, 512), (sigma, sigma))
    assert abs(field.mean()) < 1e-5
    assert abs(field.std() - 1) < 1e-4
    # White noise under a Gaussian of sigma correlates as exp(-d^2 / (4 sigma^2)).
    for lag in (2, 4, 6):
        measured = np.mean(field * np.roll(field, lag, axis=1))
        assert abs(measured - np.exp(-(lag**2) / (4 * sigma**2))) < 0.05


def test_soft_step_is_a_ramp_of_the_wanted_width():
    field = np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0], np.float32)
    np.testing.assert_allclose(soft_step(field, 2.0), [0, 0, 0.5, 0.75, 1, 1])
