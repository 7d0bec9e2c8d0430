"""Which CT series of a patient is taken, by a table of rules that the user can replace (``series_rules.yaml``)."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import field_validator

from sparra.errors import UserError
from sparra.settings import Settings
from sparra.web import JsonClient

UNKNOWN = "unknown"
#: Of an examination: 2004-05-31 with or without a time, DICOM's 20040531, and 05-31-2004 as NBIA's tables write it.
DATES = (
    re.compile(r"(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2})(?!\d)"),
    re.compile(r"(?P<month>\d{1,2})[-/](?P<day>\d{1,2})[-/](?P<year>\d{4})(?!\d)"),
)
#: Digits and dots: it becomes the name of a folder and a line of a manifest.
UID = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
THICKNESS = re.compile(r"(?<![\d.])(\d{1,2}(?:\.\d+)?) ?mm", re.I)
#: Names of a column in the archive's answer (NBIA getSeries) and in tables exported from it, without regard to case,
#: spaces and underscores.
NAMES = {
    "subject_id": ("patientid", "subjectid"),
    "uid": ("seriesinstanceuid", "seriesuid", "seriesid"),
    "study": ("studyinstanceuid", "studyuid"),
    "modality": ("modality",),
    "description": ("seriesdescription",),
    "protocol": ("protocolname",),
    "date": ("studydate", "seriesdate", "date"),
    "images": ("imagecount", "numberofimages", "instancecount"),
    "thickness": ("slicethickness",),
}


def _valid_pattern(pattern: str | None) -> str | None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(f"it is no regular expression ({error})") from None
    return pattern


class Exclusion(Settings):
    """A pattern that excludes a series, and the reason that is written down."""

    pattern: str
    reason: str
    _valid = field_validator("pattern")(_valid_pattern)


class Phase(Settings):
    """A phase of enhancement; `pattern` is null for the place of those that match none."""

    name: str
    pattern: str | None
    _valid = field_validator("pattern")(_valid_pattern)


class Thickness(Settings):
    """Slice thickness in mm: a preferred range and what is still taken."""

    preferred: tuple[float, float]
    at_most: float


class SeriesRules(Settings):
    """The table of rules; see ``series_rules.yaml`` for the meaning of each."""

    exclude: tuple[Exclusion, ...]
    minimum_images: int
    study: Literal["earliest", "any"]
    phases: tuple[Phase, ...]
    thickness_mm: Thickness


def read_rules(path: Path | None) -> SeriesRules:
    """Read a table of rules, or the one that comes with the package.

    Raises
    ------
    UserError
        If it cannot be read or is not valid.
    """
    where = path or Path("series_rules.yaml")
    try:
        text = (path or files("sparra.gdc") / "series_rules.yaml").read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"the rules cannot be read ({' '.join(str(error).split())})", where) from None
    if not isinstance(content, dict):
        raise UserError("the rules hold no keys", where)
    return SeriesRules.from_mapping(content, str(where))


@dataclass(frozen=True)
class Series:
    """One series.

    `date` is ISO's, empty where there is none or it cannot be read; `thickness_mm` is None where neither a column nor
    the description tells it.
    """

    subject_id: str
    uid: str
    study: str
    modality: str
    text: str
    date: str
    images: int
    thickness_mm: float | None


def fetch_series(client: JsonClient, collection: str) -> list[Series]:
    """Ask NBIA's ``getSeries`` for the CT series of a collection.

    Raises
    ------
    UserError
        If the answer is no list of series.
    """
    answer = client.get("getSeries", {"Collection": collection, "Modality": "CT", "format": "json"})
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise UserError("the answer is no list of series", f"{client.base}/getSeries")
    return [read_series(row) for row in answer]


def read_series_table(path: Path) -> list[Series]:
    """Read a CSV or TSV of series, as TCIA's tools export it.

    Raises
    ------
    UserError
        If it cannot be read, or lacks the patient's or the series' column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in text.partition("\n")[0] else ","))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"the table of series cannot be read ({error})", path, "Save it as CSV in UTF-8") from None
    series = [read_series(row) for row in rows]
    if not series or not all(row.subject_id and row.uid for row in series):
        raise UserError("a row lacks PatientID or SeriesInstanceUID", path, "Export both columns")
    return series


def read_series(row: Mapping[str, Any]) -> Series:
    """Read one row of the archive's answer or of a table."""
    cells = {re.sub(r"[\s_]", "", str(key)).lower(): str(value or "").strip() for key, value in row.items()}
    found = {name: next((cells[n] for n in names if cells.get(n)), "") for name, names in NAMES.items()}
    text = " | ".join(part for part in (found["description"], found["protocol"]) if part)
    thickness = re.match(r"\d+(\.\d+)?", found["thickness"]) or THICKNESS.search(text)
    # The pattern over the text holds its number in a group, the column's is the number.
    number = None if thickness is None else float(thickness.group(0).lower().rstrip("m "))
    images = int(found["images"]) if found["images"].isdigit() else 0
    return Series(
        found["subject_id"],
        found["uid"],
        found["study"],
        found["modality"].upper(),
        text,
        _iso_date(found["date"]),
        images,
        number,
    )


def _iso_date(text: str) -> str:
    for pattern in DATES:
        if found := pattern.match(text):
            try:
                return date(*(int(found[part]) for part in ("year", "month", "day"))).isoformat()
            except ValueError:
                continue
    return ""


@dataclass(frozen=True)
class Judged:
    """A series with its phase, or with the reason why it is not taken."""

    series: Series
    phase: str
    reason: str


def choose_series(series: Iterable[Series], subjects: Sequence[str], rules: SeriesRules) -> list[Judged]:
    """Choose one series a patient.

    Candidates are CT series of patients in the cohort that no rule excludes. Of them, in this order: the earliest
    examination (if so ruled), the phase, the band of thickness, the thinner, more images, the smaller UID.

    Returns
    -------
    list of Judged
        All series; those taken have no reason.
    """
    known = set(subjects)
    judged = [Judged(one, phase_of(one, rules), _refusal(one, known, rules)) for one in series]
    by_subject: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        if not one.reason:
            by_subject[one.series.subject_id].append(one)
    taken = {id(min(candidates, key=lambda one: _order(one, rules))) for candidates in by_subject.values()}
    return [
        one if one.reason or id(one) in taken else Judged(one.series, one.phase, "another series is preferred")
        for one in judged
    ]


def phase_of(series: Series, rules: SeriesRules) -> str:
    """Return the first phase whose pattern is in the series' description or protocol."""
    for phase in rules.phases:
        if phase.pattern is not None and re.search(phase.pattern, series.text, re.I):
            return phase.name
    return UNKNOWN


def _refusal(series: Series, known: set[str], rules: SeriesRules) -> str:
    if not UID.fullmatch(series.uid):
        return "its SeriesInstanceUID is none"
    if series.subject_id not in known:
        return "its patient is not in the cohort"
    if series.modality not in ("CT", ""):
        return f"its modality is {series.modality}"
    for exclusion in rules.exclude:
        if re.search(exclusion.pattern, series.text, re.I):
            return f"it is {exclusion.reason}"
    if series.images and series.images < rules.minimum_images:
        return f"it has {series.images} images"
    if series.thickness_mm is not None and series.thickness_mm > rules.thickness_mm.at_most:
        return f"its slices are {series.thickness_mm:g} mm thick"
    return ""


def _order(one: Judged, rules: SeriesRules) -> tuple[str, int, int, float, int, str]:
    names = [phase.name for phase in rules.phases]
    rank = names.index(one.phase) if one.phase in names else len(names)
    low, high = rules.thickness_mm.preferred
    thickness = one.series.thickness_mm
    band = 1 if thickness is None else 0 if low <= thickness <= high else 2
    # A missing date sorts after all others.
    day = (one.series.date or "~") if rules.study == "earliest" else ""
    return day, rank, band, thickness or 0.0, -one.series.images, one.series.uid
