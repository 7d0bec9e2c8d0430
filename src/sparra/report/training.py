"""Figures of how the networks were trained: the Cox loss of each epoch."""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparra.report.curves import legend_below
from sparra.report.figures import colour_of
from sparra.report.pictures import STYLE
from sparra.report.results import (
    AGGREGATOR_NAMES,
    MODALITY_NAMES,
    aggregator_name,
    in_order,
    in_sentence,
    modality_name,
)

# The study room imports this one, so its layout is known here as a type only.
if TYPE_CHECKING:
    from sparra.study.layout import StudyLayout

# Of the training subjects, and of those kept back to choose the epoch.
LOSSES = {"cox": ("-", ""), "validation": ("--", ", kept back")}


def read_training_curves(layout: "StudyLayout", metrics: pd.DataFrame) -> pd.DataFrame:
    """Read the curve of every trained model of a study.

    Parameters
    ----------
    layout : StudyLayout
    metrics : DataFrame
        ``metrics.csv``: models of other folds than it names are of earlier settings. Without rows all are taken.

    Returns
    -------
    DataFrame
        A row an epoch and model: ``modality``, ``aggregator``, ``fold``, ``member`` (of an ensemble), ``epoch`` (from
        1), ``cox`` and, where patients were kept back, ``validation``: Cox losses a patient. Without rows if nothing
        is trained.
    """
    columns = ["modality", "aggregator", "fold", "member", "epoch", *LOSSES]
    judged = set(zip(metrics["modality"], metrics["aggregator"], metrics["fold"], strict=True))
    tables = [pd.DataFrame(columns=columns)]
    for path in sorted((layout.root / "models").glob("*/*/fold-*/curve*.csv")):
        modality, aggregator, name = path.parts[-4:-1]
        fold = name.removeprefix("fold-")
        curve = _curve(path)
        if curve is not None and fold.isdecimal() and (not judged or (modality, aggregator, int(fold)) in judged):
            curve = curve.assign(modality=modality, aggregator=aggregator, fold=int(fold), member=path.stem)
            tables.append(curve.assign(epoch=curve["epoch"] + 1))
    return pd.concat(tables[1:] or tables, ignore_index=True).reindex(columns=columns)


def _curve(path: Path) -> pd.DataFrame | None:
    """Read one curve; None where it is not whole, since a report is of what there is."""
    try:
        curve = pd.read_csv(path)
    except (OSError, ValueError):
        return None
    return curve if {"epoch", "cox"} <= set(curve) and len(curve) else None


def training_figures(curves: pd.DataFrame) -> list[tuple[str, str, Figure]]:
    """Return file name, alternative text and figure of each modality's `curves`."""
    return [
        (
            f"training_{modality}",
            f"Cox loss by epoch of the networks on {in_sentence(modality)}",
            _draw(curves[curves["modality"] == modality], modality),
        )
        for modality in in_order(curves["modality"], MODALITY_NAMES)
    ]


def _draw(curves: pd.DataFrame, modality: str) -> Figure:
    """Draw a thin line a fold (mean over an ensemble's models) and a bold one for the mean over folds."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.55, 2.8), layout="constrained")
        axes = figure.subplots()
        for position, aggregator in enumerate(in_order(curves["aggregator"], AGGREGATOR_NAMES)):
            rows = curves[curves["aggregator"] == aggregator]
            colour = colour_of(aggregator, position)
            for loss, (dash, words) in LOSSES.items():
                _draw_loss(axes, rows.dropna(subset=loss), loss, colour, dash, f"{aggregator_name(aggregator)}{words}")
        axes.set(xlabel="Epoch", ylabel="Cox loss a patient")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_title(modality_name(modality), fontsize=10)
        legend_below(figure, axes)
    return figure


def _draw_loss(axes: Axes, rows: pd.DataFrame, loss: str, colour: str, dash: str, label: str) -> None:
    if rows.empty:
        return
    # Models that stopped early have shorter curves: a mean ends where the first of its models does.
    last = rows.groupby(["fold", "member"])["epoch"].transform("max")
    whole = last.groupby(rows["fold"]).transform("min")
    by_fold = rows[rows["epoch"] <= whole].groupby(["fold", "epoch"])[loss].mean()
    for _, values in by_fold.groupby("fold"):
        axes.plot(
            values.index.get_level_values("epoch"), values, color=colour, linestyle=dash, linewidth=0.5, alpha=0.5
        )
    mean = by_fold.groupby("epoch").mean().loc[: whole.min()]
    marker = "o" if len(mean) == 1 else None
    axes.plot(mean.index, mean, color=colour, linestyle=dash, linewidth=1.6, marker=marker, markersize=3, label=label)
