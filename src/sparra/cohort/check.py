"""Validation of a whole cohort: all problems at once, and the flow of subjects."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sparra.cohort.problems import Problem, problem_of
from sparra.cohort.review import apply_review
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
    listed : tuple of str
        Ids of all subjects in the table.
    time_unit : str
    remarks : mapping of str to int
        What is to be known of imported bags and slides, and of how many.
    """

    subjects: tuple[Subject, ...]
    images: tuple[ImageRecord, ...]
    problems: tuple[Problem, ...]
    listed: tuple[str, ...]
    time_unit: str
    remarks: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_follow_up(self) -> bool:
        """Whether the table holds time and event."""
        return not any(math.isnan(subject.time) for subject in self.subjects)

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
    subjects, problems, listed = read_subjects(settings.subjects, follow_up)
    images, image_problems = read_images(settings.images)
    problems += image_problems
    if settings.review is not None:
        images, review_problems = apply_review(images, settings.review)
        problems += review_problems
    known = set(listed)
    usable: dict[str, list[ImageRecord]] = defaultdict(list)
    for image in track(images):
        where = f"{settings.images}, row {image.row}"
        if image.subject_id not in known:
            what = f"subject '{image.subject_id}' is not in {settings.subjects.name}"
            problems.append(Problem(what, where, "Add the subject or remove the image", image.subject_id))
            continue
        try:
            check_image(image)
        except UserError as error:
            problems.append(problem_of(error, "check", image.subject_id, where))
        else:
            usable[image.subject_id].append(image)
    return _assemble(settings, subjects, usable, problems, listed)


def _assemble(
    settings: CohortSettings,
    subjects: list[Subject],
    usable: Mapping[str, list[ImageRecord]],
    problems: list[Problem],
    listed: list[str],
) -> Cohort:
    with_images = sorted((s for s in subjects if usable.get(s.subject_id)), key=lambda s: s.subject_id)
    without = [
        Problem("no usable image", str(settings.subjects), "List a CT or a slide", s.subject_id, True)
        for s in subjects
        if not usable.get(s.subject_id)
    ]
    images = [image for s in with_images for image in sorted(usable[s.subject_id], key=lambda i: str(i.path))]
    return Cohort(tuple(with_images), tuple(images), (*problems, *without), tuple(listed), settings.time_unit)


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
    problems: dict[str, list[Problem]] = defaultdict(list)
    for problem in (*cohort.problems, *failures):
        problems[problem.subject_id].append(problem)
    excluded = [
        _exclusion(subject_id, problems[subject_id]) for subject_id in cohort.listed if subject_id not in anywhere
    ]
    return {
        "subjects_in": len(cohort.listed),
        "subjects_used": len(anywhere),
        "events": _events(s for s in cohort.subjects if s.subject_id in anywhere),
        "time_unit": cohort.time_unit,
        "excluded": excluded,
        "remarks": dict(cohort.remarks),
        "used": {
            "ct": len(used["ct"]),
            "slide": len(used["slide"]),
            "both": len(used["ct"] & used["slide"]),
            "joint": len(anywhere),
        },
    }


def _exclusion(subject_id: str, problems: list[Problem]) -> dict[str, str]:
    """Return one row for a subject that is not used, with all of its reasons."""
    joined = {
        key: "; ".join(dict.fromkeys(problem.as_row()[key] for problem in problems))
        for key in ("stage", "where", "what", "mend")
    }
    return {"subject_id": subject_id, **joined}


def _events(subjects: Iterable[Subject]) -> int | None:
    """Count observed events; None where no follow-up was read."""
    followed = [subject.event for subject in subjects if not math.isnan(subject.time)]
    return sum(followed) if followed else None
