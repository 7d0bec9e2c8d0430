"""The commands of bundles: export and predict."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
import yaml
from rich.console import Console

from sparra.cli_engine import EngineAloneOption, MemoryOption, TimeLimitOption, WorkersOption, engine_settings
from sparra.errors import UserError

if TYPE_CHECKING:
    from sparra.bundle.bundle import Bundle
    from sparra.bundle.cohort import CohortOutcome
    from sparra.bundle.export import Weights
    from sparra.study.settings import MethodModality

# The same width as the other commands'.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
BundleFolder = Annotated[Path, typer.Argument(help="The bundle, a folder.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("export")(export)
    app.command("predict")(predict)


def export(
    study: Annotated[Path, typer.Argument(help="The study's YAML file; the study must be finished.")],
    bundle: BundleFolder,
    modality: Annotated[str, typer.Option(help="ct, slide or joint.")] = "joint",
    aggregator: Annotated[str, typer.Option(help="One of the study's aggregators.")] = "sparra",
    model: Annotated[str, typer.Option(help="CoxPH, Coxnet or network (the network's own risk).")] = "CoxPH",
    weights: Annotated[str, typer.Option(help="folds: the study's fold models; refit: one model of all patients.")] = (
        "folds"
    ),
    replicates: Annotated[int, typer.Option(help="Bootstrap replicates of each survival model.", min=0)] = 100,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle of that name.")] = False,
) -> None:
    """Write a trained model as a bundle that can be given away, with its model card; see docs/prediction.md."""
    from sparra.bundle.export import Choice, export_bundle
    from sparra.bundle.store import CARD, write_bundle
    from sparra.study.settings import read_study

    _one_of("modality", modality, ("ct", "slide", "joint"))
    _one_of("weights", weights, ("folds", "refit"))
    if bundle.exists() and not overwrite:
        raise UserError("there is something of that name already", bundle, "Name another, or give --overwrite")
    choice = Choice(cast("MethodModality", modality), aggregator, _model(model), cast("Weights", weights), replicates)
    made = export_bundle(read_study(study), choice)
    digest = write_bundle(made, bundle, overwrite)
    _say(f"bundle: {bundle} ({len(made.members)} models)")
    _say(f"model card: {bundle / CARD}")
    _say(f"digest, to be told to whom you give it: {digest}")


def predict(
    bundle: BundleFolder,
    cohort: Annotated[Path, typer.Argument(help="images.csv of the new patients, as a study's.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("predictions"),
    horizons: Annotated[str | None, typer.Option(help="Times for survival, e.g. 365,1095; else the bundle's.")] = None,
    encoder_option: Annotated[
        list[str] | None, typer.Option(help="What only this machine knows, e.g. slide.weights=FILE; repeatable.")
    ] = None,
    bag_encoder: Annotated[str | None, typer.Option(help="Encoder of ready bags that do not name theirs.")] = None,
    maps: Annotated[str, typer.Option(help="Formats of the maps, see docs/maps.md; empty for none.")] = (
        "overlay,geojson,nifti"
    ),
    digest: Annotated[str | None, typer.Option(help="Refuse the bundle unless this is its digest.")] = None,
    engine: EngineAloneOption = "local",
    workers: WorkersOption = None,
    memory_gib: MemoryOption = None,
    time_limit_minutes: TimeLimitOption = None,
) -> None:
    """Predict risk, survival and risk group of new patients with a bundle; images or ready bags."""
    from sparra.bundle.bundle import Bundle
    from sparra.bundle.cohort import Request, predict_cohort
    from sparra.maps.settings import MapsSettings
    from sparra.study.progress import ProgressBars

    loaded = Bundle.load(bundle)
    if digest is not None and loaded.digest != digest.lower():
        raise UserError(f"the bundle's digest is {loaded.digest}, not the one given", bundle, "Ask its sender")
    times = None if horizons is None else _numbers(horizons)
    formats = [part.strip() for part in maps.split(",") if part.strip()]
    chosen = MapsSettings.from_mapping({"formats": formats}, "--maps")
    where = engine_settings(engine, workers, memory_gib, time_limit_minutes)
    request = Request(cohort, out, times, _options(encoder_option or []), bag_encoder, where, chosen)
    outcome = predict_cohort(loaded, request, ProgressBars(console), _say)
    _tell(loaded, outcome)


def _tell(bundle: "Bundle", outcome: "CohortOutcome") -> None:
    from sparra import RESEARCH_USE_ONLY
    from sparra.bundle.bundle import FAR_RISK
    from sparra.study.tell import problem_lines
    from sparra.study.undrawn import undrawn_sentences

    for line in problem_lines(outcome.problems):
        console.print(line, soft_wrap=True)
    if outcome.prediction is None:
        raise UserError("no patient could be predicted", outcome.layout.failures, "See its rows")
    found = outcome.prediction
    high, unlike = int((found.group == "high").sum()), int(found.unlike.sum())
    n = len(found.subject_ids)
    _say(f"{n} patient{'' if n == 1 else 's'}, {high} of high risk by the training's cut: {outcome.table}")
    far = int(found.extrapolated.sum())
    for number, what in ((unlike, "unlike the training images"), (far, f"more than {FAR_RISK:g} SDs from the cut")):
        if number:
            line = f"{number} of them {'is' if number == 1 else 'are'} {what}, see the column 'remarks'"
            console.print(line, style="yellow", soft_wrap=True)
    for line in undrawn_sentences(outcome.layout):
        _say(line)
    if any((outcome.layout.root / "maps").glob("*/")):
        _say(f"maps: {outcome.layout.root / 'maps'}")
    _say(f"model: {bundle.content.study}. {RESEARCH_USE_ONLY}")
    if outcome.problems:
        many = len(outcome.problems)
        _say(f"{many} problem{'' if many == 1 else 's'}, listed in {outcome.layout.failures}")
        raise typer.Exit(1)


def _model(name: str) -> str:
    """Return the model's name as it is spelt, however it was typed."""
    from sparra.survival.models import survival_models
    from sparra.survival.summary import NETWORK

    names: dict[str, str] = {known.lower(): known for known in (*survival_models, NETWORK)}
    if name.lower() not in names:
        raise UserError(f"there is no model '{name}'", mend=f"Give one of {', '.join(names.values())}")
    return names[name.lower()]


def _one_of(option: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise UserError(f"--{option} is '{given}'", mend=f"Give {' or '.join(allowed)}")


def _numbers(cell: str) -> list[float]:
    try:
        return [float(part) for part in cell.split(",")]
    except ValueError:
        raise UserError(f"--horizons '{cell}' cannot be read", mend="Give numbers such as 365,1095") from None


def _options(given: list[str]) -> dict[str, dict[str, Any]]:
    """Read ``MODALITY.OPTION=VALUE``; a value is read as YAML."""
    options: dict[str, dict[str, Any]] = {"ct": {}, "slide": {}}
    for text in given:
        name, equals, value = text.partition("=")
        modality, dot, option = name.partition(".")
        if not (equals and dot and option) or modality not in options:
            raise UserError(f"--encoder-option '{text}' cannot be read", mend="Give e.g. slide.weights=FILE")
        try:
            options[modality][option] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise UserError(f"the value of --encoder-option '{text}' is not valid YAML",
                            mend="Put quotes around text with signs in it") from None  # fmt: skip
    return options


def _say(line: str) -> None:
    """Print a line as it is: a path may hold what looks like markup."""
    console.print(line, soft_wrap=True, markup=False)
