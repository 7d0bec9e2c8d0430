"""The HTML page: one file that needs no other, made only from what the study has written."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from sparra import __version__
from sparra.files import atomic_path, write_text
from sparra.report.checklist import checklist
from sparra.report.figures import draw_bars, draw_kaplan_meier
from sparra.report.paths import shareable
from sparra.report.patients import (
    Patient,
    extreme_patients,
    importance_maps,
    mapped_model,
    one_row_a_patient,
)
from sparra.report.pictures import Picture, picture
from sparra.report.publish import comparator_rows, further_figures, save_figures, write_latex
from sparra.report.results import (
    MODALITY_NAMES,
    MODELS,
    StudyResults,
    aggregator_name,
    arms,
    describe,
    in_order,
    metric_name,
    modality_name,
    read_results,
)
from sparra.report.settings import ReportSettings
from sparra.report.tables import ResultsTable, Row, results_table
from sparra.report.training import read_training_curves, training_figures
from sparra.report.trust import check_rows, map_verdicts, planted_rows
from sparra.report.words import added_value_sentences, as_yaml, cohort_flow, headline, protocol_sentences
from sparra.study.undrawn import undrawn_sentences

# The study room imports this one, so its layout is known here as a type only.
if TYPE_CHECKING:
    from sparra.study.layout import StudyLayout


@dataclass(frozen=True)
class MappedPatient:
    """A patient and what is drawn of it."""

    patient: Patient
    maps: list[Picture | str]


def write_report(layout: "StudyLayout", settings: ReportSettings | None = None) -> Path:
    """Write ``report/index.html`` and, beside it, the results as ``report/table1.csv``.

    Parameters
    ----------
    layout : StudyLayout
        Of a study that has run, wholly or in part: what it has not written is told in a sentence.
    settings : ReportSettings, optional

    Returns
    -------
    Path
        The page.
    """
    settings = settings or ReportSettings()
    results = shareable(read_results(layout))
    # The paper's code divides by the number of hold-outs, good practice by one less.
    table = results_table(results.metrics, ddof=0 if results.settings.get("protocol") == "paper" else 1)
    write_latex(layout.report.parent / "table1.tex", table)
    with atomic_path(layout.report.parent / "table1.csv") as temporary:
        table.frame().to_csv(temporary, index=False)
    with atomic_path(layout.report.parent / "checklist.csv") as temporary:
        checklist(results).to_csv(temporary, index=False)
    environment = Environment(
        loader=PackageLoader("sparra.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "modality": modality_name,
        "aggregator": aggregator_name,
        "metric": metric_name,
    }
    page = environment.get_template("page.html.j2").render(_content(layout, settings, results, table))
    write_text(layout.report, page)
    return layout.report


def _content(
    layout: "StudyLayout", settings: ReportSettings, results: StudyResults, table: ResultsTable
) -> Mapping[str, Any]:
    bars = _bars(table, results.metrics)
    curves = _curves(results, settings)
    further = [(name, f, picture(f, f"{words}.", words)) for name, words, f in further_figures(results, table)]
    losses = training_figures(read_training_curves(layout, results.metrics))
    trained = [(name, f, picture(f, f"{words}.", words)) for name, words, f in losses]
    figures = {name: (figure, shown) for name, figure, shown in (*bars, *curves, *further, *trained)}
    save_figures(layout.report.parent / "figures", figures)
    source = mapped_model(layout, results.predictions, settings)
    patients = _patients(layout, settings, results.predictions, source)
    return {
        "results": results,
        "paper": results.settings.get("protocol") == "paper",
        "date": datetime.now(UTC).date().isoformat(),
        "version": __version__,
        "headline": headline(table, results.predictions, results.intervals),
        "flow": cohort_flow(results),
        "table": table,
        "arms": [(arm, list(rows)) for arm, rows in groupby(table.rows, lambda row: (row.modality, row.aggregator))],
        "notes": {note: number for number, note in enumerate(table.notes, start=1)},
        "bars": [shown for _, _, shown in bars],
        "curves": [shown for _, _, shown in curves],
        "further": [shown for _, _, shown in further],
        "trained": [shown for _, _, shown in trained],
        "comparisons": results.comparisons.to_dict("records"),
        "added_value": added_value_sentences(results.added_value),
        "comparators": [
            {**row, "name": describe(row["modality"], row["aggregator"], row["model"])}
            for row in comparator_rows(results.comparators).to_dict("records")
        ],
        "map_source": source and describe(*source, "network"),
        "verdicts": map_verdicts(layout, *source) if source else [],
        "checks": check_rows(layout, *source) if source else [],
        "undrawn": undrawn_sentences(layout),
        "planted": planted_rows(layout),
        "patients": patients,
        "drawn": any(not isinstance(shown, str) for patient in patients for shown in patient.maps),
        "protocol": protocol_sentences(results),
        "checklist": checklist(results).to_dict("records"),
        "settings_yaml": as_yaml(dict(results.settings)),
        "versions_yaml": as_yaml(dict(results.versions)),
    }


def _arm(row: Row) -> tuple[str, str]:
    return (row.modality, row.aggregator)


def _bars(table: ResultsTable, metrics: pd.DataFrame) -> list[tuple[str, Figure, Picture]]:
    pictures = []
    for modality in in_order({row.modality for row in table.rows if row.metric == "c_index"}, MODALITY_NAMES):
        alt = (
            f"Bar charts of the metrics on {modality_name(modality)} for each aggregator and survival model; "
            "the numbers are in the table above."
        )
        figure = draw_bars(table, modality, metrics)
        pictures.append((f"fig2_{modality}", figure, picture(figure, alt, "")))
    return pictures


def _curves(results: StudyResults, settings: ReportSettings) -> list[tuple[str, Figure, Picture]]:
    """Kaplan–Meier curves of the joint, or else the first, modality's aggregators."""
    grouped = results.predictions[results.predictions["group"].isin(("low", "high"))]
    if grouped.empty:
        return []
    modality = in_order(grouped["modality"], ("joint", "ct", "slide"))[0]
    models = in_order(grouped["model"], (settings.group_model, *MODELS))
    pictures = []
    for _, aggregator in (arm for arm in arms(grouped) if arm[0] == modality):
        chosen = grouped[
            (grouped["modality"] == modality) & (grouped["aggregator"] == aggregator) & (grouped["model"] == models[0])
        ]
        if chosen.empty:
            continue
        title = describe(modality, aggregator, models[0])
        figure, summary = draw_kaplan_meier(one_row_a_patient(chosen), title, results.time_unit)
        alt = f"Kaplan–Meier curves of the low- and high-risk groups of {title}; the caption has the numbers."
        shown = picture(figure, alt, f"{summary[0].upper()}{summary[1:]}.")
        pictures.append((f"fig4_{modality}_{aggregator}", figure, shown))
    return pictures


def _patients(
    layout: "StudyLayout", settings: ReportSettings, predictions: pd.DataFrame, source: tuple[str, str] | None
) -> list[MappedPatient]:
    if source is None:
        return []
    chosen = extreme_patients(predictions, *source, settings.patients_per_extreme)
    return [MappedPatient(patient, importance_maps(layout, *source, patient)) for patient in chosen]
