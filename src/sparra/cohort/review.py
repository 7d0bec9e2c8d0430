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
    series : str
        Digest of the series' name, empty where none is named.
    mask : Path or None
        None where none could be made.
    original : Path or None
        The file that `mask` was made from, where somebody else had made one.
    label : tuple of int or str, or None
        The tumour's in `mask`.
    decision : str
        As written.
    comment, flags : str
        What the person wrote; what the quality control found.
    mask_sha256, original_sha256 : str
        Of the files that were looked at; empty if not noted.
    where : str
        File and row.
    """

    image: Path
    series: str
    mask: Path | None
    original: Path | None
    label: tuple[int | str, ...] | None
    decision: str
    comment: str
    flags: str
    mask_sha256: str
    original_sha256: str
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
        series=row.get("series", ""),
        mask=(path.parent / row["mask"]).resolve() if row["mask"] else None,
        original=(path.parent / row["original"]).resolve() if row.get("original") else None,
        label=label,
        decision=row["decision"],
        comment=row.get("comment", ""),
        flags=row.get("flags", ""),
        mask_sha256=row.get("mask_sha256", ""),
        original_sha256=row.get("original_sha256", ""),
        where=where,
    )


def apply_review(images: Iterable[ImageRecord], path: Path) -> tuple[list[ImageRecord], list[Problem]]:
    """Give CTs their accepted masks, and take out those whose mask was rejected or not looked at.

    A row is found by the mask that an image names (the reviewed one, or the file it was made from) or, where it
    names none, by the image itself. Images that the table does not know stay as they are.

    Returns
    -------
    images : list of ImageRecord
    problems : list of Problem
        One for each image taken out, with the reason.
    """
    reviews = read_review(path)
    by_mask = {review.mask: review for review in reviews if review.mask}
    by_original = {review.original: review for review in reviews if review.original}
    by_image = {(review.image, review.series): review for review in reviews}
    kept: list[ImageRecord] = []
    problems: list[Problem] = []
    for image in images:
        drawn = image.mask.resolve() if image.mask else None
        own = by_mask.get(drawn) if drawn else by_image.get((image.path.resolve(), image.series_digest))
        review = own or (by_original.get(drawn) if drawn else None)
        if review is None or image.modality != "ct":
            kept.append(image)
        elif (fault := _fault(review)) is None:
            # The label of the images table is that of the file it names, which the reviewed one was made from.
            label = image.label or review.label if review is own else review.label
            kept.append(replace(image, mask=review.mask, label=label))
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
    for path, noted in ((review.mask, review.mask_sha256), (review.original, review.original_sha256)):
        if path and noted and (not path.exists() or noted != sha256_of(path)):
            return "the mask was changed after it was reviewed", "Run 'sparra segment review' on it and decide again"
    return None


def write_review(path: Path, rows: list[dict[str, str]], columns: list[str]) -> None:
    """Write a review table, keeping the decisions of an earlier one about masks that have not changed.

    Raises
    ------
    UserError
        As `earlier_rows`.
    """
    earlier = earlier_rows(path)
    # By the image too, since one mask may lie on two; without it where the image is no longer listed: it has moved.
    decided = {_looked_at(row): row for row in earlier}
    listed = {_looked_at(row) for row in rows}
    moved: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in earlier:
        if row["decision"] and _looked_at(row) not in listed:
            moved.setdefault(_looked_at(row)[:2], []).append(row)
    agreed = {key: found[0] for key, found in moved.items() if len({row["decision"] for row in found}) == 1}
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for row in rows:
            key = _looked_at(row)
            known = (decided.get(key) or agreed.get(key[:2]) or {}) if row["mask_sha256"] else {}
            table.writerow({**row, **{key: known[key] for key in ("decision", "comment") if key in known}})


def earlier_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a review table that is there already, none where it is not.

    Raises
    ------
    UserError
        If the table, or a row of it, cannot be read: its decisions would be lost.
    """
    if not path.exists():
        return []
    earlier = read_table(path, NEEDED)
    if earlier.problems:
        raise UserError(earlier.problems[0].what, earlier.problems[0].where, earlier.problems[0].mend)
    return earlier.rows


def _looked_at(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return whose mask a decision is about, and its content."""
    return tuple(row.get(name, "") for name in ("subject_id", "mask_sha256", "image", "series"))
