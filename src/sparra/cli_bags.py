"""The commands about files of features: inspect, import, export."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from sparra.cli_engine import EngineAloneOption, MemoryOption, TimeLimitOption, WorkersOption, engine_settings

if TYPE_CHECKING:
    from sparra.bags.settings import ImportSettings

# The same width as the other commands'.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

Source = Annotated[Path, typer.Argument(help="Feature file or folder.", show_default=False)]
Format = Annotated[str | None, typer.Option("--format", help="Format, where it cannot be told from the file.")]
Mpp = Annotated[float | None, typer.Option(help="µm per pixel of level 0.")]
FromMagnification = Annotated[
    bool, typer.Option("--mpp-from-magnification", help="Let 10 / magnification stand for an unknown mpp.")
]
GridMpp = Annotated[float | None, typer.Option(help="µm per pixel that tiles were read at (TIAToolbox, HistoSSL).")]
TilePx = Annotated[float | None, typer.Option(help="Side of a tile in the file's own pixels, where it holds none.")]
Encoder = Annotated[str | None, typer.Option(help="Encoder's name, where the file holds none.")]
Patches = Annotated[Path | None, typer.Option(help="CLAM's folder 'patches', where it is not beside the features.")]
ModalityOption = Annotated[str, typer.Option(help="slide or ct: what the patches were cut from.")]


def import_bags(
    source: Source,
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    reader: Format = None,
    modality: ModalityOption = "slide",
    mpp: Mpp = None,
    mpp_table: Annotated[Path | None, typer.Option(help="CSV with the mpp of each slide.")] = None,
    slides: Annotated[Path | None, typer.Option(help="Folder of the slides, to read their mpp.")] = None,
    mpp_from_magnification: FromMagnification = False,
    grid_mpp: GridMpp = None,
    tile_px: TilePx = None,
    encoder: Encoder = None,
    patches: Patches = None,
    subject_pattern: Annotated[
        str | None, typer.Option(help="Regular expression of the subject's id in a slide's name; default: TCGA's.")
    ] = None,
    engine: EngineAloneOption = "local",
    workers: WorkersOption = None,
    memory_gib: MemoryOption = None,
    time_limit_minutes: TimeLimitOption = None,
) -> None:
    """Import features that TRIDENT, CLAM, STAMP, TIAToolbox, slide2vec and others wrote; see docs/import.md."""
    from sparra.study.imports.mpp import mpp_source
    from sparra.study.imports.run import TCGA_PATIENT, ImportRequest, import_folder
    from sparra.study.progress import ProgressBars
    from sparra.study.tell import problem_lines, remark_lines

    settings = _settings(mpp_from_magnification, grid_mpp, tile_px, encoder, patches)
    request = ImportRequest(
        source=source,
        out=out,
        modality=_modality(modality),
        mpp=mpp_source(mpp, mpp_table, slides),
        settings=settings,
        reader=reader,
        subject_pattern=subject_pattern or TCGA_PATIENT,
        engine=engine_settings(engine, workers, memory_gib, time_limit_minutes),
    )
    outcome = import_folder(request, ProgressBars(console), _say)
    for line in remark_lines(outcome.notes):
        _say(line)
    for reason, count in outcome.skipped.items():
        _say(f"passed over: {count} files, {escape(reason)}")
    for line in problem_lines(outcome.problems):
        _say(line)
    _say(f"{outcome.imported} bags imported ({outcome.up_to_date} of them earlier): {outcome.images}")
    if outcome.problems:
        _say(f"{len(outcome.problems)} problems, listed in {out / 'failures.csv'}")
        raise typer.Exit(2 if outcome.imported == 0 else 1)


def inspect(
    file: Annotated[Path, typer.Argument(help="Any file or folder.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    reader: Format = None,
    modality: ModalityOption = "slide",
    mpp: Mpp = None,
    mpp_from_magnification: FromMagnification = False,
    grid_mpp: GridMpp = None,
    tile_px: TilePx = None,
    encoder: Encoder = None,
    patches: Patches = None,
) -> None:
    """Say what a file is, what it holds, and whether sparra can use it."""
    from sparra.bags.foreign import BagSource
    from sparra.inspection import inspect_file, report_lines

    settings = _settings(mpp_from_magnification, grid_mpp, tile_px, encoder, patches)
    report = inspect_file(BagSource(file, _modality(modality), mpp, settings), reader)
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2, allow_nan=False, ensure_ascii=False))
    else:
        for line in report_lines(report):
            _say(escape(line))
    if not report.usable:
        raise typer.Exit(1)


def export_bags(
    source: Annotated[Path, typer.Argument(help="A bag, or a folder with bags (a study's output).")],
    out: Annotated[Path, typer.Option(help="TRIDENT's job folder to write.", show_default=False)],
    to: Annotated[str, typer.Option(help="Layout; so far trident.")] = "trident",
    mpp: Mpp = None,
) -> None:
    """Write slide bags in TRIDENT's layout (coords and features as HDF5), for tools that read it."""
    from sparra.bags.export import bags_in, export_bag
    from sparra.errors import UserError

    if to != "trident":
        raise UserError(f"there is no layout '{to}'", mend="Use 'trident'")
    written = failed = 0
    for path in bags_in(source):
        try:
            _say(escape(str(export_bag(path, out, mpp))))
            written += 1
        except UserError as error:
            _say(f"[yellow]export failed:[/yellow] {escape(str(error))}")
            failed += 1
    _say(f"{written} bags exported to {escape(str(out))}")
    if failed:
        raise typer.Exit(1 if written else 2)


def _settings(
    mpp_from_magnification: bool,
    grid_mpp: float | None,
    tile_px: float | None,
    encoder: str | None,
    patches: Path | None,
) -> "ImportSettings":
    from sparra.bags.settings import ImportSettings

    values = {
        "mpp_from_magnification": mpp_from_magnification,
        "grid_mpp": grid_mpp,
        "tile_px": tile_px,
        "encoder": encoder,
        "patches": patches,
    }
    return ImportSettings.from_mapping(values, "the command line")


def _modality(name: str) -> Literal["ct", "slide"]:
    from sparra.errors import UserError

    if name not in ("ct", "slide"):
        raise UserError(f"there is no modality '{name}'", mend="Use 'slide' or 'ct'")
    return "ct" if name == "ct" else "slide"


def _say(line: str) -> None:
    """Print one line, however long."""
    console.print(line, soft_wrap=True)
