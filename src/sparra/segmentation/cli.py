"""``sparra segment``: train, predict, review, convert, simulate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sparra.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    help="Segment kidneys and their tumours, and review masks, whoever made them. Needs the extra 'segment'.",
)
Images = Annotated[Path, typer.Argument(help="images.csv of the cohort.", show_default=False)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.", show_default=False)]


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="Folder in KiTS layout.", show_default=False)],
    output: Output,
    recipe: Annotated[str, typer.Option(help="kits23, or small: minutes on two cores, at 4 mm.")] = "kits23",
    settings: Annotated[Path | None, typer.Option(help="YAML that changes the recipe's settings.")] = None,
    spacing_mm: Annotated[float | None, typer.Option(help="Isotropic voxel size.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs.")] = None,
    fold: Annotated[int | None, typer.Option(help="Fold kept for validation, from 0.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    device: Device = "auto",
    seed: Annotated[int | None, typer.Option(help="Seed of every draw.")] = None,
) -> None:
    """Train on case_*/imaging.nii.gz with segmentation.nii.gz; run again to go on where it stopped."""
    from sparra.segmentation.train import train_segmentation
    from sparra.study.progress import ProgressBars

    given = {
        "spacing_mm": spacing_mm,
        "epochs": epochs,
        "fold": fold,
        "precision": precision,
        "device": device,
        "seed": seed,
    }
    chosen = resolve_settings(recipe, settings, {key: value for key, value in given.items() if value is not None})
    console = _console()
    trained = train_segmentation(folder, output, chosen, ProgressBars(console))
    if trained is None:
        return
    table = Table("region", "Dice", "surface Dice", title="Validation cases, best epoch, on their own grids")
    for region, value in trained.dice.items():
        table.add_row(region, f"{value:.3f}", f"{trained.surface_dice[region]:.3f}")
    console.print(table)
    console.print(f"model: {output}", soft_wrap=True)


@app.command()
def predict(
    images: Images,
    model: Annotated[Path, typer.Option(help="Folder of a trained model.", show_default=False)],
    output: Output,
    device: Device = "auto",
) -> None:
    """Make a mask and a montage of every CT, and the table in which each is accepted or rejected."""
    from sparra.segmentation.network import load_model
    from sparra.segmentation.predict import predict_cohort
    from sparra.study.progress import ProgressBars

    console = _console()
    problems = predict_cohort(images, load_model(model, device), output, ProgressBars(console))
    _tell(console, output, problems)


@app.command()
def review(
    images: Images,
    output: Output,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks named like the images or subjects; else column 'mask'.")
    ] = None,
    source: Annotated[str, typer.Option(help="Who made them, e.g. nnU-Net or a radiologist.")] = "given",
    tumour: Annotated[str, typer.Option(help="Label of the tumour: value, union such as 2+3, or name.")] = "2",
    kidney: Annotated[str, typer.Option(help="Label of the kidney; empty for none.")] = "1",
    cyst: Annotated[str, typer.Option(help="Label of cysts; empty for none.")] = "3",
) -> None:
    """Bring masks made elsewhere through the same quality control, montage and table."""
    from sparra.cohort.tables import read_labels
    from sparra.segmentation.predict import take_over_masks
    from sparra.segmentation.regions import CYST, KIDNEY, TUMOUR
    from sparra.study.progress import ProgressBars

    cells = {KIDNEY: kidney, TUMOUR: tumour, CYST: cyst}
    labels = {value: found for value, cell in cells.items() if (found := read_labels(cell)) is not None}
    if TUMOUR not in labels:
        raise UserError("no label of the tumour is given", mend="Give --tumour")
    console = _console()
    problems = take_over_masks(images, masks, labels, source, output, ProgressBars(console))
    _tell(console, output, problems)


@app.command()
def convert(
    weights: Annotated[Path, typer.Argument(help="MONAI's model.pt of a SegResNet(DS).", show_default=False)],
    output: Output,
    settings: Annotated[
        Path | None, typer.Option(help="YAML with the network's settings, if not the recipe's.")
    ] = None,
    hu_low: Annotated[float | None, typer.Option(help="HU that training mapped to -1.")] = None,
    hu_high: Annotated[float | None, typer.Option(help="HU that training mapped to 1.")] = None,
) -> None:
    """Convert weights in MONAI's published layout to a model of ours, checked key by key, without pickle."""
    from sparra.segmentation.published import convert_published

    bounds = None if hu_low is None or hu_high is None else (hu_low, hu_high)
    convert_published(weights, output, resolve_settings("kits23", settings, {}), bounds)
    _console().print(f"model: {output}", soft_wrap=True)


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.", show_default=False)],
    cases: Annotated[int, typer.Option(help="Number of cases.", min=1)] = 24,
    seed: Annotated[int, typer.Option(help="Seed.", min=0)] = 0,
) -> None:
    """Write simulated CTs with kidney, tumour and cyst in KiTS layout."""
    from sparra.simulate.kits import write_kits_cases
    from sparra.study.progress import ProgressBars

    console = _console()
    for _ in ProgressBars(console)(write_kits_cases(folder, cases, seed), "simulate", cases):
        pass
    console.print(f"{cases} cases: {folder}", soft_wrap=True)


def resolve_settings(recipe: str, path: Path | None, given: dict[str, Any]) -> Any:
    """Lay the command line's options over a settings file over a recipe.

    Raises
    ------
    UserError
        If one of them is not valid.
    """
    from sparra.registry import nearest_name
    from sparra.segmentation.settings import RECIPES, SegmentationSettings

    if recipe not in RECIPES:
        raise UserError(f"there is no recipe called '{recipe}'", mend=nearest_name(recipe, list(RECIPES)))
    values: dict[str, Any] = dict(RECIPES[recipe])
    if path is not None:
        values = _merged(values, _read_yaml(path))
    return SegmentationSettings.from_mapping(values | given, str(path or f"recipe {recipe}"))


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = {**base[key], **value} if both else value
    return merged


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"the settings cannot be read ({' '.join(str(error).split())})", path) from None
    if not isinstance(content, dict):
        raise UserError("the settings file holds no keys", path)
    return content


def _console() -> Console:
    from sparra.cli import console

    return console


def _tell(console: Console, output: Path, problems: Sequence[Any]) -> None:
    """Say where to look and what to do next; exit with code 1 if a case failed."""
    for problem in problems:
        console.print(f"[yellow]{problem.stage} failed:[/yellow] {escape(str(problem))}", soft_wrap=True)
    console.print(f"montages: {output / 'montages'}", soft_wrap=True)
    told = "write accept or reject in its column 'decision', then name it in study.yaml as cohort: review:"
    console.print(f"review table: {output / 'review.csv'}; {told}", soft_wrap=True)
    if problems:
        raise typer.Exit(1)
