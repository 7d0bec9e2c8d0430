"""``subjects.csv`` and ``images.csv``, read row by row with every problem kept."""

import csv
import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sparra.cohort.followup import parse_event, parse_time
from sparra.cohort.problems import Problem
from sparra.errors import UserError
from sparra.modality import Modality
from sparra.registry import nearest_name

IMAGE_COLUMNS = ("subject_id", "modality", "path", "series", "mask", "label", "resample_mask", "mpp", "spacing_mm")
YES, NO = ("yes", "true", "1"), ("", "no", "false", "0")
EVENT_MEND = "Use 0/1, true/false, Alive/Dead, Living/Deceased or 0:LIVING/1:DECEASED"


@dataclass(frozen=True)
class Subject:
    """One patient.

    Attributes
    ----------
    subject_id : str
    time : float
        Follow-up in the study's time unit; NaN where the study needs no follow-up.
    event : bool
        Whether the event was observed at `time`.
    covariates : mapping of str to str
        The further columns as written.
    """

    subject_id: str
    time: float
    event: bool
    covariates: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageRecord:
    """One row of ``images.csv``.

    Attributes
    ----------
    subject_id : str
    modality : {"ct", "slide"}
    path : Path
        CT (file or DICOM folder), slide, or a bag of features.
    mask : Path or None
        Of the tumour in a CT, or of the tissue on a slide.
    label : tuple of int or str, or None
        Labels of the region of interest by value or name; None = the study's setting.
    mpp : float or None
        Micrometres per pixel that replace a slide's metadata.
    spacing_mm : tuple of float or None
        Voxel size (x, y, z) in mm that replaces a CT's header.
    row : int
        Row in the file, the header being row 1.
    source : str
        Modality, path, mask, label and series as written in the row.
    series : str or None
        SeriesNumber or SeriesInstanceUID of a CT whose folder holds several series.
    resample_mask : bool
        Whether the mask's own geometry is to be believed although it differs from the CT's.
    """

    subject_id: str
    modality: Modality
    path: Path
    mask: Path | None
    label: tuple[int | str, ...] | None
    mpp: float | None
    spacing_mm: tuple[float, ...] | None
    row: int
    source: str
    series: str | None = None
    resample_mask: bool = False

    @property
    def series_digest(self) -> str:
        """Digest of the series' name, which, being a UID, may identify it; empty where none is named."""
        return hashlib.sha256(self.series.encode()).hexdigest()[:16] if self.series else ""

    @property
    def key(self) -> str:
        """Name of the image's files in a study: unique, and safe as a file name."""
        digest = hashlib.sha256(self.source.encode()).hexdigest()[:8]
        return f"{subject_key(self.subject_id)}-{digest}"


def subject_key(subject_id: str) -> str:
    """Return a file name for a subject: the id itself where it is safe, else cleaned with a short hash."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", subject_id):
        return subject_id
    cleaned = re.sub(r"[^A-Za-z0-9_-]", "_", subject_id)
    return f"{cleaned}-{hashlib.sha256(subject_id.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Table:
    """A CSV as text.

    Attributes
    ----------
    rows : list of mapping
        Cells by column, without rows that are empty throughout.
    numbers : list of int
        Line of each row in the file, the header being line 1.
    problems : list of Problem
        Rows that cannot be read, left out of `rows`.
    """

    rows: list[dict[str, str]]
    numbers: list[int]
    problems: list[Problem]


def read_table(path: Path, required: Iterable[str]) -> Table:
    """Read a CSV as text, one mapping a row.

    Raises
    ------
    UserError
        If the file is absent, empty, no CSV, or lacks a required column or repeats one.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError("the table does not exist", path, "Correct its path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the table cannot be read ({error})", path, "Save it as CSV in UTF-8") from None
    table = Table([], [], [])
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return _read_rows(reader, required, path, table)
    except csv.Error as error:
        mend = "Look for a quotation mark that is not closed, or with text behind it"
        begins = table.numbers[-1] + 1 if table.numbers else 1
        where = f"{path}, line {begins} or after it, up to {reader.line_num}"
        raise UserError(f"the table cannot be read ({error})", where, mend) from None


def _read_rows(reader: Any, required: Iterable[str], path: Path, table: Table) -> Table:
    columns = [name.strip() for name in next(reader, [])]
    _check_columns(columns, required, path)
    for cells in reader:
        stripped = [cell.strip() for cell in cells]
        if not any(stripped):
            continue
        if any(stripped[len(columns) :]):
            what = f"the row has {len(cells)} cells where the header has {len(columns)} columns"
            mend = "Put a cell that holds a comma in quotes, and write decimals with a point"
            subject_id = dict(zip(columns, stripped, strict=False)).get("subject_id", "")
            table.problems.append(Problem(what, f"{path}, row {reader.line_num}", mend, subject_id, True))
            continue
        stripped += [""] * (len(columns) - len(stripped))
        table.rows.append(dict(zip(columns, stripped, strict=False)))
        table.numbers.append(reader.line_num)
    return table


def _check_columns(columns: list[str], required: Iterable[str], path: Path) -> None:
    if len(columns) == 1 and ";" in columns[0]:
        raise UserError("the table is separated by semicolons", path, "Save it with commas")
    repeated = [name for name, count in Counter(columns).items() if name and count > 1]
    if repeated:
        raise UserError(f"column '{repeated[0]}' occurs twice", path, "Keep one of them")
    missing = [name for name in required if name not in columns]
    if missing:
        hint = nearest_name(missing[0], columns) if any(columns) else "The file is empty"
        raise UserError(f"column '{missing[0]}' is missing", path, hint)


def read_subjects(path: Path, follow_up: bool) -> tuple[list[Subject], list[Problem], list[str]]:
    """Read ``subjects.csv``.

    Parameters
    ----------
    path : Path
    follow_up : bool
        Whether the columns time and event are needed; where they are not and the table has neither, only
        features and graphs can be made.

    Returns
    -------
    subjects : list of Subject
        Those without a problem.
    problems : list of Problem
    listed : list of str
        Every subject id in the file, once, in order.
    """
    table = read_table(path, ("subject_id", "time", "event") if follow_up else ("subject_id",))
    followed = follow_up or (bool(table.rows) and {"time", "event"} & set(table.rows[0]) != set())
    if followed and not follow_up:
        table = read_table(path, ("subject_id", "time", "event"))
    counts = Counter(row["subject_id"] for row in table.rows)
    subjects: list[Subject] = []
    problems = list(table.problems)
    for number, row in zip(table.numbers, table.rows, strict=True):
        found = _subject_problems(row, counts, followed)
        where = f"{path}, row {number}"
        problems += [Problem(what, where, mend, row["subject_id"], True) for what, mend in found]
        if not found:
            subjects.append(_subject(row, followed))
    listed = [*counts, *(problem.subject_id for problem in table.problems)]
    return subjects, problems, list(dict.fromkeys(name for name in listed if name))


def _subject_problems(row: dict[str, str], counts: Counter[str], follow_up: bool) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if not row["subject_id"]:
        return [("the subject_id is empty", "Give every subject an id")]
    if counts[row["subject_id"]] > 1:
        found.append((f"subject '{row['subject_id']}' stands in {counts[row['subject_id']]} rows", "Keep one row"))
    if follow_up:
        try:
            parse_time(row["time"])
        except ValueError as error:
            found.append((str(error), "Give the follow-up as a number above zero"))
        try:
            parse_event(row["event"])
        except ValueError as error:
            found.append((str(error), EVENT_MEND))
    return found


def _subject(row: dict[str, str], follow_up: bool) -> Subject:
    covariates = {key: value for key, value in row.items() if key not in ("subject_id", "time", "event")}
    if not follow_up:
        return Subject(row["subject_id"], float("nan"), False, covariates)
    return Subject(row["subject_id"], parse_time(row["time"]), parse_event(row["event"]), covariates)


def read_images(path: Path) -> tuple[list[ImageRecord], list[Problem]]:
    """Read ``images.csv``; relative paths are relative to its folder.

    Raises
    ------
    UserError
        If the file cannot be read or has a column that is not known.
    """
    table = read_table(path, ("subject_id", "modality", "path"))
    unknown = [name for name in (table.rows[0] if table.rows else {}) if name and name not in IMAGE_COLUMNS]
    if unknown:
        raise UserError(f"unknown column '{unknown[0]}'", path, nearest_name(unknown[0], list(IMAGE_COLUMNS)))
    images: list[ImageRecord] = []
    problems = [replace(problem, excludes_subject=False) for problem in table.problems]
    for number, row in zip(table.numbers, table.rows, strict=True):
        try:
            images.append(_image(row, path.parent, number))
        except UserError as error:
            problems.append(Problem(error.what, f"{path}, row {number}", error.mend or "", row["subject_id"]))
    return _without_repeats(images, problems, path), problems


def _without_repeats(images: list[ImageRecord], problems: list[Problem], path: Path) -> list[ImageRecord]:
    """Keep one row of an image that a subject has twice, none of one that two subjects claim."""
    owners: dict[tuple[Path, str | None], set[str]] = defaultdict(set)
    for image in images:
        owners[image.path.resolve(), image.series].add(image.subject_id)
    seen: set[tuple[Path, str | None, Path | None, tuple[int | str, ...] | None]] = set()
    kept = []
    for image in images:
        where = f"{path}, row {image.row}"
        claimed = owners[image.path.resolve(), image.series]
        content = (image.path.resolve(), image.series, image.mask and image.mask.resolve(), image.label)
        if len(claimed) > 1:
            what = f"image {image.path} is listed for {len(claimed)} subjects: {', '.join(sorted(claimed))}"
            problems.append(Problem(what, where, "Keep it with the subject it is of", image.subject_id))
        elif content in seen:
            problems.append(Problem(f"image {image.path} is listed twice", where, "Keep one row", image.subject_id))
        else:
            kept.append(image)
        seen.add(content)
    return kept


def _image(row: dict[str, str], folder: Path, number: int) -> ImageRecord:
    modality: Modality
    match row["modality"].lower():
        case "ct":
            modality = "ct"
        case "slide" | "wsi":
            modality = "slide"
        case other:
            raise UserError(f"modality '{other}' is not known", mend="Use 'ct' or 'slide'")
    if not row["path"]:
        raise UserError("the path is empty", mend="Give the image's file, or remove the row")
    if any("\0" in cell for cell in row.values()):
        raise UserError("the row holds a null character", mend="Save the table again as CSV in UTF-8")
    mpp = _numbers(row.get("mpp", ""), "mpp", count=1)
    source = "|".join(row.get(column, "") for column in ("modality", "path", "mask", "label"))
    series = row.get("series") or None
    return ImageRecord(
        subject_id=row["subject_id"],
        modality=modality,
        path=(folder / row["path"]).absolute(),
        mask=(folder / row["mask"]).absolute() if row.get("mask") else None,
        label=read_labels(row.get("label", "")),
        mpp=mpp[0] if mpp else None,
        spacing_mm=_numbers(row.get("spacing_mm", ""), "spacing_mm", count=3),
        row=number,
        source=f"{source}|{series}" if series else source,
        series=series,
        resample_mask=_yes(row.get("resample_mask", "")),
    )


def read_labels(cell: str) -> tuple[int | str, ...] | None:
    """Read ``2``, a union such as ``2+3``, a name, or names joined by ``;`` (a name may hold a plus)."""
    if not cell:
        return None
    # A spreadsheet writes 2 as 2.0 where other rows have no label.
    parts = [re.sub(r"\.0+$", "", part.strip()) for part in re.split(r"[+;]", cell)]
    numeric = [bool(re.fullmatch(r"-?\d+", part)) for part in parts]
    if any(numeric) and not all(numeric):
        raise UserError(f"label '{cell}' mixes numbers and names", mend="Use e.g. 2, 2+3, a name, or name; other name")
    if not any(numeric):
        names = tuple(part.strip() for part in cell.split(";"))
        if not all(names):
            raise UserError(f"label '{cell}' holds an empty name", mend="Use e.g. 2, 2+3, a name, or name; other name")
        return names
    labels = tuple(int(part) for part in parts)
    if min(labels) <= 0:
        raise UserError(f"label '{cell}' is the background", mend="Use the label's value in the mask, e.g. 2")
    return labels


def _yes(cell: str) -> bool:
    if cell.lower() not in (*YES, *NO):
        raise UserError(f"resample_mask '{cell}' cannot be read", mend="Use yes, or leave it empty")
    return cell.lower() in YES


def _numbers(cell: str, column: str, count: int) -> tuple[float, ...] | None:
    """Read one positive number, or several joined by ``x``."""
    if not cell:
        return None
    try:
        numbers = tuple(float(part) for part in cell.lower().split("x"))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(0 < number < float("inf") for number in numbers):
        form = "a positive number" if count == 1 else "three positive numbers such as 0.8x0.8x2.5"
        raise UserError(f"{column} '{cell}' cannot be read", mend=f"Use {form}")
    return numbers
