"""What a study says on the terminal."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from sparra.bags.readers import is_bag_file
from sparra.cohort.check import Cohort
from sparra.cohort.problems import Problem
from sparra.modality import Modality
from sparra.study.learn import modalities_of
from sparra.study.settings import StudySettings
from sparra.survival.summary import summarise_metrics, wide_table

METRIC_NAMES = {"c_index": "C-index", "c_ipcw": "C-IPCW", "c_auc": "C-AUC", "ibs": "IBS"}


def flow_table(flow: Mapping[str, Any]) -> Table:
    """Return the flow of subjects: in, excluded with why, used per modality."""
    table = Table("subjects", "number", "why", title="Cohort flow")
    table.add_row("in the table", str(flow["subjects_in"]), "")
    for row in flow["excluded"]:
        table.add_row(f"excluded: {escape(row['subject_id'])}", "1", escape(f"{row['what']} ({row['stage']})"))
    events = "" if flow["events"] is None else f"{flow['events']} events"
    table.add_row("used", str(flow["subjects_used"]), events)
    for modality, label in (("ct", "with CT"), ("slide", "with slide"), ("both", "with both")):
        table.add_row(f"  {label}", str(flow["used"][modality]), "")
    if flow.get("in_no_split"):
        table.add_row("in no split", str(len(flow["in_no_split"])), "take no part in training and evaluation")
    return table


def plan_table(settings: StudySettings, cohort: Cohort) -> Table:
    """Return what a run would do."""
    methods = settings.methods
    n_folds = "the folds of the given splits" if settings.evaluation.splits else f"{settings.evaluation.folds} folds"
    table = Table("stage", "work", title="What would run")
    table.add_row("extract", _extraction("CT", cohort, "ct", settings.ct.encoder))
    table.add_row("", _extraction("slides", cohort, "slide", settings.slide.encoder))
    table.add_row("graph", f"up to {len({(i.subject_id, i.modality) for i in cohort.images})} graphs")
    modalities = modalities_of(settings, {image.modality for image in cohort.images})
    if not cohort.has_follow_up:
        table.add_row("train", f"not possible: {settings.cohort.subjects.name} has no columns time and event")
    elif not modalities:
        table.add_row("train", f"not possible: no subject has images for {', '.join(methods.modalities)}")
    else:
        table.add_row("train", f"{', '.join(methods.aggregators)} on {', '.join(modalities)}, {n_folds}")
    table.add_row("evaluate", f"{', '.join(settings.evaluation.survival_models)} and the networks' own risk")
    table.add_row("output", escape(str(settings.output)))
    return table


def _extraction(called: str, cohort: Cohort, modality: Modality, encoder: str) -> str:
    """Tell how many images of a modality are encoded, and how many are features already."""
    paths = [image.path for image in cohort.images if image.modality == modality]
    ready = sum(is_bag_file(path) for path in paths)
    parts = [f"{ready} {called} that are features already"] if ready else []
    if ready < len(paths) or not paths:
        parts = [f"{len(paths) - ready} {called} by '{encoder}'", *parts]
    return ", ".join(parts)


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """Return one line a problem."""
    return [f"[yellow]{problem.stage} failed:[/yellow] {escape(str(problem))}" for problem in problems]


def remark_lines(remarks: Mapping[str, int]) -> list[str]:
    """Return one line for each remark on imported bags and slides."""
    return [f"note ({count} {'bag' if count == 1 else 'bags'}): {escape(note)}" for note, count in remarks.items()]


def results_table(metrics: Path) -> Table:
    """Return mean (SD) over folds of every method, in the paper's Table 1 form."""
    wide = wide_table(summarise_metrics(pd.read_csv(metrics)))
    models = list(wide.columns[3:])
    table = Table("modality", "aggregation", "metric", *models, title="Out-of-fold results, mean (SD) over folds")
    for row in wide.itertuples(index=False):
        modality, aggregator, metric, *cells = row
        table.add_row(modality, aggregator, METRIC_NAMES[metric], *cells)
    return table


def robustness_table(icc: Path) -> Table:
    """Return how many features fall into each of the usual grades of ICC(2,1), and the least robust ones."""
    values = pd.read_csv(icc)
    table = Table("ICC(2,1)", "features", "", title="Robustness of CT features under perturbation")
    known = values["icc_2_1"].dropna()
    for name, low, high in (
        ("excellent, from 0.9", 0.9, 2.0),
        ("good, 0.75 to 0.9", 0.75, 0.9),
        ("moderate, 0.5 to 0.75", 0.5, 0.75),
        ("poor, below 0.5", -2.0, 0.5),
    ):
        chosen = values[(values["icc_2_1"] >= low) & (values["icc_2_1"] < high)].nsmallest(5, "icc_2_1")
        # Of the two lower grades the worst are named.
        names = ", ".join(chosen["feature"]) if low < 0.75 else ""
        table.add_row(name, str(int(((known >= low) & (known < high)).sum())), escape(names))
    undefined = values[values["icc_2_1"].isna()]
    if len(undefined):
        table.add_row("undefined", str(len(undefined)), escape(str(undefined["reason"].iloc[0])))
    return table
