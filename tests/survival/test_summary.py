import numpy as np
import pandas as pd
import pytest

from sparra.survival.summary import summarise_metrics, wide_table

# Table 1 of the paper: mean_sd of RSF, CoxPH, Coxnet, FSVM, and the printed average.
TABLE_1 = {
    ("Mean", "c_index"): ([(0.614, 0.085), (0.635, 0.077), (0.614, 0.122), (0.630, 0.086)], (0.623, 0.093)),
    ("Mean", "ibs"): ([(0.191, 0.019), (0.293, 0.083), (0.283, 0.061), None], (0.256, 0.054)),
    ("SPARRA", "c_index"): ([(0.684, 0.063), (0.716, 0.064), (0.706, 0.071), (0.721, 0.063)], (0.707, 0.065)),
    ("SPARRA", "c_auc"): ([(0.674, 0.054), (0.711, 0.077), (0.681, 0.105), (0.714, 0.064)], (0.695, 0.075)),
}
MODELS = ("RSF", "CoxPH", "Coxnet", "FSVM")


def table_1_as_folds():
    """Two folds at mean ± SD have that mean and, with ddof 0, that SD."""
    rows = []
    for (aggregator, metric), (cells, _) in TABLE_1.items():
        for model, cell in zip(MODELS, cells, strict=True):
            for fold, sign in enumerate((-1, 1)):
                value = cell[0] + sign * cell[1] if cell else np.nan
                rows.append(("joint", aggregator, model, metric, fold, value, "" if cell else "none"))
    rows += [("joint", "SPARRA", "network", "c_index", fold, 0.0, "") for fold in (0, 1)]
    return pd.DataFrame(rows, columns=["modality", "aggregator", "model", "metric", "fold", "value", "reason"])


def test_the_average_is_the_papers_and_leaves_the_network_out():
    summary = summarise_metrics(table_1_as_folds(), ddof=0).set_index(["aggregator", "metric", "model"])
    for (aggregator, metric), (_, printed) in TABLE_1.items():
        row = summary.loc[(aggregator, metric, "Avg.")]
        # The paper averages unrounded numbers.
        assert (row["mean"], row["sd"]) == pytest.approx(printed, abs=1.01e-3)
    assert summary.loc[("SPARRA", "c_index", "network"), "mean"] == 0


def test_wide_table_has_the_form_of_table_1():
    wide = wide_table(summarise_metrics(table_1_as_folds(), ddof=0))
    assert list(wide.columns) == ["modality", "aggregator", "metric", *MODELS, "Avg.", "network"]
    assert wide[["aggregator", "metric"]].to_numpy().tolist() == [list(key) for key in TABLE_1]
    assert wide.loc[1, "RSF"] == "0.191 (0.019)"
    assert wide.loc[1, "FSVM"] == "n/a"
    assert wide.loc[0, "network"] == "n/a"


def test_undefined_folds_are_left_out_counted_and_explained():
    values = [0.5, 0.7, np.nan]
    metrics = pd.DataFrame(
        {"modality": "ct", "aggregator": "ABMIL", "model": "RSF", "metric": "c_ipcw", "fold": range(3)}
    ).assign(value=values, reason=["", np.nan, "no event before the horizon"])
    row = summarise_metrics(metrics).iloc[0]
    assert row["mean"] == pytest.approx(0.6)
    assert row["sd"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert (row["folds"], row["folds_defined"]) == (3, 2)
    assert row["reason"] == "no event before the horizon"
