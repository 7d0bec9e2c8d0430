"""``sparra cohort gdc``."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make the tables of a study from public archives.")


@app.callback()
def cohort() -> None:
    """Make the tables of a study from public archives."""


@app.command()
def gdc(
    project: Annotated[list[str], typer.Option(help="GDC project, e.g. TCGA-KIRC; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    slides: Annotated[str, typer.Option(help="diagnostic, or diagnostic-first: frozen where there is none.")] = (
        "diagnostic"
    ),
    sample: Annotated[list[str] | None, typer.Option(help="TCGA sample type; default 01, primary tumour.")] = None,
    ct: Annotated[bool, typer.Option("--ct", help="Ask TCIA for the CT series of the projects.")] = False,
    series: Annotated[Path | None, typer.Option(help="Table of CT series (CSV) instead of asking TCIA.")] = None,
    series_rules: Annotated[Path | None, typer.Option(help="YAML of rules, instead of the package's.")] = None,
    address: Annotated[str, typer.Option(help="The GDC API's address.")] = "https://api.gdc.cancer.gov",
    nbia_address: Annotated[str, typer.Option(help="The NBIA API's address.")] = (
        "https://services.cancerimagingarchive.net/nbia-api/services/v1"
    ),
    page_size: Annotated[int, typer.Option(help="Records a request.", min=1, max=5000)] = 500,
    timeout_s: Annotated[float, typer.Option(help="Time limit of a network operation.", min=1)] = 60.0,
    attempts: Annotated[int, typer.Option(help="Attempts of a request.", min=1)] = 5,
) -> None:
    """Write subjects.csv with overall survival, images.csv and download manifests; see docs/gdc.md."""
    from rich.markup import escape

    from sparra.cli import console
    from sparra.errors import UserError
    from sparra.gdc.api import GdcApi
    from sparra.gdc.barcodes import SlideRule
    from sparra.gdc.cohort import GdcRequest, find_cohort, write_cohort
    from sparra.gdc.series import fetch_series, read_rules, read_series_table
    from sparra.registry import nearest_name
    from sparra.web import JsonClient

    rule: SlideRule = "diagnostic-first" if slides == "diagnostic-first" else "diagnostic"
    if slides != rule:
        mend = nearest_name(slides, ["diagnostic", "diagnostic-first"])
        raise UserError(f"--slides {slides} is not known", mend=mend)
    rules = read_rules(series_rules)
    if series is not None:
        found = read_series_table(series)
    elif ct:
        nbia = JsonClient(nbia_address, timeout_s, attempts)
        found = [one for name in project for one in fetch_series(nbia, name)]
    else:
        found = []
    request = GdcRequest(tuple(project), rule, tuple(sample or ["01"]), tuple(found), rules)
    cohort = find_cohort(GdcApi(JsonClient(address, timeout_s, attempts), page_size), request)
    write_cohort(out, cohort, request)
    for warning in cohort.warnings:
        console.print(f"[yellow]the archive warns:[/yellow] {escape(warning)}", soft_wrap=True)
    for line in (
        f"{cohort.release}: {cohort.counts}",
        f"{len(cohort.dropped)} left out, with reasons: {out / 'dropped.csv'}",
        f"tables: {out / 'subjects.csv'}, {out / 'images.csv'}",
    ):
        console.print(line, soft_wrap=True, markup=False)
