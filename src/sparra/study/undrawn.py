"""Images that no map can be drawn of, and why: that is no failure to mend, so it is told once a reason."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sparra.bags.store import lacking_for_maps
from sparra.errors import UserError
from sparra.files import write_text
from sparra.study.layout import StudyLayout

if TYPE_CHECKING:
    from sparra.study.maps import MapWork

COLUMNS = ["modality", "lacking", "images", "subjects"]


def find_undrawable(work: Iterable["MapWork"]) -> dict[Path, str]:
    """Return what each image's bag lacks for a map, by the bag; bags that lack nothing are left out."""
    found = {bag: _lacking(bag) for bag in {each.bag for each in work}}
    return {bag: lacking for bag, lacking in found.items() if lacking}


def write_undrawn(path: Path, work: Iterable["MapWork"], undrawable: Mapping[Path, str]) -> None:
    """Write how many images and subjects get no map, a row a modality and reason."""
    rows = {(each.modality, undrawable[each.bag], each.bag, each.subject_id) for each in work if each.bag in undrawable}
    table = pd.DataFrame(sorted(rows), columns=[*COLUMNS[:2], "bag", "subject_id"])
    counts = table.groupby(COLUMNS[:2]).agg(images=("bag", "nunique"), subjects=("subject_id", "nunique"))
    write_text(path, counts.reset_index().to_csv(index=False, lineterminator="\n"))


def undrawn_sentences(layout: StudyLayout) -> list[str]:
    """Say of how many images no map can be drawn, and why, a sentence a reason."""
    if not layout.map_undrawn.exists():
        return []
    table = pd.read_csv(layout.map_undrawn, dtype=str)
    sentences = []
    for row in table.to_dict("records"):
        image = {"ct": "CT", "slide": "slide"}[row["modality"]]
        many = "" if row["images"] == "1" else "s"
        sentences.append(
            f"No map can be drawn of {row['images']} {image}{many}: the features came without {row['lacking']}."
        )
    return sentences


def _lacking(bag: Path) -> str:
    try:
        return lacking_for_maps(bag)
    except UserError:  # Told by the work itself, which cannot read it either.
        return ""
