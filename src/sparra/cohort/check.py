"""Validation of a whole cohort: all problems at once, and the flow of subjects."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sparra.cohort.problems import Problem, problem_of
from sparra.cohort.settings import CohortSettings
from sparra.cohort.tables import ImageRecord, Subject, read_images, read_subjects
from sparra.errors import UserError
from sparra.modality import MODALITIES, Modality

CheckImage = Callable[[ImageRecord], None]


@dataclass(frozen=True)
class Cohort:
    """Subjects that can be used, their images, and everything that was found wrong.

    Attributes
    ----------
    subjects : tuple of Subject
        Sorted by subject_id; each has at least one image.
    images : tuple of ImageRecord
        Images of those subjects, sorted by subject and path.
    problems : tuple of Problem
    n_listed : int
        Subjects in the table.
    time_unit : str
    """

    subjects: tuple[Subject, ...]
    images: tuple[ImageRecord, ...]
    problems: tuple[Problem, ...]
    n_listed: int
    time_unit: str

    def images_of(self, subject_id: str, modality: Modality) -> list[ImageRecord]:
        """Return one subject's images of one modality."""
        return [i for i in self.images if i.subject_id == subject_id and i.modality == modality]


def check_cohort(
    settings: CohortSettings,
    check_image: CheckImage,
    follow_up: bool = True,
    track: Callable[[list[ImageRecord]], Iterable[ImageRecord]] = iter,
) -> Cohort:
    """Read both tables and look at every file.

    Parameters
    ----------
    settings : CohortSettings
    check_image : callable
        Raises a `UserError` if an image cannot be used; given by the study, which knows the readers.
    follow_up : bool
        Whether time and event are needed.
    track : callable
        Wraps the list of images, e.g. in a progress bar.

    Raises
    ------
    UserError
        Only if a table as a whole cannot be read; everything else is a `Problem` of the cohort.
    """
    subjects, problems, n_listed = read_subjects(settings.subjects, follow_up)
    images, image_problems = read_images(settings.images)
    problems += image_problems
    listed = {s.subject_id for s in subjects} | {p.subject_id for p in problems if p.excludes_subject}
    usable: dict[str, list[ImageRecord]] = defaultdict(list)
    for image in track(images):
        where = f"{settings.images}, row {image.row}"
        if image.subject_id not in listed:
            what = f"subject '{image.subject_id}' is not in {settings.subjects.name}"
            problems.append(Problem(what, where, "Add the subject or remove the image", image.subject_id))
            continue
        try:
            check_image(image)
        except UserError as error:
            problems.append(problem_of(error, "check", image.subject_id, where))
        else:
            usable[image.subject_id].append(image)
    return _assemble(settings, subjects, usable, problems, n_listed)


def _assemble(
    settings: CohortSettings,
    subjects: list[Subject],
    usable: Mapping[str, list[ImageRecord]],
    problems: list[Problem],
    n_listed: int,
) -> Cohort:
    with_images = sorted((s for s in subjects if usable.get(s.subject_id)), key=lambda s: s.subject_id)
    without = [
        Problem("no usable image", str(settings.subjects), "List a CT or a slide", s.subject_id, True)
        for s in subjects
        if not usable.get(s.subject_id)
    ]
    images = [image for s in with_images for image in sorted(usable[s.subject_id], key=lambda i: str(i.path))]
    return Cohort(tuple(with_images), tuple(images), (*problems, *without), n_listed, settings.time_unit)


def flow_of(
    cohort: Cohort, used: Mapping[Modality, set[str]] | None = None, failures: Iterable[Problem] = ()
) -> dict[str, Any]:
    """Return the flow of subjects: in, excluded with reasons, used per modality (JSON-ready).

    Parameters
    ----------
    cohort : Cohort
    used : mapping of modality to set of str, optional
        Subjects that have a graph of the modality; before any graph exists, those that have an image.
    failures : iterable of Problem
        What failed after the check.
    """
    if used is None:
        used = {m: {i.subject_id for i in cohort.images if i.modality == m} for m in MODALITIES}
    anywhere = set().union(*used.values())
    problems = [*cohort.problems, *failures]
    excluded = [p for p in problems if p.subject_id and p.subject_id not in anywhere]
    return {
        "subjects_in": cohort.n_listed,
        "subjects_used": len(anywhere),
        "events": _events(s for s in cohort.subjects if s.subject_id in anywhere),
        "time_unit": cohort.time_unit,
        "excluded": [p.as_row() for p in excluded],
        "used": {
            "ct": len(used["ct"]),
            "slide": len(used["slide"]),
            "both": len(used["ct"] & used["slide"]),
            "joint": len(anywhere),
        },
    }


def _events(subjects: Iterable[Subject]) -> int | None:
    """Count observed events; None where no follow-up was read."""
    followed = [subject.event for subject in subjects if not math.isnan(subject.time)]
    return sum(followed) if followed else None
