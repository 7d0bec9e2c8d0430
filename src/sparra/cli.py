"""The command line: one thin command for each stage."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from sparra import RESEARCH_USE_ONLY, __version__, cli_bags, cli_doctor, cli_maps, cli_status
from sparra.bundle import cli as cli_bundle
from sparra.cli_engine import EngineOption
from sparra.errors import UserError
from sparra.gdc.cli import app as cohort_app
from sparra.segmentation.cli import app as segment_app
from sparra.viewer.cli import view

if TYPE_CHECKING:
    from sparra.study.run import Outcome, Stage

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=f"Joins CT and whole-slide pathology into one survival model. {RESEARCH_USE_ONLY}",
)
app.add_typer(segment_app, name="segment")
app.add_typer(cohort_app, name="cohort")
# In a log there is no width to keep to, and a results table is wider than the 80 columns taken otherwise.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)

app.command("import")(cli_bags.import_bags)
app.command("export-bags")(cli_bags.export_bags)
app.command("inspect")(cli_bags.inspect)
app.command("view")(view)
app.command("maps")(cli_maps.maps)
cli_bundle.register(app)
app.command("status")(cli_status.status)
app.command("doctor")(cli_doctor.doctor)

StudyFile = Annotated[Path, typer.Argument(help="The study's YAML file.", show_default=False)]


def main() -> None:
    """Run the command line; bad input ends in one sentence and exit code 2, failed subjects in code 1."""
    try:
        app()
    except UserError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[red]error:[/red] {escape(str(error))}")
        sys.exit(2)


def _say(line: str) -> None:
    """Print one line, however long: a message broken by force can be neither searched nor copied."""
    console.print(line, soft_wrap=True)


def _say_json(content: object) -> None:
    """Print JSON as it is, without colours or wrapping."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.")] = Path("demo"),
    subjects: Annotated[int, typer.Option(help="Number of simulated patients.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 1,
) -> None:
    """Simulate a cohort, run a whole study on it, print the results and where the report lies."""
    from sparra.study.demo import write_demo

    study = write_demo(folder, subjects, seed, console)
    _run_until(study, "report")


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder to write the cohort to.", show_default=False)],
    subjects: Annotated[int, typer.Option(help="Number of patients.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed; a subject is the same whatever their number.")] = 0,
    ct_strength: Annotated[float | None, typer.Option(help="Log hazard per SD of the CT biomarker.")] = None,
    slide_strength: Annotated[float | None, typer.Option(help="The same of the slide's.")] = None,
    nuisance: Annotated[float | None, typer.Option(help="Variation between patients without meaning.")] = None,
    censoring: Annotated[float | None, typer.Option(help="Share of censored patients.")] = None,
    missing_ct: Annotated[float | None, typer.Option(help="Share of patients without CT.")] = None,
    missing_slide: Annotated[float | None, typer.Option(help="Share of patients without slide.")] = None,
) -> None:
    """Write a synthetic cohort (CT, slides, follow-up) with a planted biomarker and its ground truth."""
    from sparra.study.demo import write_simulation

    options = {
        "subjects": subjects,
        "seed": seed,
        "ct_strength": ct_strength,
        "slide_strength": slide_strength,
        "nuisance": nuisance,
        "censoring": censoring,
        "missing_ct": missing_ct,
        "missing_slide": missing_slide,
    }
    study = write_simulation(folder, {k: v for k, v in options.items() if v is not None}, console)
    _say(f"cohort written; next: sparra run {study}")


@app.command()
def check(study: StudyFile) -> None:
    """Look at every table and file of a study, report all problems, and tell what would run."""
    from sparra.cohort.check import flow_of
    from sparra.study.comparators import check_covariates
    from sparra.study.divide import folds_of
    from sparra.study.encoders import weights_problems
    from sparra.study.progress import ProgressBars
    from sparra.study.run import check_study
    from sparra.study.settings import read_study
    from sparra.study.tell import flow_table, plan_table, problem_lines, remark_lines

    settings = read_study(study)
    cohort = check_study(settings, ProgressBars(console), follow_up=False)
    console.print(flow_table(flow_of(cohort)))
    console.print(plan_table(settings, cohort))
    for line in (*remark_lines(cohort.remarks), *problem_lines(cohort.problems)):
        _say(line)
    lacking = weights_problems(settings, cohort.images)
    for line in problem_lines(lacking):
        _say(line)
    if cohort.subjects and cohort.has_follow_up:
        folds_of(settings, cohort.subjects)
        check_covariates(settings, cohort.subjects)
    if settings.output.exists() and not settings.output.is_dir():
        raise UserError("the output is a file, not a folder", settings.output, "Name another 'output'")
    if cohort.problems or lacking:
        raise typer.Exit(1)
    _say("no problems")


@app.command()
def run(study: StudyFile, engine: EngineOption = None) -> None:
    """Run a whole study; what is up to date is not done again."""
    _run_until(study, "report", engine)


@app.command()
def extract(study: StudyFile, engine: EngineOption = None) -> None:
    """Turn every image into a bag of patch features."""
    _run_until(study, "extract", engine)


@app.command()
def graph(study: StudyFile, engine: EngineOption = None) -> None:
    """Turn the bags into spatial graphs, extracting first what is missing."""
    _run_until(study, "graph", engine)


@app.command()
def train(study: StudyFile, engine: EngineOption = None) -> None:
    """Train every aggregator on every fold, after the stages before."""
    _run_until(study, "train", engine)


@app.command()
def evaluate(study: StudyFile, engine: EngineOption = None) -> None:
    """Fit and judge the survival models, after the stages before."""
    _run_until(study, "evaluate", engine)


@app.command()
def report(study: StudyFile) -> None:
    """Write the report, after the stages before."""
    _run_until(study, "report")


encoders_app = typer.Typer(help="The encoders: list them, describe one.")
app.add_typer(encoders_app, name="encoders")


@encoders_app.callback(invoke_without_command=True)
def encoders(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
) -> None:
    """List the encoders, with what one must know before trusting them."""
    if context.invoked_subcommand is not None:
        return
    from sparra.study.encoders import card_as_json, encoder_cards, encoders_table

    if as_json:
        _say_json([card_as_json(card) for card in encoder_cards()])
    else:
        console.print(encoders_table())


@encoders_app.command()
def describe(
    name: Annotated[str, typer.Argument(help="The encoder's name.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
) -> None:
    """Tell all that is known of one encoder: input, licence, pre-training, options, how to get its weights."""
    from sparra.study.encoders import card_as_json, cards_called, encoder_table

    cards = cards_called(name)
    if as_json:
        _say_json([card_as_json(card) for card in cards])
    else:
        for card in cards:
            console.print(encoder_table(card))


@app.command()
def robustness(study: StudyFile, engine: EngineOption = None) -> None:
    """Measure each CT feature again under perturbations, and write its intraclass correlation."""
    from sparra.study.progress import ProgressBars
    from sparra.study.robustness import measure_robustness
    from sparra.study.settings import read_study
    from sparra.study.tell import problem_lines, robustness_table

    settings = read_study(study, {} if engine is None else {"engine": engine})
    layout, problems = measure_robustness(settings, ProgressBars(console), _say)
    console.print(robustness_table(layout.robustness))
    _say(f"intraclass correlations: {layout.robustness}")
    for line in problem_lines(problems):
        _say(line)
    if problems:
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    console.print(f"sparra {__version__}. {RESEARCH_USE_ONLY}")


def _run_until(study: Path, until: "Stage", engine: str | None = None) -> None:
    from sparra.study.progress import ProgressBars
    from sparra.study.run import run_study
    from sparra.study.settings import read_study

    settings = read_study(study, {} if engine is None else {"engine": engine})
    outcome = run_study(settings, ProgressBars(console), until, _say)
    _tell(outcome, until)


def _tell(outcome: "Outcome", until: "Stage") -> None:
    """Print flow, results and failures, and end with exit code 1 if anything failed."""
    from sparra.study.stages import graph_pictures
    from sparra.study.tell import flow_table, problem_lines, remark_lines, results_table
    from sparra.study.undrawn import undrawn_sentences

    layout = outcome.layout
    console.print(flow_table(outcome.flow))
    if until == "graph":
        for picture in graph_pictures(layout):
            _say(f"picture: {picture}")
        if layout.graph_summary.exists():
            _say(f"summaries: {layout.graph_summary}")
    if until in ("evaluate", "report"):
        console.print(results_table(layout.metrics))
    if until == "report":
        _say(f"report: {layout.report}")
        for line in undrawn_sentences(layout):
            _say(line)
    _say(f"summary: {layout.root / 'summary.md'}")
    for line in (*remark_lines(outcome.flow["remarks"]), *problem_lines(outcome.problems)):
        _say(line)
    if outcome.problems:
        _say(f"{len(outcome.problems)} problems, listed in {layout.failures}")
        raise typer.Exit(1)
