"""One study, one kind of features: images of another encoder or magnification are found and named."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median_low
from typing import Any

from sparra.bags import Bag
from sparra.bags.encoder_names import common_name
from sparra.cohort.check import Cohort
from sparra.cohort.problems import Problem
from sparra.cohort.tables import ImageRecord
from sparra.errors import UserError
from sparra.modality import MODALITIES, Modality

# Tools that work by magnification call 0.3 to 0.6 µm per pixel 20x, so sizes differ by up to this within one.
LARGEST_RATIO = math.sqrt(2)
FILES_NAMED = 3


def kind_of(bag: Bag) -> dict[str, Any]:
    """Return what must agree between the images of a study (JSON-ready).

    Returns
    -------
    dict
        ``features`` (number and encoder), ``names`` (digest of the features' names), ``patch`` (side of a patch
        in µm) and ``tile_mpp`` (µm per pixel that the encoder saw), the last two None where not known; and
        ``notes``, what the reader of an imported bag remarked, which need not agree.
    """
    digest = hashlib.sha256(json.dumps(list(bag.feature_names)).encode()).hexdigest()[:8]
    return {
        "features": f"{bag.features.shape[1]} of encoder '{_encoder_of(bag)}'",
        "names": digest,
        # A single row may stand for a whole image.
        "patch": None if bag.patch_size is None or len(bag) < 2 else float(bag.patch_size[0]),
        "tile_mpp": _tile_mpp(bag),
        "notes": [str(note) for note in bag.provenance.get("notes", [])],
    }


def _encoder_of(bag: Bag) -> str:
    encoder = bag.provenance.get("encoder")
    return common_name(str(encoder.get("name", "?") if isinstance(encoder, dict) else encoder))


def _tile_mpp(bag: Bag) -> float | None:
    known = bag.provenance.get("tile_mpp")
    if known is None:
        grid = bag.provenance.get("grid", {})
        known = grid["tile_um"] / grid["tile_px"] if {"tile_um", "tile_px"} <= set(grid) else None
    return None if known is None else float(known)


@dataclass(frozen=True)
class ImageKind:
    """An image and the kind of its features, as `kind_of` gives it."""

    image: ImageRecord
    kind: Mapping[str, Any]

    @property
    def features(self) -> tuple[str, str]:
        """What must be equal."""
        return self.kind["features"], self.kind["names"]


def odd_images(images: Sequence[ImageKind]) -> list[tuple[ImageRecord, Problem]]:
    """Find the images whose features are of another kind than most of their modality.

    Parameters
    ----------
    images : sequence of ImageKind

    Returns
    -------
    list of (ImageRecord, Problem)
        To be left out: a model takes features of one encoder at one magnification.

    Raises
    ------
    UserError
        If no kind is that of more than half of the images, so that it cannot be told which are meant.
    """
    found = []
    for modality in MODALITIES:
        of_modality = [entry for entry in images if entry.image.modality == modality]
        alike, others = _by_features(of_modality, modality)
        found += others + (_by_size(alike) if modality == "slide" else [])
    return found


def without_odd_images(cohort: Cohort, images: Sequence[ImageKind]) -> Cohort:
    """Return a cohort without its odd images, which become problems, and without subjects left with none.

    What the readers of the rest remarked becomes the cohort's remarks.

    Raises
    ------
    UserError
        As `odd_images`.
    """
    odd = odd_images(images)
    left_out = {image.key for image, _ in odd}
    kept = tuple(image for image in cohort.images if image.key not in left_out)
    with_images = {image.subject_id for image in kept}
    remarks = Counter(
        note for entry in images if entry.image.key not in left_out for note in entry.kind.get("notes", [])
    )
    return replace(
        cohort,
        remarks=dict(remarks),
        subjects=tuple(subject for subject in cohort.subjects if subject.subject_id in with_images),
        images=kept,
        problems=(*cohort.problems, *(problem for _, problem in odd)),
    )


Odd = list[tuple[ImageRecord, Problem]]


def _by_features(images: list[ImageKind], modality: Modality) -> tuple[list[ImageKind], Odd]:
    counts = Counter(entry.features for entry in images).most_common()
    if len(counts) < 2:
        return images, []
    usual = counts[0][0]
    alike = [entry for entry in images if entry.features == usual]
    others = [entry for entry in images if entry.features != usual]
    if 2 * len(alike) <= len(images):
        parts = "; ".join(_part(kind, [e for e in images if e.features == kind]) for kind, _ in counts)
        raise UserError(
            f"the study mixes features of {len(counts)} kinds, none of which most {modality} images have: {parts}",
            mend="Use images of one encoder, at one magnification, in a study",
        )
    odd = []
    for entry in others:
        theirs = entry.features[0] + (", with other names" if entry.features[0] == usual[0] else "")
        what = f"its features are {theirs}, those of most {modality} images are {usual[0]} (such as {_files(alike)})"
        odd.append((entry.image, _problem(entry.image, what, "Extract all images with one encoder")))
    return alike, odd


def _by_size(images: list[ImageKind]) -> Odd:
    """Find slides whose tiles are of another size, or were seen at another µm per pixel."""
    odd: dict[str, tuple[ImageRecord, Problem]] = {}
    for key, told in (("patch", "µm wide"), ("tile_mpp", "µm per pixel")):
        known = {entry.image.key: float(entry.kind[key]) for entry in images if entry.kind.get(key)}
        if len(known) < 2:
            continue
        usual = median_low(known.values())
        alike = [e for e in images if e.image.key in known and _near(known[e.image.key], usual)]
        if 2 * len(alike) <= len(known):
            _refuse_sizes([e for e in images if e.image.key in known], known, told)
        for entry in images:
            size = known.get(entry.image.key)
            if size is not None and not _near(size, usual):
                what = f"its tiles are {size:.3g} {told}, those of most slides {usual:.3g} (such as {_files(alike)})"
                mend = "Extract all slides at one magnification"
                odd[entry.image.key] = entry.image, _problem(entry.image, what, mend)
    return list(odd.values())


def _refuse_sizes(images: list[ImageKind], known: Mapping[str, float], told: str) -> None:
    least, most = (choose(images, key=lambda entry: known[entry.image.key]) for choose in (min, max))
    parts = " and ".join(f"{known[entry.image.key]:.3g} {told} in {entry.image.path}" for entry in (least, most))
    raise UserError(
        f"the study mixes magnifications, none of which most slides have: tiles are {parts}",
        mend="Use slides of one magnification in a study",
    )


def _near(size: float, usual: float) -> bool:
    return 1 / LARGEST_RATIO < size / usual < LARGEST_RATIO


def _part(kind: tuple[str, str], images: list[ImageKind]) -> str:
    return f"{len(images)} have {kind[0]} ({_files(images)})"


def _files(images: Sequence[ImageKind]) -> str:
    names = ["/".join(entry.image.path.parts[-2:]) for entry in images[:FILES_NAMED]]
    return ", ".join(names) + (", …" if len(images) > FILES_NAMED else "")


def _problem(image: ImageRecord, what: str, mend: str) -> Problem:
    return Problem(what, str(image.path), mend, image.subject_id)
