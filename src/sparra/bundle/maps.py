"""Importance maps of new patients, by the writers of a study's maps."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import save_file

from sparra.bundle.bundle import Bundle, CohortPrediction
from sparra.bundle.content import BundleContent
from sparra.cohort.check import Cohort
from sparra.cohort.problems import Problem
from sparra.files import atomic_path
from sparra.maps.label import MapLabel
from sparra.maps.out_of_fold import FILE, importance_key
from sparra.maps.settings import MapsSettings
from sparra.modality import Modality
from sparra.study.arms import Arm
from sparra.study.layout import StudyLayout
from sparra.study.maps import MapWork, write_image_maps
from sparra.study.pool import Item, Track, run_items
from sparra.study.stages import GraphIndex
from sparra.study.undrawn import find_undrawable, write_undrawn


@dataclass(frozen=True)
class MapRequest:
    """Which maps, of which images, and where.

    Attributes
    ----------
    settings : MapsSettings
    cohort : Cohort
        Its images are those that went into the graphs.
    index : GraphIndex
    layout : StudyLayout
    workers : int
    """

    settings: MapsSettings
    cohort: Cohort
    index: GraphIndex
    layout: StudyLayout
    workers: int


def write_importance(prediction: CohortPrediction, layout: StudyLayout) -> tuple[Path, ...]:
    """Write ``importance/model-<k>/importance.safetensors``: ``<modality>/<subject_id>``, one value a node."""
    folders = []
    for number, importance in enumerate(prediction.importance_by_model):
        folder = layout.root / "importance" / f"model-{number}"
        tensors = {
            importance_key(modality, name): values
            for name, weights in zip(prediction.subject_ids, importance, strict=True)
            for modality, values in weights.items()
        }
        with atomic_path(folder / FILE) as temporary:
            save_file(tensors, str(temporary))
        folders.append(folder)
    return tuple(folders)


def label_of(content: BundleContent, modality: Modality) -> MapLabel:
    """Return the words that maps of new patients carry: the training study's verdict on its maps."""
    title = f"Importance by {content.aggregator} on {content.modality}, of a patient outside the study"
    known = content.maps.get(modality)
    if known is None or known.verdict == "untested":
        return MapLabel(title, sentence="Maps of this model have not been tested in its training study.")
    models = "In the training study" if content.weights == "folds" else "Of the training study's fold models"
    return MapLabel(title, known.verdict, f"{models}: {known.sentence}")


def write_cohort_maps(bundle: Bundle, request: MapRequest, folders: tuple[Path, ...], track: Track) -> list[Problem]:
    """Write the maps of every image, the mean over the bundle's models with the SD between them.

    Each carries the verdict of the training study on its own maps, and says that it is of that study.
    """
    content = bundle.content
    arm = Arm(content.modality, content.aggregator, folders)
    wanted = []
    for image in request.cohort.images:
        path = request.index.get(image.subject_id, {}).get(image.modality)
        if path is not None:
            work = MapWork(
                arm=arm,
                modality=image.modality,
                subject_id=image.subject_id,
                image=image,
                graph=request.layout.root / path,
                bag=request.layout.bag(image.modality, image.key),
                folder=request.layout.root / "maps" / image.key,
                label=label_of(content, image.modality),
                settings=request.settings,
            )
            wanted.append(work)
    undrawable = find_undrawable(wanted)
    write_undrawn(request.layout.map_undrawn, wanted, undrawable)
    drawn = [work for work in wanted if work.bag not in undrawable and not work.current]
    items = [Item(work.subject_id, str(work.folder), (work,)) for work in drawn]
    return run_items("maps", write_image_maps, items, request.workers, track)
