"""Manual validation of masks: a CSV in which every case is accepted or rejected by a person.

``sparra segment predict`` and ``sparra segment review`` write the table with the column ``decision`` empty; a
study that names it takes a mask only where somebody wrote ``accept``.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sparra.cohort.problems import Problem
from sparra.cohort.tables import ImageRecord, read_labels, read_table
from sparra.errors import UserError
from sparra.files import atomic_path, sha256_of

Decision = Literal["accept", "reject", ""]
WORDS: dict[str, Decision] = {
    "accept": "accept",
    "accepted": "accept",
    "reject": "reject",
    "rejected": "reject",
    "": "",
}
NEEDED = ("subject_id", "image", "mask", "decision")


@dataclass(frozen=True)
class Review:
    """One row of the table.

    Attributes
    ----------
    image : Path
    series : str or None
    mask : Path or None
        None where none could be made.
    label : tuple of int or str, or None
        The tumour's in `mask`.
    decision : str
        As written.
    comment, flags : str
        What the person wrote; what the quality control found.
    mask_sha256 : str
        Of the mask that was looked at; empty if not noted.
    where : str
        File and row.
    """

    image: Path
    series: str | None
    mask: Path | None
    label: tuple[int | str, ...] | None
    decision: str
    comment: str
    flags: str
    mask_sha256: str
    where: str


def read_review(path: Path) -> list[Review]:
    """Read a review table; relative paths are relative to its folder.

    Raises
    ------
    UserError
        If the file cannot be read or a cell of it cannot.
    """
    table = read_table(path, NEEDED)
    if table.problems:
        raise UserError(table.problems[0].what, table.problems[0].where, table.problems[0].mend)
    return [_review(row, path, number) for number, row in zip(table.numbers, table.rows, strict=True)]


def _review(row: Mapping[str, str], path: Path, number: int) -> Review:
    where = f"{path}, row {number}"
    try:
        label = read_labels(row.get("label", ""))
    except UserError as error:
        raise UserError(error.what, where, error.mend) from None
    return Review(
        image=(path.parent / row["image"]).resolve(),
        series=row.get("series") or None,
        mask=(path.parent / row["mask"]).resolve() if row["mask"] else None,
        label=label,
        decision=row["decision"],
        comment=row.get("comment", ""),
        flags=row.get("flags", ""),
        mask_sha256=row.get("mask_sha256", ""),
        where=where,
    )


def apply_review(images: Iterable[ImageRecord], path: Path) -> tuple[list[ImageRecord], list[Problem]]:
    """Give CTs their accepted masks, and take out those whose mask was rejected or not looked at.

    A row is found by the mask that an image names or, where it names none, by the image itself. Images that the
    table does not know stay as they are.

    Returns
    -------
    images : list of ImageRecord
    problems : list of Problem
        One for each image taken out, with the reason.
    """
    reviews = read_review(path)
    by_mask = {review.mask: review for review in reviews if review.mask}
    by_image = {(review.image, review.series): review for review in reviews}
    kept: list[ImageRecord] = []
    problems: list[Problem] = []
    for image in images:
        named = by_mask.get(image.mask.resolve()) if image.mask else None
        review = named if image.mask else by_image.get((image.path.resolve(), image.series))
        if review is None or image.modality != "ct":
            kept.append(image)
        elif (fault := _fault(review)) is None:
            kept.append(replace(image, mask=review.mask, label=image.label or review.label))
        else:
            problems.append(Problem(fault[0], review.where, fault[1], image.subject_id, stage="review"))
    return kept, problems


def _fault(review: Review) -> tuple[str, str] | None:
    """Return why a mask may not be used and how to mend it, or None if it was accepted."""
    decision = WORDS.get(review.decision.lower())
    if decision is None:
        return f"decision '{review.decision}' is not known", "Write accept or reject"
    remark = f": {review.comment}" if review.comment else ""
    if review.mask is None:
        return f"there is no mask ({review.flags or 'none was made'})", "Draw one, or leave the case out"
    if decision == "reject":
        return f"the mask was rejected in review{remark}", "Correct it and review it again, or leave the case out"
    if decision == "":
        found = f" (quality control: {review.flags})" if review.flags else ""
        return f"the mask has not been reviewed{found}", "Look at its montage and write accept or reject"
    if not review.mask.exists():
        return "the accepted mask does not exist", "Correct the path, or make the mask again"
    if review.mask_sha256 and review.mask_sha256 != sha256_of(review.mask):
        return "the mask was changed after it was reviewed", "Run 'sparra segment review' on it and decide again"
    return None


def write_review(path: Path, rows: list[dict[str, str]], columns: list[str]) -> None:
    """Write a review table, keeping the decisions of an earlier one about masks that have not changed."""
    decided = {}
    if path.exists():
        decided = {row.get("mask_sha256", ""): row for row in read_table(path, NEEDED).rows if row["decision"]}
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for row in rows:
            earlier = decided.get(row["mask_sha256"]) if row["mask_sha256"] else None
            same = earlier is not None and earlier["subject_id"] == row["subject_id"]
            kept = {key: earlier.get(key, "") for key in ("decision", "comment")} if earlier and same else {}
            table.writerow({**row, **kept})
