"""Importing: bags in sparra's own format, a table that a study reads, and a line for everything that failed."""

import csv
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sparra.bags import read_bag, read_preview, write_bag
from sparra.bags.readers import import_bag, parts_of
from sparra.bags.settings import ImportSettings
from sparra.cohort.problems import Problem, problem_of
from sparra.cohort.tables import ImageRecord, read_table, subject_key
from sparra.engine.settings import EngineSettings
from sparra.errors import UserError
from sparra.files import atomic_path
from sparra.modality import Modality
from sparra.study.imports.find import FoundBag, find_bags
from sparra.study.imports.mpp import MppSource
from sparra.study.kinds import ImageKind, kind_of, odd_images
from sparra.study.lock import study_lock
from sparra.study.pool import Item, Track, open_session, run_items
from sparra.study.run import write_failures
from sparra.study.sidecar import begin, is_current, make_key, mark_done

TCGA_PATIENT = r"^(TCGA-\w{2}-\w{4})"


@dataclass(frozen=True)
class ImportRequest:
    """What to import and what is known of it.

    Attributes
    ----------
    source : Path
        Folder, or one file.
    out : Path
        Folder to write to.
    modality : {"ct", "slide"}
    mpp : MppSource
    settings : ImportSettings
    reader : str or None
        Format of all files; None tells it from each.
    subject_pattern : str
        Regular expression that finds the subject's id in a slide's name: its first group, or all of it. A name
        that does not fit is the id.
    engine : EngineSettings
        Where the work runs, and within which limits.
    """

    source: Path
    out: Path
    modality: Modality = "slide"
    mpp: MppSource = field(default_factory=MppSource)
    settings: ImportSettings = field(default_factory=ImportSettings)
    reader: str | None = None
    subject_pattern: str = TCGA_PATIENT
    engine: EngineSettings = field(default_factory=lambda: EngineSettings(workers=1))


@dataclass(frozen=True)
class ImportOutcome:
    """What an import came to.

    Attributes
    ----------
    imported : int
        Bags in the table.
    up_to_date : int
        Of which this many were there already.
    problems : list of Problem
    skipped : mapping of str to int
        Files passed over, by reason.
    notes : mapping of str to int
        What the bags' readers remarked, and of how many bags.
    images : Path
        The table.
    """

    imported: int
    up_to_date: int
    problems: list[Problem]
    skipped: dict[str, int]
    notes: dict[str, int]
    images: Path


def import_folder(request: ImportRequest, track: Track, say: Callable[[str], None] = print) -> ImportOutcome:
    """Import every feature file below a folder; what is up to date is not done again.

    Writes ``bags/<slide>.h5``, ``images.csv`` and ``failures.csv``. Subject ids that a user has changed in an earlier
    ``images.csv`` are kept.

    Raises
    ------
    UserError
        If there is nothing to import, the bags are of several kinds and it cannot be told which are meant, or another
        run is at work in the folder.
    """
    subject_of = _subject_pattern(request.subject_pattern)
    with study_lock(request.out), open_session(request.engine, request.out, say):
        return _import(request, subject_of, track)


def _import(request: ImportRequest, subject_of: re.Pattern[str], track: Track) -> ImportOutcome:
    found = find_bags(request.source, request.reader, request.out)
    problems = list(found.problems)
    items, current = [], 0
    outputs: dict[Path, FoundBag] = {}
    for bag in found.bags:
        output = request.out / "bags" / f"{_file_name(bag.name)}.h5"
        try:
            mpp = request.mpp.of(bag.name)
        except UserError as error:
            problems.append(problem_of(error, "import", bag.name, str(bag.path)))
            continue
        outputs[output] = bag
        if is_current(output, "import", _inputs(bag.path, mpp, request), _parameters(mpp, request)):
            current += 1
        else:
            items.append(Item(bag.name, str(bag.path), (bag.path, mpp, request, output)))
    problems += run_items("import", import_one, items, request.engine.n_workers, track)
    failed = {problem.subject_id for problem in problems}
    done = {output: bag for output, bag in outputs.items() if bag.name not in failed}
    rows, odd, notes = _judged(done, subject_of, request)
    images = request.out / "images.csv"
    _write_images(images, rows)
    problems = [replace(problem, subject_id=_subject(problem.subject_id, subject_of)) for problem in (*problems, *odd)]
    write_failures(request.out / "failures.csv", problems)
    return ImportOutcome(len(rows), current, problems, found.skipped, notes, images)


def import_one(path: Path, mpp: float | None, request: ImportRequest, output: Path) -> None:
    """Write one bag and its sidecar.

    Raises
    ------
    UserError
        If the file cannot be turned into a bag.
    """
    key = make_key("import", _inputs(path, mpp, request), _parameters(mpp, request))
    begin(output)
    bag = import_bag(path, request.modality, mpp, request.settings, request.reader)
    write_bag(output, bag, read_preview(path) if bag.provenance["reader"] == "sparra" else None)
    mark_done(output, key)


def _inputs(path: Path, mpp: float | None, request: ImportRequest) -> dict[str, Path]:
    parts = parts_of(path, mpp, request.settings)
    return {"image": path, **{f"part {number}": part for number, part in enumerate(parts)}}


def _parameters(mpp: float | None, request: ImportRequest) -> dict[str, Any]:
    settings = request.settings.model_dump(mode="json")
    return {"settings": settings, "mpp": mpp, "modality": request.modality, "reader": request.reader}


def _judged(
    done: dict[Path, FoundBag], subject_of: re.Pattern[str], request: ImportRequest
) -> tuple[list[dict[str, str]], list[Problem], dict[str, int]]:
    """Return the rows of the table, the bags of another kind than most, and what the readers remarked."""
    kept = _earlier_subjects(request.out / "images.csv")
    notes: Counter[str] = Counter()
    kinds = []
    for row, (output, bag) in enumerate(done.items()):
        stored = read_bag(output)
        notes.update(stored.provenance.get("notes", []))
        path = output.relative_to(request.out).as_posix()
        subject = kept.get(path, _subject(bag.name, subject_of))
        record = ImageRecord(subject, request.modality, output, None, None, None, None, row, path)
        kinds.append(ImageKind(record, kind_of(stored)))
    odd = odd_images(kinds)
    left_out = {image.source for image, _ in odd}
    problems = [
        Problem(problem.what, str(done[image.path].path), problem.mend, done[image.path].name, stage="import")
        for image, problem in odd
    ]
    rows = [
        {"subject_id": entry.image.subject_id, "modality": request.modality, "path": entry.image.source}
        for entry in kinds
        if entry.image.source not in left_out
    ]
    return rows, problems, dict(notes)


def _file_name(name: str) -> str:
    """Return a slide's name where it is safe as a file's, as TCGA's with its point is, else cleaned with a hash."""
    return name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) else subject_key(name)


def _subject_pattern(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        mend = "Give one whose first group is the id, e.g. '^([^_]+)_'"
        raise UserError(f"'{pattern}' is no regular expression ({error})", mend=mend) from None


def _subject(name: str, pattern: re.Pattern[str]) -> str:
    match = pattern.search(name)
    if match is None:
        return name
    return match.group(1) if pattern.groups and match.group(1) else match.group(0)


def _earlier_subjects(images: Path) -> dict[str, str]:
    if not images.is_file():
        return {}
    table = read_table(images, ("subject_id", "path"))
    return {row["path"]: row["subject_id"] for row in table.rows if row["subject_id"]}


def _write_images(path: Path, rows: list[dict[str, str]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, ["subject_id", "modality", "path"])
        table.writeheader()
        table.writerows(sorted(rows, key=lambda row: (row["subject_id"], row["path"])))
