"""The results in the form of the paper's Table 1: mean and standard deviation over folds."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from sparra.report.results import METRIC_NAMES, MODELS, arms, in_order
from sparra.survival.summary import AVERAGE, NETWORK, summarise_metrics

LOWER_IS_BETTER = ("ibs",)


@dataclass(frozen=True)
class Cell:
    """One number of the table.

    Attributes
    ----------
    mean, sd : float
        Over the folds where the metric is defined; NaN where it never is.
    n_folds : int
        Number of those folds.
    note : str
        Why values are missing, or what an average was taken over; empty where there is nothing to say.
    best : bool
        Whether `mean` is the best of its metric and column.
    """

    mean: float
    sd: float
    n_folds: int
    note: str = ""
    best: bool = False

    @property
    def text(self) -> str:
        """Mean as shown; ``N/A`` where undefined, never 0."""
        return f"{self.mean:.3f}" if np.isfinite(self.mean) else "N/A"

    @property
    def subscript(self) -> str:
        """Standard deviation as shown, empty where undefined."""
        return f"{self.sd:.3f}" if np.isfinite(self.sd) else ""


@dataclass(frozen=True)
class Row:
    """One metric of one way to aggregate one modality, with a cell for each column of the table."""

    modality: str
    aggregator: str
    metric: str
    cells: dict[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultsTable:
    """The whole table.

    Attributes
    ----------
    columns : tuple of str
        Survival models, ``Avg.`` over them, and ``network``, the aggregator's own risk.
    rows : tuple of Row
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def notes(self) -> list[str]:
        """Distinct notes in order of appearance; the page numbers them as footnotes."""
        return list(dict.fromkeys(cell.note for row in self.rows for cell in row.cells.values() if cell.note))

    def frame(self) -> pd.DataFrame:
        """Return the table as data: a mean, a standard deviation and a number of folds for each column."""
        records = []
        for row in self.rows:
            record: dict[str, object] = {
                "modality": row.modality, "aggregator": row.aggregator, "metric": row.metric,
            }  # fmt: skip
            for name, cell in row.cells.items():
                record |= {name: cell.mean, f"{name} SD": cell.sd, f"{name} folds": cell.n_folds}
            records.append(record | {"notes": "; ".join(c.note for c in row.cells.values() if c.note)})
        return pd.DataFrame(records)


def results_table(metrics: pd.DataFrame, ddof: int = 1) -> ResultsTable:
    """Summarise ``metrics.csv`` over folds and lay it out, with a note for what is missing.

    Parameters
    ----------
    metrics : DataFrame
        Columns modality, aggregator, model, metric, fold, value, reason.
    ddof : int
        Of the standard deviation; 0 in the protocol ``paper``.
    """
    if metrics.empty:
        return ResultsTable((), ())
    summary = summarise_metrics(metrics, ddof)
    models = in_order(set(summary["model"]) - {AVERAGE, NETWORK}, MODELS)
    columns = (*models, *(name for name in (AVERAGE, NETWORK) if name in set(summary["model"])))
    records = {(r["modality"], r["aggregator"], r["metric"], r["model"]): r for r in summary.to_dict("records")}
    rows = []
    for modality, aggregator in arms(metrics):
        here = metrics[(metrics["modality"] == modality) & (metrics["aggregator"] == aggregator)]
        for metric in in_order(here["metric"], METRIC_NAMES):
            key = (modality, aggregator, metric)
            cells = {name: _cell(records.get((*key, name))) for name in columns if name != AVERAGE}
            if AVERAGE in columns:
                cells[AVERAGE] = _average(records.get((*key, AVERAGE)), {name: cells[name] for name in models})
            rows.append(Row(modality, aggregator, metric, {name: cells[name] for name in columns}))
    return ResultsTable(columns, tuple(_with_best(rows, columns)))


def _cell(record: Mapping[Hashable, Any] | None) -> Cell:
    if record is None:
        return Cell(np.nan, np.nan, 0, "not evaluated")
    defined, folds = int(record["folds_defined"]), int(record["folds"])
    reason = record["reason"] or "undefined"
    note = ""
    if defined < folds:
        note = reason if defined == 0 else f"without {folds - defined} of {folds} folds: {reason}"
    return Cell(float(record["mean"]), float(record["sd"]), defined, note)


def _average(record: Mapping[Hashable, Any] | None, cells: dict[str, Cell]) -> Cell:
    defined = [name for name, cell in cells.items() if np.isfinite(cell.mean)]
    if record is None or not defined:
        return Cell(np.nan, np.nan, 0, "no survival model has a value")
    note = "" if len(defined) == len(cells) else f"average of {', '.join(defined)}"
    n_folds = min(cells[name].n_folds for name in defined)
    return Cell(float(record["mean"]), float(record["sd"]), n_folds, note)


def _with_best(rows: list[Row], columns: tuple[str, ...]) -> list[Row]:
    """Mark the best of each metric and column, as rounded for display, so that ties are shown as ties."""
    scores: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for name in columns:
            scores.setdefault((row.metric, name), []).append(_score(row.metric, row.cells[name]))
    # A number without a rival is not the best of anything.
    best = {key: np.nanmax(rivals) for key, rivals in scores.items() if np.isfinite(rivals).sum() > 1}
    return [
        replace(
            row,
            cells={
                name: replace(cell, best=_score(row.metric, cell) == best.get((row.metric, name)))
                for name, cell in row.cells.items()
            },
        )
        for row in rows
    ]


def _score(metric: str, cell: Cell) -> float:
    return float(np.round(-cell.mean if metric in LOWER_IS_BETTER else cell.mean, 3))
