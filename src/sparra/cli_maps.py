"""``sparra maps``: importance maps of a study in the formats asked for."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sparra.cli_engine import EngineOption

StudyFile = Annotated[Path, typer.Argument(help="The study's YAML file.", show_default=False)]
FormatOption = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="overlay, geojson, nifti, picture, ome-tiff, gallery, graph, dicom or all; may be repeated. "
        "Default: those of the study.",
    ),
]


def maps(
    study: StudyFile,
    formats: FormatOption = None,
    aggregator: Annotated[
        list[str] | None, typer.Option(help="Whose maps, or 'all'; may be repeated. Default: the study's.")
    ] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Whose maps; may be repeated. Default: all.")] = None,
    normalisation: Annotated[str | None, typer.Option(help="none, rank or minmax, within an image.")] = None,
    engine: EngineOption = None,
) -> None:
    """Write importance maps, and check them, after the stages before; what is up to date is not done again."""
    from sparra.maps.settings import FORMATS
    from sparra.study.maps import map_lines
    from sparra.study.progress import ProgressBars
    from sparra.study.run import run_study
    from sparra.study.settings import read_study
    from sparra.study.tell import problem_lines

    console = Console(highlight=False)
    settings = read_study(study, {} if engine is None else {"engine": engine})
    given: dict[str, Any] = {
        "formats": FORMATS if formats and "all" in formats else formats,
        "aggregators": aggregator,
        "subjects": subject,
        "normalisation": normalisation,
    }
    chosen = settings.maps.model_dump() | {key: value for key, value in given.items() if value}
    chosen_maps = type(settings.maps).from_mapping(chosen, "sparra maps")
    outcome = run_study(settings.model_copy(update={"maps": chosen_maps}), ProgressBars(console))
    for line in (*map_lines(outcome.layout), *problem_lines(outcome.problems)):
        console.print(line, soft_wrap=True, markup=False)
    if outcome.problems:
        raise typer.Exit(1)
