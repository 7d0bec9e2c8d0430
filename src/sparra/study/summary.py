"""``summary.md``: what a run came to, in a page to read or to send."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from sparra import RESEARCH_USE_ONLY
from sparra.cohort.problems import Problem
from sparra.files import write_text
from sparra.study.layout import StudyLayout
from sparra.study.state import StageState, StudyState, study_state
from sparra.survival.summary import summarise_metrics, wide_table

NAME = "summary.md"


def write_summary(layout: StudyLayout, flow: dict[str, Any], problems: Sequence[Problem]) -> Path:
    """Write the summary of the run that has just ended."""
    state = study_state(layout.root)
    parts = [_head(state), _flow(flow), _stages(state), _failures(problems), _results(layout), _places(layout)]
    path = layout.root / NAME
    write_text(path, "\n".join(part for part in parts if part))
    return path


def _head(state: StudyState) -> str:
    began, ended = (f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M:%S} UTC" for t in (state.began, state.changed))
    return (
        f"# Summary of the run\n\nFrom {began} to {ended} on {state.host}, by {state.engine}.\n\n{RESEARCH_USE_ONLY}\n"
    )


def _flow(flow: dict[str, Any]) -> str:
    used = flow["used"]
    lines = [
        "## Subjects\n",
        f"- in the table: {flow['subjects_in']}",
        f"- used: {flow['subjects_used']} (CT {used['ct']}, slide {used['slide']}, both {used['both']})",
        *(f"- excluded: {row['subject_id']}: {row['what']} ({row['stage']})" for row in flow["excluded"]),
    ]
    return "\n".join(lines) + "\n"


def _stages(state: StudyState) -> str:
    header = ["stage", "to do", "done", "failed", "tried again", "median s", "most memory, MiB"]
    rows = [_cells(stage) for stage in state.stages.values()]
    note = "What was up to date was not done again and is not counted.\n"
    return f"## Stages\n\n{_table(header, rows)}\n\n{note}"


def _cells(stage: StageState) -> list[str]:
    median, peak = stage.median_seconds, stage.peak_mib
    return [
        stage.name,
        str(stage.planned),
        str(stage.count("done")),
        str(stage.count("failed", "disk", "memory", "died", "time")),
        str(stage.retried),
        "" if median is None else f"{median:.2f}",
        "" if peak is None else f"{peak:.0f}",
    ]


def _failures(problems: Sequence[Problem]) -> str:
    if not problems:
        return "## Failures\n\nNone.\n"
    rows = [[p.subject_id, p.stage, p.where, p.what, p.mend] for p in problems]
    return f"## Failures\n\n{_table(['subject', 'stage', 'where', 'what', 'mend'], rows)}\n"


def _results(layout: StudyLayout) -> str:
    if not layout.metrics.exists():
        return ""
    wide = wide_table(summarise_metrics(pd.read_csv(layout.metrics)))
    rows = [[str(cell) for cell in row] for row in wide.itertuples(index=False)]
    return f"## Results, mean (SD) over folds\n\n{_table(list(map(str, wide.columns)), rows)}\n"


def _places(layout: StudyLayout) -> str:
    named = (
        ("report", layout.report),
        ("failures", layout.failures),
        ("manifest", layout.root / "manifest.jsonl"),
        ("metrics", layout.metrics),
        ("predictions", layout.predictions),
    )
    lines = [f"- {name}: `{path.relative_to(layout.root)}`" for name, path in named if path.exists()]
    return "\n".join(["## Files\n", *lines]) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
