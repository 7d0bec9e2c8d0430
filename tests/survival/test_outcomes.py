import numpy as np
import pytest

from sparra.errors import UserError
from sparra.survival.outcomes import FollowUp, RiskScores, SurvivalCurves, step_values


@pytest.mark.parametrize(
    ("time", "event", "message"),
    [
        ([1, np.nan], [0, 1], "missing"),
        ([1, np.inf], [0, 1], "infinite"),
        ([1, -2], [0, 1], "negative"),
        ([1, 2], [0, 2], "neither 0 nor 1"),
        ([1, 2], [0.0, np.nan], "neither 0 nor 1"),
        ([1, 2], [1], "one event a subject"),
        ([], [], "one event a subject"),
    ],
)
def test_invalid_follow_up_is_refused(time, event, message):
    with pytest.raises(UserError, match=message):
        FollowUp(np.array(time), np.array(event))


def test_administrative_censoring_hides_what_comes_later():
    censored = FollowUp(np.array([1, 5, 6, 9]), np.array([1, 1, 1, 0])).censored_at(5)
    assert censored.time.tolist() == [1, 5, 5, 5]
    assert censored.event.tolist() == [True, True, False, False]


def test_risk_scores_must_be_finite():
    with pytest.raises(UserError, match="1 of 2"):
        RiskScores(np.array([0.1, np.nan]))


def test_risk_scores_are_not_taken_for_survival_curves():
    with pytest.raises(UserError, match="are these risk scores"):
        SurvivalCurves(np.array([1.0, 2.0]), np.array([[0.2, 1.7]]))
    with pytest.raises(UserError, match="are these risk scores"):
        SurvivalCurves(np.array([1.0, 2.0]), np.array([[0.2, 0.7]]))


@pytest.mark.parametrize("times", [[2.0, 1.0], [1.0, 1.0], [1.0, np.nan], []])
def test_times_must_be_sorted_and_unique(times):
    with pytest.raises(UserError, match="sorted and unique"):
        SurvivalCurves(np.array(times), np.full((1, len(times)), 0.5))


def test_step_values_are_right_continuous():
    curves = np.array([[0.8, 0.5], [0.6, 0.1]])
    values = step_values(np.array([2.0, 4.0]), curves, np.array([1.0, 2.0, 3.9, 4.0, 100.0]))
    assert values.tolist() == [[1, 0.8, 0.8, 0.5, 0.5], [1, 0.6, 0.6, 0.1, 0.1]]
