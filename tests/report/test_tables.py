import numpy as np
import pandas as pd
import pytest

from sparra.report.results import METRIC_COLUMNS, read_results
from sparra.report.tables import results_table
from sparra.study.layout import StudyLayout


def metrics_of(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[name for name in METRIC_COLUMNS if name != "repeat"])


def test_table_equals_pandas(joint_study: StudyLayout) -> None:
    metrics = read_results(joint_study).metrics
    table = results_table(metrics)
    assert table.columns == ("RSF", "CoxPH", "Coxnet", "FSVM", "Avg.", "network")
    assert len(table.rows) == 3 * 3 * 4
    expected = metrics.groupby(["modality", "aggregator", "metric", "model"])["value"].agg(["mean", "std"])
    for row in table.rows:
        for model in ("RSF", "CoxPH", "Coxnet", "FSVM", "network"):
            truth = expected.loc[(row.modality, row.aggregator, row.metric, model)]
            assert row.cells[model].mean == pytest.approx(truth["mean"], nan_ok=True)
            assert row.cells[model].sd == pytest.approx(truth["std"], nan_ok=True)
        four = expected.loc[(row.modality, row.aggregator, row.metric)].drop("network")
        assert row.cells["Avg."].mean == pytest.approx(four["mean"].mean())
        assert row.cells["Avg."].sd == pytest.approx(four["std"].mean())


def test_table_reproduces_the_papers_average() -> None:
    # Table 1 of the paper, Mean aggregation, C-index: four means whose Avg. is printed as 0.623.
    printed = {"RSF": 0.614, "CoxPH": 0.635, "Coxnet": 0.614, "FSVM": 0.630}
    rows = [("joint", "mean", model, "c_index", 0, value, "") for model, value in printed.items()]
    (row,) = results_table(metrics_of(rows)).rows
    assert row.cells["Avg."].text == "0.623"
    assert row.cells["Avg."].subscript == ""


def test_rows_come_in_the_papers_order_and_unknown_names_after_them() -> None:
    rows = [
        (modality, aggregator, model, "c_index", 0, 0.6, "")
        for modality in ("joint", "slide", "ct")
        for aggregator in ("zeta", "sparra", "abmil", "mean")
        for model in ("network", "Other", "FSVM", "RSF")
    ]
    table = results_table(metrics_of(rows))
    assert table.columns == ("RSF", "FSVM", "Other", "Avg.", "network")
    assert [row.modality for row in table.rows[::4]] == ["ct", "slide", "joint"]
    assert [row.aggregator for row in table.rows[:4]] == ["mean", "abmil", "sparra", "zeta"]


def test_best_is_highest_but_lowest_for_ibs_and_ties_are_shared() -> None:
    values = {"mean": (0.6001, 0.20), "abmil": (0.6004, 0.25), "sparra": (0.55, 0.30)}
    rows = [
        ("ct", aggregator, "RSF", metric, 0, value, "")
        for aggregator, pair in values.items()
        for metric, value in zip(("c_index", "ibs"), pair, strict=True)
    ]
    best = {(row.aggregator, row.metric) for row in results_table(metrics_of(rows)).rows if row.cells["RSF"].best}
    assert best == {("mean", "c_index"), ("abmil", "c_index"), ("mean", "ibs")}


def test_a_number_without_a_rival_is_not_the_best() -> None:
    (row,) = results_table(metrics_of([("ct", "sparra", "RSF", "c_index", 0, 0.7, "")])).rows
    assert not row.cells["RSF"].best


def test_undefined_is_na_with_its_reason() -> None:
    rows: list[tuple[object, ...]] = [
        ("ct", "mean", "FSVM", "ibs", fold, np.nan, "no survival function") for fold in (0, 1)
    ]
    rows += [("ct", "mean", "RSF", "ibs", 0, 0.2, ""), ("ct", "mean", "RSF", "ibs", 1, np.nan, "no event")]
    (row,) = results_table(metrics_of(rows)).rows
    assert (row.cells["FSVM"].text, row.cells["FSVM"].subscript) == ("N/A", "")
    assert row.cells["FSVM"].note == "no survival function"
    assert row.cells["RSF"].note == "without 1 of 2 folds: no event"
    assert row.cells["RSF"].mean == 0.2
    assert row.cells["Avg."].note == "average of RSF"


def test_no_metrics_make_an_empty_table() -> None:
    table = results_table(metrics_of([]))
    assert table.rows == ()
    assert table.frame().empty
