"""The command that tells where a study stands."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from sparra.study.state import ItemState, StageState, StudyState

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
SHOWN = 20


def status(
    study: Annotated[Path, typer.Argument(help="The study's YAML file, or its output folder.", show_default=False)],
    watch: Annotated[bool, typer.Option(help="Go on showing it until the run ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For other programs: every item.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks with --watch.", min=0.1)] = 2.0,
) -> None:
    """Tell where a study stands: what is done, running, failed, with time and memory."""
    from sparra.study.state import study_state

    folder = _folder(study)
    if as_json:
        state = study_state(folder)
        content = {**asdict(state), "stages": {name: _as_json(stage) for name, stage in state.stages.items()}}
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    if not watch:
        console.print(picture(study_state(folder)))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            state = study_state(folder)
            live.update(picture(state), refresh=True)
            if state.state != "running":
                return
            time.sleep(every)


def _folder(study: Path) -> Path:
    if study.is_dir():
        return study
    from sparra.study.settings import read_study

    return read_study(study).output


def _as_json(stage: "StageState") -> dict[str, object]:
    return {"planned": stage.planned, "items": [asdict(item) for item in stage.items.values()]}


def picture(state: "StudyState") -> RenderableType:
    """Return the stages as a table, what runs now, and what failed."""
    spent = (time.time() if state.state == "running" else state.changed) - state.began
    head = f"{state.state}, after {_time(spent)}, by {state.engine} on {state.host}"
    table = Table("stage", "done", "to do", "running", "failed", "tried again", "median", "most memory", "left")
    for stage in state.stages.values():
        done, failed = stage.count("done"), stage.count("failed", "disk", "memory", "died", "time")
        running, left = stage.count("running"), stage.planned - done - failed
        median, peak = stage.median_seconds, stage.peak_mib
        remaining = "" if not running or median is None else _time(median * left / running)
        told = ("" if median is None else f"{median:.1f} s", "" if peak is None else f"{peak:.0f} MiB", remaining)
        table.add_row(stage.name, *(str(n) for n in (done, stage.planned, running, failed, stage.retried)), *told)
    parts: list[RenderableType] = [escape(head), table]
    if state.state in ("cut off", "ended early"):
        parts.append("Start it again: what is done is not done again.")
    if state.lines_left_out:
        parts.append(f"{state.lines_left_out} lines of manifest.jsonl are not this version's and left out.")
    parts += _lines("running", [i for i in state.items if i.status == "running"])
    parts += _lines("to be tried again", [i for i in state.items if i.status == "again"])
    parts += _lines("failed", [i for i in state.items if i.error and i.status not in ("running", "again", "done")])
    return Group(*parts)


def _lines(title: str, items: "list[ItemState]") -> list[str]:
    lines = []
    for item in items[:SHOWN]:
        who = f"{item.subject_id} " if item.subject_id else ""
        what = _time(max(0.0, time.time() - item.since)) if item.status == "running" else item.error
        lines.append(escape(f"  {item.stage}: {who}{item.where}: {what} (attempt {item.attempts})"))
    more = [f"  and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [f"{title}:", *lines, *more] if items else []


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
