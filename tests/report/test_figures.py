import numpy as np
import pandas as pd
import pytest

from sparra.report.figures import CHANCE, draw_bars, draw_kaplan_meier, words_of_test
from sparra.report.results import METRIC_NAMES, read_results
from sparra.report.tables import results_table
from sparra.study.layout import StudyLayout
from sparra.survival.groups import LogRank


@pytest.mark.parametrize("metric", ["c_index", "c_ipcw", "c_auc", "ibs"])
def test_bars_reach_from_chance_or_zero_to_the_mean(joint_study: StudyLayout, metric: str) -> None:
    metrics = read_results(joint_study).metrics
    table = results_table(metrics)
    panels = {axes.get_ylabel(): axes for axes in draw_bars(table, "joint", metrics).axes}
    assert list(panels) == list(METRIC_NAMES.values())
    axes = panels[METRIC_NAMES[metric]]
    rows = [row for row in table.rows if (row.modality, row.metric) == ("joint", metric)]
    names = [name for name in table.columns if metric != "ibs" or name not in ("FSVM", "network")]
    assert [text.get_text() for text in axes.get_xticklabels()] == names
    heights = [bar.get_y() + bar.get_height() for bars in axes.containers[::2] for bar in bars]
    np.testing.assert_allclose(heights, [row.cells[name].mean for row in rows for name in names])
    base = 0.0 if metric == "ibs" else CHANCE
    assert {bar.get_y() for bars in axes.containers[::2] for bar in bars} == {base}


def test_one_metric_has_one_panel(joint_study: StudyLayout) -> None:
    metrics = read_results(joint_study).metrics
    metrics = metrics[metrics["metric"] == "c_index"]
    assert len(draw_bars(results_table(metrics), "joint", metrics).axes) == 1


def test_kaplan_meier_curves_and_numbers_at_risk_are_right() -> None:
    patients = pd.DataFrame(
        {
            "time": [1.0, 2, 3, 4, 5, 6, 7, 8],
            "event": [True, True, True, False, True, False, False, False],
            "group": ["high"] * 4 + ["low"] * 4,
        }
    )
    figure, summary = draw_kaplan_meier(patients, "title", "years")
    axes, below = figure.axes
    low, high = (line for line in axes.lines if line.get_label().endswith("risk"))
    np.testing.assert_allclose(high.get_ydata(), [1, 0.75, 0.5, 0.25, 0.25])
    np.testing.assert_allclose(low.get_ydata(), [1, 0.75, 0.75, 0.75, 0.75])
    written = [(text.get_position(), text.get_text()) for text in below.texts]
    for (tick, row), number in written:
        group = "low" if row == 1 else "high"
        assert int(number) == ((patients["time"] >= tick) & (patients["group"] == group)).sum()
    assert len(written) >= 6
    assert "low risk: 4 patients, 1 events; high risk: 4 patients, 3 events" in summary
    assert "years" in axes.get_xlabel()
    drawn = [text.get_text() for text in axes.texts]
    assert len(drawn) == 1
    assert drawn[0].startswith("log-rank p = ")
    assert summary.startswith(drawn[0])


def test_one_group_has_no_test() -> None:
    patients = pd.DataFrame({"time": [1.0, 2.0], "event": [True, False], "group": ["low", "low"]})
    _, summary = draw_kaplan_meier(patients, "title", "days")
    assert summary.startswith("no log-rank test: all subjects are in the group 'low'")


@pytest.mark.parametrize(("p", "words"), [(0.0456, "= 0.046"), (1e-9, "< 0.001"), (0.9, "= 0.9")])
def test_p_is_never_zero(p: float, words: str) -> None:
    assert words_of_test(LogRank(1.0, p)) == f"log-rank p {words}"
