"""The table and figures as files, for a manuscript: LaTeX, SVG and PNG."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from sparra.files import atomic_path, write_text
from sparra.report.curves import draw_auc, draw_bands, draw_calibration, draw_decision
from sparra.report.pictures import Picture
from sparra.report.results import (
    METRIC_NAMES,
    MODELS,
    StudyResults,
    aggregator_name,
    in_order,
    metric_name,
    modality_name,
)
from sparra.report.tables import Cell, ResultsTable


def latex_table(table: ResultsTable) -> str:
    r"""Return the table as LaTeX (booktabs): mean with the SD as a subscript, the best in bold."""
    head = " & ".join(["Images", "Aggregation", "Metric", *map(_escaped, table.columns)])
    lines = [rf"\begin{{tabular}}{{lll{'c' * len(table.columns)}}}", r"\toprule", rf"{head} \\", r"\midrule"]
    for row in table.rows:
        cells = [_latex_cell(row.cells[name]) for name in table.columns]
        names = [modality_name(row.modality), aggregator_name(row.aggregator), metric_name(row.metric)]
        lines.append(" & ".join([*map(_escaped, names), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_cell(cell: Cell) -> str:
    mean = rf"\mathbf{{{cell.text}}}" if cell.best else cell.text
    if cell.text == "N/A":
        return "N/A"
    return f"${mean}_{{{cell.subscript}}}$" if cell.subscript else f"${mean}$"


def _escaped(text: str) -> str:
    for character in "&%#_":
        text = text.replace(character, f"\\{character}")
    return text


def further_figures(results: StudyResults, table: ResultsTable) -> Iterator[tuple[str, str, Figure]]:
    """Yield file name, alternative text and figure of what is drawn beside bars and Kaplan–Meier curves."""
    for metric in in_order({row.metric for row in table.rows}, METRIC_NAMES):
        yield f"fig3_{metric}", f"{metric_name(metric)} over aggregations and models", draw_bands(table, metric)
    models = in_order(set(results.survival["model"]), ("CoxPH", *MODELS))
    if not models:
        return
    survival = pd.concat([results.survival, results.comparator_survival], ignore_index=True)
    auc = pd.concat([results.auc, results.comparator_auc], ignore_index=True)
    model, unit = models[0], results.time_unit
    for modality in in_order(set(results.survival["modality"]), ("ct", "slide", "joint")):
        where = f"{modality_name(modality)}, {model}"
        drawn: tuple[tuple[str, str, Figure | None], ...] = (
            ("calibration", "Calibration", draw_calibration(survival, modality, model, unit)),
            ("decision", "Net benefit", draw_decision(results.decision, modality, model, unit)),
            ("auc", "Time-dependent AUC", draw_auc(auc, modality, model, unit)),
        )
        yield from ((f"{name}_{modality}", f"{title}, {where}", f) for name, title, f in drawn if f is not None)


def save_figures(folder: Path, figures: Mapping[str, tuple[Figure, Picture]]) -> None:
    """Write each figure as SVG (text stays text), and as PNG just as the page shows it, atomically."""
    for name, (figure, shown) in figures.items():
        with atomic_path(folder / f"{name}.svg") as temporary, mpl.rc_context({"svg.fonttype": "none"}):
            figure.savefig(temporary, format="svg")
        with atomic_path(folder / f"{name}.png") as temporary:
            temporary.write_bytes(shown.png)


def write_latex(path: Path, table: ResultsTable) -> None:
    """Write `latex_table`."""
    write_text(path, latex_table(table))


def comparator_rows(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return mean and SD over folds of each comparator and metric, for the page."""
    keys = ["modality", "aggregator", "model", "metric"]
    return metrics.groupby(keys, sort=False)["value"].agg(["mean", "std", "count"]).reset_index()
