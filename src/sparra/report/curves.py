"""Figures over models (the paper's Fig. 3), over time, and of predicted probabilities."""

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparra.report.figures import colour_of
from sparra.report.pictures import CLINICAL_COLOUR, INK, OTHER_COLOURS, QUIET, STYLE
from sparra.report.results import aggregator_name, arms, metric_name, modality_name
from sparra.report.tables import ResultsTable
from sparra.survival.calibration import calibrate
from sparra.survival.outcomes import FollowUp, SurvivalCurves

DASHES = ("-", "--", ":", "-.")
CLINICAL_DASH = (0, (6, 1.5, 1, 1.5, 1, 1.5))
MODALITY_COLOURS = {"ct": "#0072b2", "slide": "#009e73", "joint": "#d55e00"}
MODALITY_MARKERS = {"ct": "o", "slide": "s", "joint": "^"}


def draw_bands(table: ResultsTable, metric: str) -> Figure:
    """Draw one metric over all aggregations and models, a line a modality, with a band of one SD (Fig. 3).

    A line ends with its aggregation; a model without a value in any modality has no place.
    """
    rows = [row for row in table.rows if row.metric == metric]
    aggregators = list(dict.fromkeys(row.aggregator for row in rows))
    known = {(r.aggregator, name) for r in rows for name, cell in r.cells.items() if np.isfinite(cell.mean)}
    places = [(a, name) for a in aggregators for name in table.columns if (a, name) in known]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        axes = figure.subplots()
        named: set[str] = set()
        for row in rows:
            shown = [(places.index((row.aggregator, n)), c) for n, c in row.cells.items() if np.isfinite(c.mean)]
            x, mean = np.array([place for place, _ in shown]), np.array([cell.mean for _, cell in shown])
            sd = np.nan_to_num([cell.sd for _, cell in shown])
            colour = MODALITY_COLOURS.get(row.modality, OTHER_COLOURS[1])
            marker = MODALITY_MARKERS.get(row.modality, "D")
            label = None if row.modality in named else modality_name(row.modality)
            named.add(row.modality)
            axes.plot(x, mean, color=colour, marker=marker, markersize=4, linewidth=1.2, label=label)
            axes.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
        axes.set_xticks(range(len(places)), [name for _, name in places], rotation=45, ha="right", fontsize=8)
        for aggregator in aggregators:
            mine = [place for place, (name, _) in enumerate(places) if name == aggregator]
            if mine:
                axes.text(float(np.mean(mine)), 1.01, aggregator_name(aggregator), fontsize=9, ha="center", va="bottom",
                          transform=axes.get_xaxis_transform())  # fmt: skip
                axes.axvline(mine[-1] + 0.5, color=QUIET, linewidth=0.6, alpha=0.6 * (mine[-1] + 1 < len(places)))
        axes.set_xlim(-0.5, max(len(places), 1) - 0.5)
        axes.set_ylabel(metric_name(metric))
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def draw_auc(auc: pd.DataFrame, modality: str, model: str, time_unit: str) -> Figure:
    """Draw the time-dependent AUC of one modality and model, mean over the folds where it is defined.

    The clinical model's stands beside it where `auc` has it.
    """
    chosen = auc[(auc["modality"] == modality) & (auc["model"] == model)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.55, 2.8), layout="constrained")
        axes = figure.subplots()
        for rows, label, style in _lines(auc, chosen):
            mean = rows.groupby("at")["auc"].mean()
            axes.plot(mean.index, mean, label=label, **style)
        axes.axhline(0.5, color=QUIET, linewidth=0.8, label="chance")
        axes.set(xlabel=f"Time ({time_unit})", ylabel="AUC")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_title(f"{modality_name(modality)}, {model}", fontsize=10)
        legend_below(figure, axes)
    return figure


def draw_calibration(survival: pd.DataFrame, modality: str, model: str, time_unit: str) -> Figure | None:
    """Draw smoothed observed on predicted risk at the middle horizon; None where no curve is defined.

    The clinical model's curve, on the same patients, stands beside them where `survival` has it.
    """
    chosen = survival[(survival["modality"] == modality) & (survival["model"] == model)]
    if chosen.empty:
        return None
    horizon = _middle_horizon(chosen)
    at_horizon = survival[(survival["horizon"] == horizon) & survival["subject_id"].isin(chosen["subject_id"])]
    drawn = 0
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.55, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, label="ideal")
        for rows, label, style in _lines(at_horizon, chosen[chosen["horizon"] == horizon]):
            once = rows.sort_values("fold", kind="stable").drop_duplicates("subject_id")
            follow_up = FollowUp(once["time"].to_numpy(float), once["event"].to_numpy(bool))
            curves = SurvivalCurves(np.array([horizon]), once["survival"].to_numpy(float)[:, None])
            found = calibrate(follow_up, curves, horizon)
            if found.reason:
                continue
            axes.plot(found.curve_predicted, found.curve_observed, label=f"{label}, ICI {found.ici:.3f}", **style)
            drawn += 1
            # Where the patients are, below the axis: elsewhere the curve rests on few.
            risk = 1.0 - once["survival"].to_numpy(float)
            axes.plot(risk, np.full(len(risk), -0.035 * drawn), "|", color=style["color"], markersize=5, alpha=0.6)
        axes.axhline(0, color=QUIET, linewidth=0.8)
        axes.set(xlim=(0, 1), ylim=(-0.035 * drawn - 0.03, 1), xlabel="Predicted risk", ylabel="Observed risk")
        axes.set_title(f"{modality_name(modality)}, {model}, {horizon:.4g} {time_unit}", fontsize=10)
        if drawn:
            legend_below(figure, axes)
    return figure if drawn else None


def draw_decision(decision: pd.DataFrame, modality: str, model: str, time_unit: str) -> Figure | None:
    """Draw net benefit by threshold at the middle horizon, with the clinical model, treating all and nobody."""
    methods = decision[(decision["modality"] == modality) & (decision["model"] == model)]
    if methods.empty:
        return None
    horizon = _middle_horizon(methods)
    at_horizon = decision[decision["horizon"] == horizon]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.55, 3.1), layout="constrained")
        axes = figure.subplots()
        top = 0.05
        for rows, label, style in _lines(at_horizon, methods[methods["horizon"] == horizon]):
            axes.plot(rows["threshold"], rows["net_benefit"], label=label, **style)
            top = float(np.nanmax([top, *rows["net_benefit"]]))
        everybody = methods[methods["horizon"] == horizon].drop_duplicates("threshold")
        axes.plot(everybody["threshold"], everybody["treat_all"], color=INK, linewidth=0.8, label="treat all")
        axes.axhline(0, color=QUIET, linewidth=0.8, label="treat nobody")
        top = float(np.nanmax([top, *everybody["treat_all"]]))
        axes.set(xlim=(0, 1), ylim=(-0.1 * top - 0.02, 1.1 * top), xlabel="Threshold risk", ylabel="Net benefit")
        axes.set_title(f"{modality_name(modality)}, {model}, {horizon:.4g} {time_unit}", fontsize=10)
        legend_below(figure, axes)
    return figure


def _lines(table: pd.DataFrame, chosen: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, str, dict[str, Any]]]:
    """Yield rows, label and style of each aggregator in `chosen`, and of the clinical model in `table`."""
    for position, (_, aggregator) in enumerate(arms(chosen)):
        style = {"color": colour_of(aggregator, position), "linestyle": DASHES[position % len(DASHES)]}
        yield chosen[chosen["aggregator"] == aggregator], aggregator_name(aggregator), style
    clinical = table[table["modality"] == "clinical"]
    if not clinical.empty:
        yield clinical, "clinical", {"color": CLINICAL_COLOUR, "linestyle": CLINICAL_DASH}


def legend_below(figure: Figure, axes: Axes) -> None:
    """Put the legend under the axes, where it hides no curve."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=7.5)


def _middle_horizon(table: pd.DataFrame) -> float:
    horizons = np.sort(table["horizon"].unique())
    return float(horizons[len(horizons) // 2])
