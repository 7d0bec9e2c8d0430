"""The command that looks at this machine."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from sparra.doctor.finding import Finding

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    study: Annotated[Path | None, typer.Argument(help="A study's YAML file, to look at what it needs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
) -> None:
    """Look at installation, devices, codecs, weights, tokens, scheduler, disk and memory, and say what to do."""
    from sparra.doctor.finding import worst

    findings = list(_look(study))
    level = worst(findings)
    if as_json:
        typer.echo(json.dumps({"level": level, "findings": [asdict(f) for f in findings]}, indent=2))
    else:
        console.print(_table(findings))
        counts = {name: sum(f.level == name for f in findings) for name in COLOURS}
        console.print(f"{counts['ok']} ok, {counts['warning']} warnings, {counts['problem']} problems")
    if level == "problem":
        raise typer.Exit(1)


def _look(study: Path | None) -> "Iterator[Finding]":
    from sparra.doctor.codecs import look_at_codecs
    from sparra.doctor.devices import look_at_devices
    from sparra.doctor.installation import look_at_installation
    from sparra.doctor.storage import look_at_disk
    from sparra.doctor.study import look_at_study, look_at_token

    yield from look_at_installation()
    yield from look_at_devices()
    yield from look_at_codecs()
    if study is None:
        yield look_at_token()
        yield from look_at_disk(Path.cwd())
        return
    from sparra.study.settings import read_study

    yield from look_at_study(read_study(study))


def _table(findings: "list[Finding]") -> Table:
    table = Table("", "what", "", "found", "what to do")
    area = ""
    for finding in findings:
        level = f"[{COLOURS[finding.level]}]{finding.level}[/]"
        new = finding.area if finding.area != area else ""
        table.add_row(new, escape(finding.name), level, escape(finding.found), escape(finding.mend))
        area = finding.area
    return table
