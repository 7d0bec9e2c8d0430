"""From the archives' answers to the tables of a study, with a record of what was left out and why."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sparra.errors import UserError
from sparra.files import write_json, write_text
from sparra.gdc.api import GdcApi
from sparra.gdc.barcodes import Slide, SlideRule, choose_slides, read_slide
from sparra.gdc.cases import COLUMNS, Case, read_case
from sparra.gdc.series import Judged, Series, SeriesRules, choose_series

NBIA_DOWNLOAD = "https://public.cancerimagingarchive.net/nbia-download/servlet/DownloadServlet"


@dataclass(frozen=True)
class GdcRequest:
    """What is asked for.

    Attributes
    ----------
    projects : tuple of str
        Such as ``TCGA-KIRC``.
    slide_rule : {"diagnostic", "diagnostic-first"}
    samples : tuple of str
        TCGA sample types, two digits.
    series : tuple of Series
        CT series to choose from; empty for none.
    rules : SeriesRules
    """

    projects: tuple[str, ...]
    slide_rule: SlideRule
    samples: tuple[str, ...]
    series: tuple[Series, ...]
    rules: SeriesRules


@dataclass
class GdcCohort:
    """What was found and decided."""

    release: str
    subjects: list[Case]
    slides: list[Slide]
    series: list[Judged]
    dropped: list[tuple[str, str, str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def find_cohort(api: GdcApi, request: GdcRequest) -> GdcCohort:
    """Ask the archive and apply the rules.

    Raises
    ------
    UserError
        If the archive does not answer as documented, knows no case of the projects, or two cases share an id.
    """
    release = api.data_release()
    cases = [read_case(hit) for hit in api.cases(request.projects)]
    if not cases:
        raise UserError(f"there is no case of {', '.join(request.projects)}", mend="Correct --project")
    shared = [name for name, count in Counter(case.subject_id for case in cases).items() if count > 1]
    if shared:
        raise UserError(f"{len(shared)} ids are of several cases, such as '{shared[0]}'", mend="Name one project")
    cases.sort(key=lambda case: case.subject_id)
    used = [case for case in cases if not case.outcome.reason]
    dropped = [("subject", case.subject_id, "", case.outcome.reason) for case in cases if case.outcome.reason]
    names = [case.subject_id for case in used]
    files = [read_slide(hit) for hit in api.slides(request.projects)]
    slides, left = choose_slides(files, names, request.slide_rule, request.samples)
    dropped += [("slide", slide.subject_id, slide.file_name, reason) for slide, reason in left]
    series = choose_series(request.series, names, request.rules)
    dropped += [("ct", one.series.subject_id, one.series.uid, one.reason) for one in series if one.reason]
    taken = [one for one in series if not one.reason]
    with_slide, with_ct = {slide.subject_id for slide in slides}, {one.series.subject_id for one in taken}
    counts = {
        "cases": len(cases),
        "subjects": len(used),
        "events": sum(bool(case.outcome.event) for case in used),
        "slide_files": len(files),
        "slides": len(slides),
        "ct_series": len(series),
        "subjects_with_slide": len(with_slide),
        "subjects_with_ct": len(with_ct),
        "subjects_with_both": len(with_slide & with_ct),
    }
    remarks = [(case.subject_id, remark) for case in cases for remark in case.outcome.remarks]
    return GdcCohort(release, used, slides, taken, dropped, remarks, list(api.warnings), counts)


def write_cohort(folder: Path, cohort: GdcCohort, request: GdcRequest) -> None:
    """Write the study's tables, the manifests of the archives' download tools, and the record.

    ``subjects.csv``; ``images.csv``, whose paths are where gdc-client (``slides/<file id>/<name>``) and tcia_utils
    (``ct/<series uid>``) put the files; ``gdc_manifest.txt``; ``series.tcia`` and ``series_uids.csv``;
    ``dropped.csv``, ``remarks.csv``, ``flow.json``.
    """
    _write_csv(folder / "subjects.csv", COLUMNS, ([case.row()[name] for name in COLUMNS] for case in cohort.subjects))
    images = [[slide.subject_id, "slide", f"slides/{slide.file_id}/{slide.file_name}", ""] for slide in cohort.slides]
    images += [[one.series.subject_id, "ct", f"ct/{one.series.uid}", ""] for one in cohort.series]
    _write_csv(folder / "images.csv", ("subject_id", "modality", "path", "mask"), sorted(images))
    rows = [f"{s.file_id}\t{s.file_name}\t{s.md5}\t{s.size}\t{s.state}" for s in cohort.slides]
    write_text(folder / "gdc_manifest.txt", "\n".join(["id\tfilename\tmd5\tsize\tstate", *rows]) + "\n")
    _write_series(folder, cohort.series)
    _write_csv(folder / "dropped.csv", ("kind", "subject_id", "item", "reason"), cohort.dropped)
    _write_csv(folder / "remarks.csv", ("subject_id", "remark"), cohort.remarks)
    reasons = Counter(f"{kind}: {reason}" for kind, _, _, reason in cohort.dropped)
    record = {
        "data_release": cohort.release,
        "projects": list(request.projects),
        "slides": request.slide_rule,
        "samples": list(request.samples),
        "series_rules": request.rules.model_dump(mode="json"),
        "counts": cohort.counts,
        "dropped": dict(reasons),
        "warnings": cohort.warnings,
    }
    write_json(folder / "flow.json", record)


def _write_series(folder: Path, series: Sequence[Judged]) -> None:
    """Write the manifest of the NBIA Data Retriever, and the same as a table."""
    head = [
        f"downloadServerUrl={NBIA_DOWNLOAD}",
        "includeAnnotation=true",
        "noOfrRetry=4",
        "databasketId=sparra.tcia",
        "manifestVersion=3.0",
        "ListOfSeriesToDownload=",
    ]
    write_text(folder / "series.tcia", "\n".join([*head, *(one.series.uid for one in series)]) + "\n")
    columns = ("SeriesInstanceUID", "PatientID", "phase", "slice_thickness_mm", "images", "description")
    rows = (
        [s.uid, s.subject_id, one.phase, "" if s.thickness_mm is None else f"{s.thickness_mm:g}", s.images, s.text]
        for one in series
        for s in (one.series,)
    )
    _write_csv(folder / "series_uids.csv", columns, rows)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())
