"""Calibration, decision and AUC pictures show the numbers they are given."""

import numpy as np
import pandas as pd
import pytest

from sparra.report.curves import draw_auc, draw_bands, draw_calibration, draw_decision
from sparra.report.tables import results_table

AGGREGATORS = ("mean", "sparra")
HORIZONS = (365.25, 1095.75, 1826.25)


@pytest.fixture
def survival() -> pd.DataFrame:
    """Predictions of which ``mean`` is right, and ``sparra`` far too extreme; patient 0 is in two folds."""
    rng = np.random.default_rng(5)
    n = 1000
    hazard = np.exp(rng.normal(-7.5, 0.8, n))
    time = rng.exponential(1 / hazard)
    tables = []
    for aggregator, stretch in zip(AGGREGATORS, (1.0, 3.0), strict=True):
        middle = np.exp(np.log(hazard).mean() + stretch * (np.log(hazard) - np.log(hazard).mean()))
        for horizon in HORIZONS:
            rows = pd.DataFrame(
                {
                    "modality": "slide", "aggregator": aggregator, "model": "CoxPH", "repeat": 0,
                    "fold": np.arange(n) % 5, "subject_id": [f"P{i}" for i in range(n)],
                    "time": np.minimum(time, 3000.0), "event": time < 3000.0, "horizon": horizon,
                    "survival": np.exp(-middle * horizon),
                }
            )  # fmt: skip
            again = rows.iloc[:1].assign(fold=7, survival=0.999)
            tables += [rows, again]
    return pd.concat(tables, ignore_index=True)


def test_calibration_is_that_of_the_middle_horizon(survival: pd.DataFrame) -> None:
    figure = draw_calibration(survival, "slide", "CoxPH", "days")
    assert figure is not None
    axes = figure.axes[0]
    assert axes.get_title() == "Slides, CoxPH, 1096 days"
    lines = {str(line.get_label()).partition(",")[0]: line for line in axes.lines}
    right, extreme = (np.asarray(lines[name].get_xydata()) for name in ("Mean", "SPARRA"))
    assert np.abs(right[:, 1] - right[:, 0]).mean() < 0.05
    assert np.abs(extreme[:, 1] - extreme[:, 0]).mean() > 0.1
    marks = [line for line in axes.lines if line.get_marker() == "|"]
    assert [len(line.get_xdata()) for line in marks] == [1000, 1000]  # each patient once


def test_the_clinical_model_stands_beside_the_methods_on_their_patients(survival: pd.DataFrame) -> None:
    clinical = survival[survival["aggregator"] == "mean"].assign(
        modality="clinical", aggregator="clinical", model="Cox"
    )
    # A patient without a slide has no place among those of the slides.
    without = clinical.iloc[:1].assign(subject_id="X1", horizon=HORIZONS[1])
    figure = draw_calibration(pd.concat([survival, clinical, without]), "slide", "CoxPH", "days")
    assert figure is not None
    lines = {str(line.get_label()).partition(",")[0]: line for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["clinical"].get_xydata(), lines["Mean"].get_xydata())
    assert len([line for line in figure.axes[0].lines if line.get_marker() == "|"]) == 3


def test_no_calibration_without_predictions_or_events(survival: pd.DataFrame) -> None:
    assert draw_calibration(survival, "ct", "CoxPH", "days") is None
    assert draw_calibration(survival.assign(event=False), "slide", "CoxPH", "days") is None


def test_decision_curves_and_their_rivals_are_drawn_as_given() -> None:
    threshold = np.linspace(0.01, 0.99, 99)
    names = [("slide", a, "CoxPH") for a in AGGREGATORS] + [("clinical", "clinical", "Cox")]
    tables = [
        pd.DataFrame(
            {
                "modality": m, "aggregator": a, "model": model, "horizon": horizon, "threshold": threshold,
                "net_benefit": (0.1 * k + 0.1) * (1 - threshold), "treat_all": 0.3 - threshold, "reason": "",
            }
        )
        for k, (m, a, model) in enumerate(names)
        for horizon in HORIZONS
    ]  # fmt: skip
    figure = draw_decision(pd.concat(tables), "slide", "CoxPH", "days")
    assert figure is not None
    lines = {line.get_label(): np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[0].lines}
    assert list(lines) == ["Mean", "SPARRA", "clinical", "treat all", "treat nobody"]
    np.testing.assert_allclose(lines["SPARRA"], 0.2 * (1 - threshold))
    np.testing.assert_allclose(lines["clinical"], 0.3 * (1 - threshold))
    np.testing.assert_allclose(lines["treat all"], 0.3 - threshold)
    assert draw_decision(pd.concat(tables), "ct", "CoxPH", "days") is None


def test_auc_is_the_mean_over_folds_where_defined() -> None:
    rows = [
        ("slide", aggregator, "CoxPH", fold, at, np.nan if (fold, at) == (1, 20.0) else 0.5 + 0.1 * fold + at / 1000)
        for aggregator in AGGREGATORS
        for fold in (0, 1)
        for at in (10.0, 20.0)
    ]
    table = pd.DataFrame(rows, columns=["modality", "aggregator", "model", "fold", "at", "auc"])
    clinical = table[table["aggregator"] == "mean"].assign(modality="clinical", aggregator="clinical", model="Cox")
    axes = draw_auc(pd.concat([table, clinical.assign(auc=0.7)]), "slide", "CoxPH", "days").axes[0]
    assert [line.get_label() for line in axes.lines] == ["Mean", "SPARRA", "clinical", "chance"]
    np.testing.assert_allclose(axes.lines[2].get_ydata(), 0.7)
    alone = draw_auc(table, "slide", "CoxPH", "days").axes[0]
    assert [line.get_label() for line in alone.lines] == ["Mean", "SPARRA", "chance"]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.56, 0.52])
    assert axes.get_xlabel() == "Time (days)"


def test_bands_have_a_point_for_each_aggregation_and_model_with_a_value() -> None:
    rows = [
        (modality, aggregator, model, "ibs", fold, np.nan if model == "FSVM" else value + 0.02 * fold, "")
        for modality, value in (("ct", 0.2), ("slide", 0.25))
        for aggregator in AGGREGATORS
        for model in ("CoxPH", "FSVM")
        for fold in (0, 1)
    ]
    columns = ["modality", "aggregator", "model", "metric", "fold", "value", "reason"]
    axes = draw_bands(results_table(pd.DataFrame(rows, columns=columns)), "ibs").axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["CoxPH", "Avg.", "CoxPH", "Avg."]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 0.21)
    sd = 0.02 / np.sqrt(2)
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [0.21 - sd, 0.21 + sd])
