"""The rows of a fold: horizons, groups cut on the training part, undefined with its reason."""

import numpy as np
import pytest

from sparra.study.records import COLUMNS, METRICS, FoldRecords, Judged, Name, horizons_of
from sparra.study.rules import SoundRules
from sparra.survival.metrics import c_index
from sparra.survival.outcomes import FollowUp, RiskScores, SurvivalCurves
from sparra.survival.settings import EvaluationSettings
from sparra.survival.time_grid import declare_time_grid

NAME = Name("ct", "mean", "CoxPH")


@pytest.fixture
def records():
    rng = np.random.default_rng(2)
    time, event = rng.exponential(1000, 90), rng.random(90) < 0.7
    grid = declare_time_grid(time, event, None, [np.arange(60, 90)])
    train, test = FollowUp(time[:60], event[:60]), FollowUp(time[60:], event[60:])
    rules = SoundRules(None, grid)
    return FoldRecords(1, 7, train, test, [f"P{i}" for i in range(30)], rules, grid, np.array([300.0]), "median")


def test_horizons_are_those_asked_for_below_tau_or_the_middle_of_the_grid():
    grid = declare_time_grid(np.linspace(10, 2000, 200), np.ones(200, dtype=bool), 1200.0, [np.arange(200)])
    settings = EvaluationSettings()
    np.testing.assert_allclose(horizons_of(settings, "days", grid), [365.25, 1095.75])
    np.testing.assert_allclose(horizons_of(settings, "years", grid), [1, 3, 5])
    late = declare_time_grid(np.linspace(10, 200, 200), np.ones(200, dtype=bool), 120.0, [np.arange(200)])
    np.testing.assert_allclose(horizons_of(settings, "days", late), [np.median(late.times)])


def test_a_fold_is_one_row_a_patient_and_the_cut_is_that_of_the_training_risks(records):
    risk = np.arange(30.0)
    curves = lambda times: SurvivalCurves(times, np.full((30, len(times)), 0.5))  # noqa: E731
    records.add(NAME, Judged(RiskScores(np.full(60, 9.5)), RiskScores(risk), curves))
    table = records.table("predictions")
    assert list(table.columns) == COLUMNS["predictions"]
    assert table["subject_id"].tolist() == records.test_ids
    assert (table["group"] == "high").tolist() == (risk > 9.5).tolist()
    assert set(table["fold"]) == {7}
    assert set(table["repeat"]) == {1}
    metrics = records.table("metrics").set_index("metric")["value"]
    assert list(metrics.index) == list(METRICS)
    assert metrics["c_index"] == c_index(records.test, RiskScores(risk)).value
    assert len(records.table("survival")) == 30
    assert records.table("auc")["at"].tolist() == records.grid.times.tolist()


def test_what_could_not_be_fitted_is_nan_with_the_reason(records):
    records.add_undefined(NAME, "no feature is left")
    metrics = records.table("metrics")
    assert metrics["metric"].tolist() == list(METRICS)
    assert metrics["value"].isna().all()
    assert set(metrics["reason"]) == {"no feature is left"}
    assert records.table("predictions").empty
