"""What is known of each encoder, as a table, in full, or for other programs."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from sparra.bags.readers import is_bag_file
from sparra.cohort.problems import Problem, problem_of
from sparra.cohort.tables import ImageRecord
from sparra.encoders import NOT_PUBLISHED, EncoderCard
from sparra.errors import UserError
from sparra.modality import Modality
from sparra.pathology.encoders import slide_encoders
from sparra.radiology.encoders import ct_encoders
from sparra.registry import nearest_name
from sparra.settings import Settings
from sparra.study.settings import StudySettings
from sparra.weights.source import WeightsSource, find_weights, how_to_get


def encoder_cards() -> list[EncoderCard]:
    """Return the cards of all registered encoders, those of CT first."""
    cards = [ct_encoders[name].card for name in ct_encoders]
    return cards + [slide_encoders[name].card for name in slide_encoders]


def cards_called(name: str) -> list[EncoderCard]:
    """Return the cards called `name`: two where CT and slide have an encoder of that name.

    Raises
    ------
    UserError
        If there is none; the sentence holds the nearest valid name.
    """
    cards = encoder_cards()
    found = [card for card in cards if card.name == name]
    if not found:
        raise UserError(f"there is no encoder called '{name}'", mend=nearest_name(name, [card.name for card in cards]))
    return found


def encoders_table() -> Table:
    """Return all registered encoders with what one must know before trusting them."""
    table = Table("encoder", "input", "weights", "pre-training", title="Encoders", show_lines=True)
    for card in encoder_cards():
        digest = f"sha256 {card.weights_sha256 or NOT_PUBLISHED}" if card.files else ""
        cells = (
            (card.name, card.modality, f"{card.dimension} features"),
            (card.input_description, card.resolution, card.intensity),
            (card.weights, digest, f"licence {card.licence}", "gated" if card.gated else ""),
            (card.pretraining, f"WARNING: {card.overlap}" if card.overlap else ""),
        )
        table.add_row(*(escape("\n".join(line for line in cell if line)) for cell in cells))
    return table


def encoder_table(card: EncoderCard) -> Table:
    """Return all that is known of one encoder."""
    table = Table("", card.name, title=f"{card.modality} encoder")
    for label, text in _facts(card):
        table.add_row(label, escape(text))
    for name, field in _options_of(card).model_fields.items():
        table.add_row(f"option {name}", escape(str(field.default)))
    return table


def card_as_json(card: EncoderCard) -> dict[str, Any]:
    """Return a card for other programs: every field, and how to get each file of weights."""
    content = asdict(card)
    content["files"] = [{**asdict(file), "how_to_get": how_to_get(file)} for file in card.files]
    content["options"] = _options_of(card)().model_dump(mode="json")
    return content


def encoders_needed(images: Iterable[ImageRecord]) -> list[Modality]:
    """Return the modalities whose encoder a study runs: those with an image that is no ready bag."""
    return sorted({image.modality for image in images if not is_bag_file(image.path)})


def weights_given(settings: StudySettings, modality: Modality) -> list[tuple[WeightsSource, str | None]]:
    """Return each file of weights of a study's encoder, and where the study says that it lies.

    Raises
    ------
    UserError
        If the encoder, of another package, has not one option for each file.
    """
    card, options = _chosen(settings, modality)
    # An encoder with several files has an option for each, in the same order.
    given = [value for name, value in options if name == "weights" or name.endswith("_weights")]
    if len(given) != len(card.files):
        what = f"the encoder '{card.name}' names {len(card.files)} files of weights, and options for {len(given)}"
        mend = "Its authors must give it the option 'weights', or one that ends in '_weights', for each file"
        raise UserError(what, f"{modality}.encoder", mend)
    return [(source, None if path is None else str(path)) for source, path in zip(card.files, given, strict=True)]


def _chosen(settings: StudySettings, modality: Modality) -> tuple[EncoderCard, Settings]:
    if modality == "ct":
        ct = ct_encoders[settings.ct.encoder]
        return ct.card, ct.settings.from_mapping(settings.ct.encoder_options, "ct.encoder_options")
    slide = slide_encoders[settings.slide.encoder]
    return slide.card, slide.options_in(settings.slide)


def comes_from_hub(given: str | None) -> bool:
    """Tell whether a study has a file of weights fetched from the Hugging Face Hub."""
    return given is not None and (given == "hub" or given.startswith("hub:"))


def weights_problems(settings: StudySettings, images: Iterable[ImageRecord]) -> list[Problem]:
    """Tell which weights a study needs and this machine lacks; what is to come from the Hub is not sought."""
    problems = []
    for modality in encoders_needed(images):
        try:
            files = weights_given(settings, modality)
        except UserError as error:
            problems.append(problem_of(error, "check", "", f"{modality}.encoder"))
            continue
        for source, given in files:
            try:
                if source.hub is None or not comes_from_hub(given):
                    find_weights(source, given)
            except UserError as error:
                problems.append(problem_of(error, "check", "", f"{modality}.encoder"))
    return problems


def _facts(card: EncoderCard) -> list[tuple[str, str]]:
    size = " x ".join(map(str, card.input_size)) or "any"
    unit = "µm a pixel" if card.modality == "slide" else "mm"
    facts = [
        ("features", str(card.dimension)),
        ("input", card.input_description),
        ("network sees", f"{size} {'pixels' if card.modality == 'slide' else 'voxels (z, y, x)'}"),
        ("resolution", card.resolution),
        ("trained at", " or ".join(f"{value:g}" for value in card.trained_at) + f" {unit}" if card.trained_at else ""),
        ("tiles", " or ".join(map(str, card.tile_px)) + " pixels" if card.tile_px else ""),
        ("intensity", card.intensity),
        ("licence", card.licence),
        ("pre-training", card.pretraining),
        ("WARNING", card.overlap),
        ("parameters", f"{card.parameters_millions:g} million" if card.parameters_millions else ""),
        ("reference", card.reference),
        ("notes", card.notes),
    ]
    if not card.files:
        facts.append(("weights", card.weights))
    for file in card.files:
        facts += _of_file(file)
    return [(label, text) for label, text in facts if text]


def _of_file(file: WeightsSource) -> list[tuple[str, str]]:
    return [
        ("weights", f"{file.file} of {file.hub or file.address}{' (gated)' if file.gated else ''}"),
        ("  revision", file.revision if file.hub else ""),
        ("  sha256", file.sha256 or NOT_PUBLISHED),
        ("  how to get", how_to_get(file)),
    ]


def _options_of(card: EncoderCard) -> type[Settings]:
    return ct_encoders[card.name].settings if card.modality == "ct" else slide_encoders[card.name].options
