"""Bars of the metrics (the paper's Fig. 2) and Kaplan–Meier curves of risk groups (its Fig. 4)."""

from textwrap import fill

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sparra.report.pictures import AGGREGATOR_COLOURS, HIGH_RISK, LOW_RISK, OTHER_COLOURS, QUIET, STYLE
from sparra.report.results import METRIC_NAMES, aggregator_name, in_order, metric_name, modality_name
from sparra.report.tables import LOWER_IS_BETTER, ResultsTable, Row
from sparra.survival.groups import LogRank, kaplan_meier, log_rank

CHANCE = 0.5
# Letters of a title that fit above the axes.
TITLE_WIDTH = 38
GROUPS = (("low", LOW_RISK, "-"), ("high", HIGH_RISK, "--"))


def colour_of(aggregator: str, position: int) -> str:
    """Return the fixed colour of a known aggregator, else the next free one."""
    return AGGREGATOR_COLOURS.get(aggregator.lower(), OTHER_COLOURS[position % len(OTHER_COLOURS)])


def draw_bars(table: ResultsTable, modality: str, metrics: pd.DataFrame) -> Figure:
    """Draw the metrics of one modality (Fig. 2): bars to the mean, whiskers of one SD, a dot a fold.

    One panel a metric. Bars start from chance, those of the integrated Brier score from 0.

    Parameters
    ----------
    table : ResultsTable
    modality : str
    metrics : DataFrame
        ``metrics.csv``, for the folds' dots.
    """
    mine = [row for row in table.rows if row.modality == modality]
    shown = in_order({row.metric for row in mine}, METRIC_NAMES)
    one = len(shown) < 2
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.55, 2.6) if one else (7.2, 2.3 * -(-len(shown) // 2) + 0.3), layout="constrained")
        panels = figure.subplots(-(-len(shown) // 2) or 1, 1 if one else 2, squeeze=False).ravel()
        for axes, metric in zip(panels, shown, strict=False):
            _draw_bars_of(axes, table, [row for row in mine if row.metric == metric], metrics)
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
        figure.suptitle(modality_name(modality), fontsize=10)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=max(len(labels), 1), frameon=False, fontsize=8)
    return figure


def _draw_bars_of(axes: Axes, table: ResultsTable, rows: list[Row], metrics: pd.DataFrame) -> None:
    """Draw the panel of one metric; a model without a value has no place."""
    metric = rows[0].metric
    base = 0.0 if metric in LOWER_IS_BETTER else CHANCE
    names = [name for name in table.columns if any(np.isfinite(row.cells[name].mean) for row in rows)]
    width = 0.8 / len(rows)
    folds = metrics[(metrics["modality"] == rows[0].modality) & (metrics["metric"] == metric)]
    for position, row in enumerate(rows):
        x = np.arange(len(names)) + (position - (len(rows) - 1) / 2) * width
        mean = np.asarray([row.cells[name].mean for name in names])
        sd = np.nan_to_num([row.cells[name].sd for name in names])
        colour = colour_of(row.aggregator, position)
        axes.bar(x, mean - base, 0.9 * width, bottom=base, color=colour, alpha=0.85,
                 label=aggregator_name(row.aggregator))  # fmt: skip
        axes.errorbar(x, mean, sd, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        tested = folds[folds["aggregator"] == row.aggregator]
        for place, name in zip(x, names, strict=True):
            values = tested.loc[tested["model"] == name, "value"]
            axes.plot([place] * len(values), values, ".", color="black", alpha=0.35, markersize=3)
    axes.axhline(base, color=QUIET, linewidth=0.8)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(*_limits(metrics, table, metric))
    axes.set_ylabel(metric_name(metric))


def _limits(metrics: pd.DataFrame, table: ResultsTable, metric: str) -> tuple[float, float]:
    """Limits that hold every fold and whisker of a metric, equal over the modalities' figures."""
    cells = [cell for row in table.rows if row.metric == metric for cell in row.cells.values()]
    values = metrics.loc[metrics["metric"] == metric, "value"].tolist()
    values += [cell.mean + side * np.nan_to_num(cell.sd) for cell in cells for side in (-1, 1)]
    if metric in LOWER_IS_BETTER:
        return 0.0, 1.05 * float(np.nanmax([*values, 0.25]))
    low = np.nanmin([*values, CHANCE - 0.02])
    high = np.nanmax([*values, CHANCE + 0.1])
    return max(0.0, float(low) - 0.02), min(1.0, float(high) + 0.02)


def draw_kaplan_meier(patients: pd.DataFrame, title: str, time_unit: str) -> tuple[Figure, str]:
    """Draw the survival of low- and high-risk patients with 95 % bands and the numbers at risk.

    Parameters
    ----------
    patients : DataFrame
        Columns time, event, group (``low`` or ``high``); one row a patient, out-of-fold.
    title, time_unit : str

    Returns
    -------
    figure : Figure
    summary : str
        Log-rank p, or why there is none, and the size of the groups, in words.
    """
    time, event = patients["time"].to_numpy(dtype=np.float64), patients["event"].to_numpy(dtype=bool)
    group = patients["group"].to_numpy(dtype=str)
    summary = [words_of_test(log_rank(time, event, group))]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.55, 3.5), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4.2, 1])
        for name, colour, dash in GROUPS:
            chosen = group == name
            if chosen.any():
                _draw_curve(axes, time[chosen], event[chosen], name, colour, dash)
                summary.append(f"{name} risk: {chosen.sum()} patients, {event[chosen].sum()} events")
        axes.set(ylim=(0, 1.02), xlim=(0, float(time.max()) * 1.02), ylabel="Survival")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_title(fill(title, TITLE_WIDTH), fontsize=10)
        axes.legend(loc="upper right", frameon=False, fontsize=8, alignment="left")
        # Survival starts at 1, so the lower left corner is free.
        axes.text(0.03, 0.04, summary[0].partition(":")[0], transform=axes.transAxes, fontsize=8)
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(f"Time ({time_unit})")
        _write_at_risk(below, time, group, axes.get_xticks())
    return figure, "; ".join(summary)


def _draw_curve(
    axes: Axes, time: NDArray[np.float64], event: NDArray[np.bool_], name: str, colour: str, dash: str
) -> None:
    curve = kaplan_meier(time, event)
    times = np.concatenate([[0.0], curve.times])
    survival = np.concatenate([[1.0], curve.survival])
    lower, upper = np.concatenate([[1.0], curve.lower]), np.concatenate([[1.0], curve.upper])
    axes.step(times, survival, where="post", color=colour, linestyle=dash, linewidth=1.6, label=f"{name} risk")
    axes.fill_between(times, lower, upper, step="post", color=colour, alpha=0.15, linewidth=0)
    censored = np.sort(time[~event])
    at = survival[np.searchsorted(times, censored, side="right") - 1]
    axes.plot(censored, at, "|", color=colour, markersize=5, markeredgewidth=0.8)


def _write_at_risk(axes: Axes, time: NDArray[np.float64], group: NDArray[np.str_], ticks: NDArray[np.float64]) -> None:
    axes.set(ylim=(-0.5, 1.5), yticks=[1, 0], yticklabels=["low", "high"])
    axes.set_title("Number at risk", fontsize=8, loc="left", pad=2)
    axes.spines[:].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False, left=False, pad=12, labelsize=8)
    right = axes.get_xlim()[1]
    for tick in (tick for tick in ticks if 0 <= tick <= right):
        for row, (name, colour, _) in zip((1, 0), GROUPS, strict=True):
            n = int(((time >= tick) & (group == name)).sum())
            axes.text(tick, row, str(n), ha="center", va="center", fontsize=8, color=colour)


def words_of_test(test: LogRank) -> str:
    """Return a log-rank test in words: p to two digits and never as zero, or why there is none."""
    if not np.isfinite(test.p):
        return f"no log-rank test: {test.reason}"
    return "log-rank p < 0.001" if test.p < 0.001 else f"log-rank p = {test.p:.2g}"
