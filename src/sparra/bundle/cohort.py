"""Predicting a table of images: extraction and graphs by the study's own stages, then the bundle's models."""

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sparra import RESEARCH_USE_ONLY, __version__
from sparra.bags import read_bag
from sparra.bundle.bundle import Bundle, CohortPrediction
from sparra.bundle.compare import differences
from sparra.bundle.maps import MapRequest, write_cohort_maps, write_importance
from sparra.cohort.check import Cohort, check_cohort
from sparra.cohort.problems import Problem, problem_of
from sparra.cohort.settings import CohortSettings
from sparra.cohort.tables import ImageRecord, read_images
from sparra.engine.settings import EngineSettings
from sparra.errors import UserError
from sparra.files import atomic_path, write_json, write_text
from sparra.graphs.store import GraphFiles
from sparra.maps.settings import MapsSettings
from sparra.modality import Modality
from sparra.study.layout import StudyLayout
from sparra.study.lock import study_lock
from sparra.study.look import Looks
from sparra.study.pool import Track, open_session
from sparra.study.run import write_failures
from sparra.study.settings import BagsSettings, StudySettings
from sparra.study.stages import GraphIndex, bag_is_current, build_graphs, extract_bags, stored_kind
from sparra.training.subjects import SubjectData

_STAGE = "predict"
_MANY: Mapping[Modality, str] = {"ct": "CTs", "slide": "slides"}


@dataclass(frozen=True)
class Request:
    """What is asked of a bundle for a table of images.

    Attributes
    ----------
    images : Path
        A study's ``images.csv``; it may list ready bags.
    out : Path
        Folder to write to.
    horizons : sequence of float or None
    encoder_options : mapping of modality to mapping
        Options that only this machine can say, such as where weights lie.
    bag_encoder : str or None
        Encoder of ready bags that do not name theirs, as the user vouches.
    engine : EngineSettings
        Where the work runs, and within which limits.
    maps : MapsSettings
        Which maps are written; no format writes none.
    """

    images: Path
    out: Path
    horizons: Sequence[float] | None = None
    encoder_options: Mapping[str, Mapping[str, Any]] | None = None
    bag_encoder: str | None = None
    engine: EngineSettings = field(default_factory=EngineSettings)
    maps: MapsSettings = field(default_factory=MapsSettings)


@dataclass(frozen=True)
class CohortOutcome:
    """What came of it; `prediction` is None where no patient could be predicted."""

    prediction: CohortPrediction | None
    problems: tuple[Problem, ...]
    remarks: Mapping[str, tuple[str, ...]]
    layout: StudyLayout

    @property
    def table(self) -> Path:
        """The predictions."""
        return self.layout.root / "predictions.csv"


def predict_cohort(bundle: Bundle, request: Request, track: Track, say: Callable[[str], None] = print) -> CohortOutcome:
    """Predict every patient of a table, and list what could not be done.

    Bags and graphs are made by the bundle's settings, in ``features/`` and ``graphs/`` of the folder, and not again
    where they are up to date. Written are ``predictions.csv`` (one row a patient), ``importance/`` (node by
    node, of each model), ``maps/<image_key>/``, ``failures.csv`` and ``settings.json``. An image of another kind
    than those of training, or that cannot be read, is listed in ``failures.csv``; the patient is predicted from the
    others, if there are any.

    Raises
    ------
    UserError
        If the table as a whole cannot be read, a horizon is not possible, or another run is at work in the folder.
    """
    horizons = [float(time) for time in bundle.times(request.horizons)]
    layout = StudyLayout(request.out)
    with study_lock(layout.root), open_session(request.engine, layout.root, say):
        return _predict(bundle, replace(request, horizons=horizons), layout, track)


def _predict(bundle: Bundle, request: Request, layout: StudyLayout, track: Track) -> CohortOutcome:
    (layout.root / "predictions.csv").unlink(missing_ok=True)
    _write_ids(request.images, layout)
    settings = _settings_of(bundle, request, layout)
    write_json(layout.settings, _record(bundle, request, settings))
    cohort = _checked(bundle, settings, layout, track)
    # The table of subjects is our own: whoever has no image left in it has a problem of that image.
    listed = [problem for problem in cohort.problems if problem.where != str(settings.cohort.subjects)]
    problems = listed + extract_bags(settings, cohort, layout, track)
    cohort, refused, remarks = _of_right_kind(bundle, settings, cohort, layout)
    index, failed = build_graphs(settings, cohort, layout, track)
    problems += refused + failed
    subjects, unread = _subjects(bundle, index, layout)
    prediction = bundle.predict_subjects(subjects, request.horizons) if subjects else None
    outcome = CohortOutcome(prediction, tuple(problems + unread), remarks, layout)
    if prediction is not None:
        _write(outcome, prediction)
        folders = write_importance(prediction, layout)
        if request.maps.formats:
            asked = MapRequest(request.maps, cohort, index, layout, settings.n_workers)
            failed = write_cohort_maps(bundle, asked, folders, track)
            outcome = replace(outcome, problems=(*outcome.problems, *failed))
    write_failures(layout.failures, outcome.problems)
    return outcome


def _write_ids(images: Path, layout: StudyLayout) -> None:
    """Write the table of subjects that the stages need: the ids of the table of images."""
    records, problems = read_images(images)
    names = dict.fromkeys([*(record.subject_id for record in records), *(problem.subject_id for problem in problems)])
    with atomic_path(layout.subjects) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["subject_id"], *([name] for name in names if name)])


def _settings_of(bundle: Bundle, request: Request, layout: StudyLayout) -> StudySettings:
    preprocessing = bundle.content.preprocessing
    given = request.encoder_options or {}
    content: dict[str, Any] = {
        "name": bundle.content.study,
        "cohort": CohortSettings(
            subjects=layout.subjects, images=request.images.absolute(), time_unit=bundle.content.time_unit
        ),
        "output": layout.root,
        **request.engine.model_dump(),
        "bags": BagsSettings(
            dtype=preprocessing.bag_dtype,
            imports=preprocessing.imports.model_copy(update={"encoder": request.bag_encoder}),
        ),
        "graphs": preprocessing.graphs,
    }
    for modality, stage in (("ct", preprocessing.ct), ("slide", preprocessing.slide)):
        values = stage.model_dump(mode="json")
        # An option that is not known is refused with the nearest valid name by the stage's settings.
        content[modality] = {**values, "encoder_options": {**values["encoder_options"], **given.get(modality, {})}}
    where = "the bundle's settings with --encoder-option" if any(given.values()) else "the bundle's settings"
    return StudySettings.from_mapping(content, where)


def _record(bundle: Bundle, request: Request, settings: StudySettings) -> dict[str, Any]:
    return {
        "bundle_digest": bundle.digest,
        "study": bundle.content.study,
        "horizons": list(request.horizons or ()),
        "time_unit": bundle.content.time_unit,
        "sparra": __version__,
        "note": RESEARCH_USE_ONLY,
        "stages": settings.model_dump(mode="json", include={"cohort", "ct", "slide", "bags", "graphs"}),
    }


def _checked(bundle: Bundle, settings: StudySettings, layout: StudyLayout, track: Track) -> Cohort:
    """Look at every file's header; images of a modality that the bundle does not take are left out unread."""
    known, looks = bundle.modalities, Looks(settings)

    def ahead(images: Sequence[ImageRecord]) -> Sequence[ImageRecord]:
        looks.ahead([image for image in images if image.modality in known], track)
        return images

    def look(image: ImageRecord) -> None:
        if image.modality not in known:
            what = f"the bundle takes {' and '.join(_MANY[name] for name in known)} alone"
            raise UserError(what, mend="Remove the row")
        looks.kind(image)

    return check_cohort(settings.cohort, look, follow_up=False, track=ahead)


def _of_right_kind(
    bundle: Bundle, settings: StudySettings, cohort: Cohort, layout: StudyLayout
) -> tuple[Cohort, list[Problem], dict[str, tuple[str, ...]]]:
    """Leave out images of another kind than those of training; gather what is to be said of the others."""
    kept, problems = [], []
    remarks: dict[str, list[str]] = defaultdict(list)
    for image in cohort.images:
        if not bag_is_current(settings, image, layout):
            continue  # Its failure is listed already.
        path = layout.bag(image.modality, image.key)
        try:
            found = differences(bundle.content.inputs[image.modality], stored_kind(path), read_bag(path).provenance)
        except UserError as error:
            problems.append(problem_of(error, _STAGE, image.subject_id, str(image.path)))
            continue
        refused = [difference for difference in found if difference.refused]
        problems += [Problem(one.what, str(image.path), one.mend, image.subject_id, stage=_STAGE) for one in refused]
        if not refused:
            kept.append(image)
            remarks[image.subject_id] += [f"{image.modality}: {one.what}" for one in found]
    return replace(cohort, images=tuple(kept)), problems, {name: tuple(texts) for name, texts in remarks.items()}


def _subjects(bundle: Bundle, index: GraphIndex, layout: StudyLayout) -> tuple[list[SubjectData], list[Problem]]:
    """Read the graphs of every subject that each model of the bundle can take."""
    subjects, problems = [], []
    for name, paths in sorted(index.items()):
        try:
            graphs = GraphFiles({modality: layout.root / path for modality, path in sorted(paths.items())})
            sizes = {modality: len(graph) for modality, graph in graphs.items()}  # A damaged one fails here.
            for member in bundle.members:
                if not any(sizes[known] for known in member.network.scalers if known in sizes):
                    what = f"a model of the bundle takes {' and '.join(member.network.scalers)} alone"
                    raise UserError(what, mend="Add such an image")
        except UserError as error:
            problems.append(problem_of(error, _STAGE, name, f"subject {name}"))
        else:
            subjects.append(SubjectData(name, graphs, float("nan"), False))
    return subjects, problems


def _write(outcome: CohortOutcome, prediction: CohortPrediction) -> None:
    table = prediction.table()
    table["remarks"] = [_remarks(outcome, prediction, row) for row in range(len(table))]
    write_text(outcome.table, table.to_csv(index=False, lineterminator="\n"))


def _remarks(outcome: CohortOutcome, prediction: CohortPrediction, row: int) -> str:
    name = prediction.subject_ids[row]
    said = list(outcome.remarks.get(name, ()))
    if prediction.unlike[row]:
        shares: dict[str, float] = {modality: share[row] for modality, share in prediction.beyond.items()}
        known = {modality: share for modality, share in shares.items() if not np.isnan(share)}
        least = min(known, key=lambda modality: known[modality])
        said.append(f"{least}: unlike the training images, {known[least]:.1%} of training subjects lie as far out")
    if prediction.extrapolated[row]:
        risk = prediction.risk[row]
        side = "above" if risk > 0 else "below"
        said.append(f"its risk lies {abs(risk):.3g} SDs {side} the training's cut: the model extrapolates")
    lost = [problem for problem in outcome.problems if problem.subject_id == name]
    said += [f"left out: {problem.what}" for problem in lost]
    return "; ".join(said)
