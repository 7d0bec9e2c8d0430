"""Means and standard deviations over folds, in the form of the paper's Table 1."""

import pandas as pd

KEYS = ["modality", "aggregator", "metric"]
AVERAGE = "Avg."
# The aggregator's own risk is not one of the survival models that the paper averages.
NETWORK = "network"


def summarise_metrics(metrics: pd.DataFrame, ddof: int = 1) -> pd.DataFrame:
    """Summarise the folds' metrics.

    Parameters
    ----------
    metrics : DataFrame
        Columns modality, aggregator, model, metric, fold, value, reason; as in ``evaluation/metrics.csv``.
    ddof : int
        Of the standard deviation: 1 (default) divides by the number of folds less one; 0 is what the
        paper's code printed.

    Returns
    -------
    DataFrame
        Columns modality, aggregator, metric, model, mean, sd, folds, folds_defined, reason. One row a model
        and one called ``Avg.``: the mean over survival models of their means and of their SDs, as in the
        paper's Table 1, over the models for which the metric is defined and without ``network``. Mean and SD
        are over the folds in which the metric is defined; `reason` tells why others are not.
    """
    named = metrics.assign(reason=metrics["reason"].fillna("").astype(str))
    by_model = named.groupby([*KEYS, "model"], sort=False, observed=True)
    summary = by_model["value"].agg(mean="mean", sd=lambda values: values.std(ddof=ddof)).reset_index()
    summary["folds"] = by_model["value"].size().to_numpy()
    summary["folds_defined"] = by_model["value"].count().to_numpy()
    summary["reason"] = by_model["reason"].agg(_join_reasons).to_numpy()
    second_stage = summary[summary["model"] != NETWORK]
    average = second_stage.groupby(KEYS, sort=False, observed=True)[["mean", "sd"]].mean().reset_index()
    average = average.assign(model=AVERAGE, reason="")
    table = pd.concat([summary, average], ignore_index=True)
    return table[[*KEYS, "model", "mean", "sd", "folds", "folds_defined", "reason"]]


def wide_table(summary: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Lay a summary out as the paper's Table 1.

    Parameters
    ----------
    summary : DataFrame
        From `summarise_metrics`.
    digits : int
        Decimals of the cells.

    Returns
    -------
    DataFrame
        One row a modality, aggregator and metric in order of appearance; one column a model, ``Avg.``
        after the survival models, ``network`` last; cells such as ``0.707 (0.065)`` or ``n/a``.
    """
    cells = summary.assign(
        cell=[_cell(mean, sd, digits) for mean, sd in zip(summary["mean"], summary["sd"], strict=True)]
    )
    models = list(dict.fromkeys(cells["model"]))
    order = [name for name in models if name not in (AVERAGE, NETWORK)]
    order += [name for name in (AVERAGE, NETWORK) if name in models]
    rows = pd.MultiIndex.from_frame(cells[KEYS].drop_duplicates())
    wide = cells.set_index([*KEYS, "model"])["cell"].unstack("model")
    return wide.reindex(index=rows, columns=order).fillna("n/a").rename_axis(columns=None).reset_index()


def _join_reasons(reasons: pd.Series) -> str:
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))


def _cell(mean: float, sd: float, digits: int) -> str:
    if pd.isna(mean):
        return "n/a"
    return f"{mean:.{digits}f}" if pd.isna(sd) else f"{mean:.{digits}f} ({sd:.{digits}f})"
