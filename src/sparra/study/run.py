"""One study from its YAML to its report, stage by stage; what is up to date is not done again."""

import csv
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from sparra import RESEARCH_USE_ONLY, __version__
from sparra.cohort.check import Cohort, check_cohort, flow_of
from sparra.cohort.problems import Problem
from sparra.cohort.tables import ImageRecord
from sparra.engine.work import DISK, DISK_MEND, is_disk_full
from sparra.errors import UserError
from sparra.files import atomic_path, write_json
from sparra.modality import MODALITIES, Modality
from sparra.report.page import write_report
from sparra.study.comparators import check_covariates
from sparra.study.divide import declare_folds, folds_of
from sparra.study.judge import evaluate_methods
from sparra.study.kinds import ImageKind, without_odd_images
from sparra.study.layout import StudyLayout
from sparra.study.learn import train_methods
from sparra.study.lock import study_lock
from sparra.study.look import Looks
from sparra.study.maps import write_maps
from sparra.study.pool import Track, open_session
from sparra.study.settings import StudySettings
from sparra.study.stages import GraphIndex, build_graphs, extract_bags, extracted, write_graph_index
from sparra.study.summary import write_summary

Stage = Literal["extract", "graph", "train", "evaluate", "report"]
STAGES: tuple[Stage, ...] = ("extract", "graph", "train", "evaluate", "report")
FOLDERS = ("cohort", "features", "graphs", "models", "evaluation", "maps", "report", "robustness")
# What a killed process leaves half written: our own files, and those that safetensors names before it renames them.
DEBRIS = (".partial-*", ".tmp??????")
PACKAGES = ("numpy", "torch", "scikit-learn", "scikit-survival", "simpleitk", "openslide-python")


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes
    ----------
    layout : StudyLayout
    flow : mapping
        The flow of subjects, see docs/architecture.md.
    problems : tuple of Problem
        Everything found wrong, by the check and by the stages.
    """

    layout: StudyLayout
    flow: dict[str, Any]
    problems: tuple[Problem, ...]


def check_study(settings: StudySettings, track: Track, follow_up: bool = True) -> Cohort:
    """Validate the cohort of a study.

    Raises
    ------
    UserError
        If a table as a whole cannot be read, or the bags listed mix encoders or magnifications so that it cannot be
        told which are meant.
    """
    bags: list[ImageKind] = []
    remarks: Counter[str] = Counter()
    looks = Looks(settings)

    def look(image: ImageRecord) -> None:
        found = looks.kind(image)
        if "features" in found:
            bags.append(ImageKind(image, found))
        else:
            remarks.update(found["notes"])

    cohort = check_cohort(settings.cohort, look, follow_up, track=lambda images: looks.ahead(images, track))
    cohort = without_odd_images(cohort, bags)
    return replace(cohort, remarks={**cohort.remarks, **remarks})


def run_study(
    settings: StudySettings, track: Track, until: Stage = "report", say: Callable[[str], None] = print
) -> Outcome:
    """Run a study up to a stage, and record everything that failed.

    Parameters
    ----------
    settings : StudySettings
    track : callable
        Draws progress.
    until : str
        Last stage to run.
    say : callable
        Prints a line about the engine.

    Raises
    ------
    UserError
        If nothing can be done at all: a table cannot be read, no subject is left, another run is at work, the disk
        is full, a scheduler does not answer.
    """
    layout = StudyLayout(settings.output)
    try:
        with study_lock(layout.root):
            _remove_debris(layout)  # of a run that was killed while it wrote
            with open_session(settings, layout.root, say):
                outcome = _run(settings, layout, track, until)
            _remove_debris(layout)  # of workers that were
            write_summary(layout, outcome.flow, outcome.problems)
            return outcome
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise UserError(DISK, error.filename or layout.root, DISK_MEND) from None


def _remove_debris(layout: StudyLayout) -> None:
    for folder in FOLDERS:
        for debris in (path for name in DEBRIS for path in (layout.root / folder).rglob(name)):
            debris.unlink(missing_ok=True)


def _run(settings: StudySettings, layout: StudyLayout, track: Track, until: Stage) -> Outcome:
    learns = STAGES.index(until) >= STAGES.index("train")
    cohort = check_study(settings, track, learns)
    if not cohort.subjects:
        listing = "\n".join(f"  {problem}" for problem in cohort.problems)
        raise UserError(f"no subject is left to work on:\n{listing}", settings.cohort.subjects)
    if learns:
        # What is bound to fail after hours of extraction fails now.
        folds_of(settings, cohort.subjects)
        check_covariates(settings, cohort.subjects)
    _write_cohort(cohort, settings, layout)
    _remove_results(layout)
    problems: list[Problem] = list(cohort.problems)
    problems += extract_bags(settings, cohort, layout, track)
    if until == "extract":
        flow = _write_state(cohort, layout, problems, extracted(settings, cohort, layout))
        return Outcome(layout, flow, tuple(problems))
    index, failed = build_graphs(settings, cohort, layout, track)
    problems += failed
    flow = _write_state(cohort, layout, problems, _used(index))
    if until == "graph":
        return Outcome(layout, flow, tuple(problems))
    return _learn(settings, cohort, layout, index, problems, track, until)


def _remove_results(layout: StudyLayout) -> None:
    """Remove the gathered tables and the page, which a run that ends early would leave beside new settings.

    They are gathered anew, in seconds, from the folds' own files.
    """
    for path in layout.gathered:
        path.unlink(missing_ok=True)


def _used(index: GraphIndex) -> dict[Modality, set[str]]:
    return {m: {subject_id for subject_id, graphs in index.items() if m in graphs} for m in MODALITIES}


def _learn(
    settings: StudySettings,
    cohort: Cohort,
    layout: StudyLayout,
    index: GraphIndex,
    problems: list[Problem],
    track: Track,
    until: Stage,
) -> Outcome:
    if not index:
        raise UserError("no subject has a graph, so nothing can be trained", layout.failures, "See its rows")
    index_path = write_graph_index(layout, index)
    folds, left_out = declare_folds(settings, cohort, index, layout)
    problems += train_methods(settings, layout, index_path, index, folds, track)
    _write_state(cohort, layout, problems, _used(index), left_out)
    if until != "train":
        problems += evaluate_methods(settings, layout, index_path, index, folds, track)
    if until == "report":
        problems += write_maps(settings, cohort, layout, index_path, index, folds, track)
    flow = _write_state(cohort, layout, problems, _used(index), left_out)
    if until == "report":
        for _ in track(range(1), "report", 1):
            write_report(layout, settings.report)
    return Outcome(layout, flow, tuple(problems))


def _write_cohort(cohort: Cohort, settings: StudySettings, layout: StudyLayout) -> None:
    columns = sorted({name for subject in cohort.subjects for name in subject.covariates})
    with atomic_path(layout.subjects) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["subject_id", "time", "event", *columns])
        for s in cohort.subjects:
            row = [s.subject_id, repr(s.time), int(s.event), *(s.covariates.get(c, "") for c in columns)]
            table.writerow(row)
    write_json(layout.settings, settings.model_dump(mode="json"))
    versions = {package: version(package) for package in PACKAGES}
    versions |= {"sparra": __version__, "python": platform.python_version(), "machine": platform.machine()}
    write_json(layout.versions, {**versions, "note": RESEARCH_USE_ONLY})


def _write_state(
    cohort: Cohort,
    layout: StudyLayout,
    problems: Sequence[Problem],
    used: dict[Modality, set[str]],
    in_no_split: Sequence[str] = (),
) -> dict[str, Any]:
    flow = flow_of(cohort, used, problems[len(cohort.problems) :])
    flow["in_no_split"] = list(in_no_split)
    write_json(layout.flow, flow)
    write_failures(layout.failures, problems)
    return flow


def write_failures(path: Path, problems: Sequence[Problem]) -> None:
    """Write everything that failed as CSV, a header alone if nothing did."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["subject_id", "stage", "where", "what", "mend"])
        table.writeheader()
        table.writerows(problem.as_row() for problem in problems)
