"""The sentences and small tables of the page that are not results: cohort, headline, protocol."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import yaml

from sparra.report.results import StudyResults, aggregator_name, describe, in_sentence
from sparra.report.tables import Cell, ResultsTable
from sparra.survival.groups import kaplan_meier
from sparra.survival.summary import AVERAGE

USED_NAMES = {
    "ct": "with a CT",
    "slide": "with a slide",
    "both": "with both",
    "joint": "in the joint model (either or both)",
}
PROTOCOLS = {
    "sound": (
        "Protocol “sound”: scalers, networks, survival models, their tuning and the cut between low and high "
        "risk were fitted on the training part of each fold only. The embeddings that a survival model was "
        "trained on came from networks that had not seen those patients (cross-fitting). Every score, curve "
        "and map on this page is of patients that the model in question was not fitted on."
    ),
    "paper": (
        "Protocol “paper”: the published procedure, as the released code does it. The test parts are independent "
        "hold-outs that overlap, so some patients count several times and others never; survival models were "
        "tuned by the AUC and fitted to embeddings of patients whose follow-up the network had already been fitted "
        "to, which makes them overconfident; features were selected before tuning; "
        "C-IPCW has no horizon, C-AUC and IBS have the test part's own "
        "times; standard deviations divide by the number of hold-outs; the cut between the risk groups is the mean "
        "of the pooled test risks. Use the protocol “sound” for conclusions."
    ),
}


@dataclass(frozen=True)
class CohortFlow:
    """The way of the subjects through the study.

    Attributes
    ----------
    subjects_in, used, events : int or None
        None where the study has not recorded it.
    excluded : list of (reason, number)
    n_excluded : int
    by_modality : list of (words, number)
    follow_up : str
        Median follow-up in words.
    remark : str
        Where the numbers do not add up, that they do not; else empty.
    """

    subjects_in: int | None
    used: int | None
    events: int | None
    excluded: list[tuple[str, int]]
    n_excluded: int
    by_modality: list[tuple[str, int]]
    follow_up: str
    remark: str


def cohort_flow(results: StudyResults) -> CohortFlow:
    """Count the subjects in, excluded and used."""
    flow = results.flow
    excluded = [row for row in flow.get("excluded", []) if row.get("subject_id")]
    who = {row["subject_id"] for row in excluded}
    reasons = Counter({row["subject_id"]: str(row.get("what", "")) for row in excluded}.values())
    subjects_in = flow.get("subjects_in")
    # subjects.csv also lists those whose images failed later.
    subjects = results.subjects[~results.subjects["subject_id"].isin(who) & results.subjects["time"].notna()]
    used = flow.get("subjects_used", len(subjects) or None)
    gap = 0 if subjects_in is None or used is None else subjects_in - used - len(who)
    remark = f"{subjects_in} in, {used} used and {len(who)} excluded do not add up." if gap else ""
    events = flow.get("events", int(subjects["event"].sum()) if used else None)
    by_modality = [(words, flow["used"][key]) for key, words in USED_NAMES.items() if key in flow.get("used", {})]
    follow_up = _follow_up(subjects, results.time_unit)
    return CohortFlow(subjects_in, used, events, reasons.most_common(), len(who), by_modality, follow_up, remark)


def _follow_up(subjects: pd.DataFrame, time_unit: str) -> str:
    """Median follow-up by reverse Kaplan–Meier (Schemper & Smith 1996): censoring is taken as the event."""
    if subjects.empty:
        return "not recorded"
    time = subjects["time"].to_numpy(dtype=np.float64)
    curve = kaplan_meier(time, ~subjects["event"].to_numpy(dtype=bool))
    below = np.flatnonzero(curve.survival <= 0.5)
    if len(below) == 0:
        return f"not reached; longest {time.max():.4g} {time_unit}"
    return f"{curve.times[below[0]]:.4g} {time_unit}"


def headline(table: ResultsTable, predictions: pd.DataFrame, intervals: pd.DataFrame) -> list[str]:
    """Return the main result in one sentence with its interval, and what is needed to read it.

    Parameters
    ----------
    table : ResultsTable
    predictions : DataFrame
    intervals : DataFrame
        95 % intervals of the C-index, see docs/architecture.md.
    """
    cells = {
        (row.modality, row.aggregator, name): cell
        for row in table.rows
        if row.metric == "c_index"
        for name, cell in row.cells.items()
        if name != AVERAGE and np.isfinite(cell.mean)
    }
    if not cells:
        return ["This study has not been evaluated."]
    best = max(cells, key=lambda key: cells[key].mean)
    patients = predictions.drop_duplicates("subject_id")
    sentences = [
        f"On {len(patients)} patients with {int(patients['event'].sum())} events, the risk by {describe(*best)} ranked "
        f"held-out patients with a C-index of {_number(best, cells, intervals)}, where 0.5 is chance and 1 perfect."
    ]
    sparra = {key for key in cells if key[1].lower() == "sparra"}
    rivals = set(cells) - sparra if best in sparra else sparra
    if rivals:
        second = max(sorted(rivals), key=lambda key: cells[key].mean)
        name = "The best without SPARRA" if best in sparra else "The best with SPARRA"
        sentences.append(f"{name} is {describe(*second)}: {_number(second, cells, intervals)}.")
    sentences.append(
        f"It is the best of {len(cells)} combinations and so looks a little better than it is. Comparisons between "
        "methods, with intervals and tests, are under Results."
    )
    return sentences


def _number(key: tuple[str, str, str], cells: Mapping[tuple[str, str, str], Cell], intervals: pd.DataFrame) -> str:
    """Write a C-index with its interval over patients, or with its spread over folds where there is none."""
    cell = cells[key]
    found = intervals[(intervals[["modality", "aggregator", "model"]] == list(key)).all(axis=1)]
    if len(found) and found[["lower", "upper"]].notna().all(axis=None):
        row = found.iloc[0]
        return f"{cell.text} (95 % CI {row['lower']:.3f} to {row['upper']:.3f})"
    spread = f"SD {cell.subscript} over {cell.n_folds} folds" if cell.subscript else f"{cell.n_folds} fold"
    return f"{cell.text} ({spread})"


def added_value_sentences(added: pd.DataFrame) -> list[str]:
    """Say for each network what its out-of-fold risk adds to the clinical covariates.

    Parameters
    ----------
    added : DataFrame
        ``evaluation/added_value.csv``.
    """
    sentences = []
    for row in added.to_dict("records"):
        subject = f"{aggregator_name(row['aggregator'])} on {in_sentence(row['modality'])}"
        if not np.isfinite(row["p"]):
            sentences.append(f"{subject}: no test ({row['reason']}).")
            continue
        p = "p < 0.001" if row["p"] < 0.001 else f"p = {row['p']:.2g}"
        against = " but the risk points the wrong way" if row["hazard_ratio"] < 1 else ""
        sentences.append(
            f"{subject}, beside {row['covariates'].replace(' ', ', ')}: likelihood ratio {row['chi_square']:.2f} on "
            f"{row['df']:.0f} degree of freedom, {p}{against}; hazard ratio of one standard deviation of the risk "
            f"{row['hazard_ratio']:.2f} (95 % interval {row['lower']:.2f} to {row['upper']:.2f})."
        )
    return sentences


def protocol_sentences(results: StudyResults) -> list[str]:
    """Say how the study was validated."""
    folds = results.metrics["fold"].nunique()
    # A study that names none has run the only procedure there was, the sound one.
    name = str(_find(results.settings, "protocol") or "sound")
    sentences = [f"{folds} train/test splits of patients; all images of a patient stay on one side."] if folds else []
    return [*sentences, PROTOCOLS.get(name, f"Protocol “{name}”.")]


def _find(content: object, key: str) -> object:
    """Return the first value under `key` at any depth, None where there is none."""
    if not isinstance(content, dict):
        return None
    if key in content:
        return content[key]
    return next((found for value in content.values() if (found := _find(value, key)) is not None), None)


def as_yaml(content: object) -> str:
    """Return settings as they would stand in a study.yaml."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True) if content else ""
