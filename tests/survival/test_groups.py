import numpy as np
import pytest

from sparra.errors import UserError
from sparra.survival.groups import kaplan_meier, log_rank, risk_groups
from sparra.survival.outcomes import RiskScores


def test_the_cut_comes_from_the_training_risks_alone():
    train = RiskScores(np.array([0.0, 1.0, 2.0, 11.0]))
    test = RiskScores(np.array([1.4, 1.6, 3.4, 3.6]))
    assert risk_groups(train, test, "median").tolist() == ["low", "high", "high", "high"]
    assert risk_groups(train, test, "mean").tolist() == ["low", "low", "low", "high"]
    with pytest.raises(UserError, match="no cut called 'best'"):
        risk_groups(train, test, "best")  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", ["median", "mean"])
def test_equal_risks_are_all_low(cut):
    same = RiskScores(np.full(7, 0.1))
    assert set(risk_groups(same, same, cut)) == {"low"}


def test_kaplan_meier_of_the_published_6mp_arm(freireich):
    follow_up, arm = freireich
    curve = kaplan_meier(follow_up.time[arm == "6-MP"], follow_up.event[arm == "6-MP"])
    # Kalbfleisch & Prentice, The Statistical Analysis of Failure Time Data, and R's survfit.
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    found = dict(zip(curve.times, curve.survival, strict=True))
    assert {time: found[time] for time in published} == pytest.approx(published, abs=5e-4)
    assert dict(zip(curve.times, curve.at_risk, strict=True))[6] == 21
    assert dict(zip(curve.times, curve.at_risk, strict=True))[23] == 6
    assert (curve.lower <= curve.survival).all()
    assert (curve.survival <= curve.upper).all()


def test_kaplan_meier_of_a_group_without_events():
    curve = kaplan_meier([1, 2, 3], [0, 0, 0])
    assert curve.survival.tolist() == [1, 1, 1]
    assert np.isfinite(curve.lower).all()


def test_log_rank_of_the_published_trial(freireich):
    follow_up, arm = freireich
    result = log_rank(follow_up.time, follow_up.event, arm)
    assert result.statistic == pytest.approx(16.793, abs=5e-4)
    assert result.p == pytest.approx(4.17e-5, rel=1e-2)


@pytest.mark.parametrize(
    ("time", "event", "group", "reason"),
    [
        ([1, 2], [1, 1], ["low", "low"], "all subjects are in the group 'low'"),
        ([1, 2], [0, 0], ["low", "high"], "no subject had an event"),
        ([1, 5, 6], [0, 1, 1], ["low", "high", "high"], "while two groups were at risk"),
    ],
)
def test_an_undefined_log_rank_says_why(time, event, group, reason):
    result = log_rank(time, event, group)
    assert np.isnan([result.statistic, result.p]).all()
    assert reason in result.reason
