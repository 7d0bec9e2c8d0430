import numpy as np
import pytest

from sparra.errors import UserError
from sparra.survival.time_grid import declare_time_grid

TIME = np.arange(1.0, 102.0)
EVENT = TIME % 2 == 1


def test_tau_is_the_80th_percentile_and_the_grid_ends_before_it():
    grid = declare_time_grid(TIME, EVENT)
    assert grid.tau == 81
    assert grid.times[0] == np.percentile(TIME[EVENT & (TIME < 81)], 10)
    assert len(grid.times) == 50
    assert (np.diff(grid.times) > 0).all()
    assert grid.times[-1] < grid.tau


def test_tau_is_lowered_to_the_test_part_with_the_shortest_follow_up():
    assert declare_time_grid(TIME, EVENT, test_parts=[np.arange(60), np.arange(60, 101)]).tau == 60
    assert declare_time_grid(TIME, EVENT, test_parts=[np.arange(90), np.arange(90, 101)]).tau == 81


def test_a_stated_horizon_is_taken_as_it_is():
    assert declare_time_grid(TIME, EVENT, horizon=30, test_parts=[np.arange(10)]).tau == 30


def test_too_few_events_before_the_horizon():
    with pytest.raises(UserError, match=r"1 event\(s\) lie before the horizon 2.*set 'horizon' later"):
        declare_time_grid(TIME, EVENT, horizon=2)
