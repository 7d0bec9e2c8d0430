"""The model card of a bundle (Mitchell et al., FAT* 2019), as Markdown."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sparra import RESEARCH_USE_ONLY
from sparra.bundle.compare import SOURCE_UNITS, span
from sparra.bundle.content import BundleContent, Figure, InputKind

if TYPE_CHECKING:
    from sparra.bundle.bundle import Bundle

MODALITY_WORDS = {"ct": "CT", "slide": "whole-slide image", "joint": "CT and whole-slide image"}
_TRAINED = {
    "folds": "The models are those of the study's folds, as they were evaluated, {n} in all; none of them saw every "
    "patient. A prediction is the mean of theirs.",
    "refit": "The model was fitted once more to all patients of the study, after its evaluation; the performance "
    "below is that of the fold models, which is what the same procedure gave on patients that it had not seen.",
}


def model_card(bundle: "Bundle") -> str:
    """Return the card."""
    return "\n".join(_lines(bundle)) + "\n"


def _lines(bundle: "Bundle") -> Iterator[str]:
    content = bundle.content
    yield f"# Model card: {_plain(content.study)}"
    yield from ("", f"**{RESEARCH_USE_ONLY}**", "")
    yield f"Survival from {MODALITY_WORDS[content.modality]}, its time counted as in the training study: aggregation "
    yield f"`{content.aggregator}`, risk by `{content.model}`."
    yield f"Exported {content.made_on} by sparra {content.versions.get('sparra', '')}."
    yield from ("", "## Intended use", "", content.intended_use, "", "## What it takes", "")
    yield from _inputs(content)
    yield from ("", "## What it gives", "")
    yield from _outputs(content)
    yield from ("", "## Training cohort", "")
    yield from _cohort(content)
    yield from ("", "## Performance", "", "Out-of-fold in the study named above; no external validation.", "")
    yield from ("| figure | value | 95 % interval | SD over folds | note |", "|---|---|---|---|---|")
    yield from (_figure(figure) for figure in content.performance)
    yield from ("", "## Importance maps", "")
    yield from _maps(content)
    yield from ("", "## Training", "")
    yield _TRAINED[content.weights].format(n=len(content.members))
    yield f"Protocol `{content.protocol}` (docs/evaluation.md of sparra)."
    yield from ("", "## Limitations", "")
    yield from (f"- {text}" for text in content.limitations)
    yield from ("", "## Versions", "", "| package | version |", "|---|---|")
    yield from (f"| {name} | {version} |" for name, version in content.versions.items())
    yield from ("", "Hashes of all files are in `manifest.json`; `bundle.json` holds every setting.")


def _inputs(content: BundleContent) -> Iterator[str]:
    yield "| images | features | encoder's weights (SHA-256) | working resolution | training images |"
    yield "|---|---|---|---|---|"
    for modality, known in content.inputs.items():
        weights = ", ".join(known.weights) or "none, or not known"
        source = "; ".join(_range(name, *bounds) for name, bounds in known.source.items()) or "not known"
        cells = (MODALITY_WORDS[modality], known.features, weights, _working(content, modality, known), source)
        yield f"| {' | '.join(map(_plain, cells))} |"
    yield ""
    yield "Images of another encoder or working resolution are refused, as are scans whose own resolution lies more "
    yield "than a factor √2 outside that of the training images; a prediction for images unlike those of training "
    yield "(fewer than 5 % of training subjects lie as far out) carries a remark."
    if content.modality == "joint":
        yield "A patient may lack one of the two kinds of image."


def _working(content: BundleContent, modality: str, known: InputKind) -> str:
    if modality == "ct":
        return (
            f"{content.preprocessing.ct.spacing_mm:g} mm (where CTs are given), patches {_or_unknown(known.patch)} mm"
        )
    return f"{_or_unknown(known.tile_mpp)} µm per pixel, tiles {_or_unknown(known.patch)} µm"


def _outputs(content: BundleContent) -> Iterator[str]:
    horizons = ", ".join(f"{time:g}" for time in content.horizons)
    yield "- Risk, in SDs of the training risks above their cut: mean over the models, and its SD (each network's "
    yield "  posterior, and between the models)."
    yield f"- Survival at {horizons} {content.time_unit} or any time up to {content.cohort.longest_follow_up:g}."
    if content.replicates:
        yield f"  Interval: the 2.5 % and 97.5 % points over all models and, of each, {content.replicates} bootstrap "
        yield "  replicates of its survival model, each at one draw from the posterior of the network, if it has one."
        yield "  It holds the sampling of patients in the survival model, the posterior"
        yield (
            "  and the difference between the networks."
            if len(content.members) > 1
            else "  and no sampling of patients in the network's training."
        )
    yield f"- Risk group: high where the risk is above zero; the cut is the {content.cut} of the training risks."
    yield "- Importance of every node, and how like the training images each image is."


def _cohort(content: BundleContent) -> Iterator[str]:
    cohort = content.cohort
    unit = content.time_unit
    median = "not reached" if cohort.median_follow_up is None else f"{cohort.median_follow_up:g} {unit}"
    yield "| | |"
    yield "|---|---|"
    yield f"| patients | {cohort.n_subjects} |"
    yield f"| events | {cohort.n_events} |"
    words = {**MODALITY_WORDS, "both": "both"}
    yield from (f"| with {words.get(name, name)} | {count} |" for name, count in cohort.with_modality.items() if count)
    yield f"| median follow-up (reverse Kaplan–Meier) | {median} |"
    yield f"| longest follow-up | {cohort.longest_follow_up:g} {unit} |"
    if cohort.age is not None:
        age = cohort.age
        yield f"| age, mean (SD) | {age['mean']:.1f} ({age['sd']:.1f}) |"
        yield f"| age, quartiles | {age['lower']:.0f}, {age['upper']:.0f} |"


def _maps(content: BundleContent) -> Iterator[str]:
    yield "Verdict of the study on its own maps, those of the fold models (docs/maps.md of sparra). Maps of new "
    yield "patients carry it."
    yield ""
    for modality in content.inputs:
        known = content.maps.get(modality)
        verdict, sentence = (known.verdict, known.sentence) if known else ("untested", "Not tested.")
        yield f"- {MODALITY_WORDS[modality]}: **{verdict}**. {_plain(sentence)}"


def _figure(figure: Figure) -> str:
    value = "n/a" if figure.value is None else f"{figure.value:.3f}"
    known = figure.lower is not None and figure.upper is not None
    interval = f"{figure.lower:.3f} to {figure.upper:.3f}" if known else ""
    spread = "" if figure.sd is None else f"{figure.sd:.3f}"
    return f"| {_plain(figure.name)} | {value} | {interval} | {spread} | {_plain(figure.note)} |"


def _range(name: str, least: float, most: float) -> str:
    return f"{span(least, most)} {SOURCE_UNITS.get(name, name)}"


def _or_unknown(value: float | None) -> str:
    return "?" if value is None else f"{value:g}"


def _plain(text: str) -> str:
    """Keep text from breaking a table or from being taken for markup."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
