"""The stage that writes the maps: every trained aggregation asked for, every subject, image by image."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sparra.bags.bag import Bag
from sparra.bags.preview import Preview
from sparra.bags.readers import is_bag_file
from sparra.bags.store import read_bag, read_preview
from sparra.cohort.check import Cohort
from sparra.cohort.problems import Problem
from sparra.cohort.splits import Folds
from sparra.cohort.tables import ImageRecord
from sparra.files import atomic_path, read_json, write_text
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.picture import draw_graph
from sparra.graphs.store import read_graph
from sparra.maps.dicom import DICOM_WRITERS, uid_rule
from sparra.maps.gallery import ct_patches, extremes, slide_tiles, write_gallery
from sparra.maps.label import MapLabel
from sparra.maps.ome import write_colour_tiff, write_scores_tiff
from sparra.maps.out_of_fold import FILE, out_of_fold_scores
from sparra.maps.pictures import colours_of, write_overlay
from sparra.maps.qupath import write_geojson
from sparra.maps.scores import ImageScores, NodeScores, image_scores, normalised
from sparra.maps.settings import MapsSettings
from sparra.maps.slide_grid import SlideGrid
from sparra.maps.volume import CtSource, open_ct, score_volume, write_nifti
from sparra.modality import Modality
from sparra.pathology.slide import Slide
from sparra.report.maps import draw_ct_map, draw_slide_map
from sparra.study.arms import Arm, arms_of, out_of_fold_subjects
from sparra.study.layout import StudyLayout
from sparra.study.pool import Item, Track, run_items
from sparra.study.settings import StudySettings
from sparra.study.sidecar import begin, is_current, make_key, mark_done, sidecar_path
from sparra.study.stages import GraphIndex
from sparra.study.trust import check_maps, current_label
from sparra.study.undrawn import find_undrawable, undrawn_sentences, write_undrawn

# File columns of the index, and the file's name in an image's folder.
FILES = {
    "overlay": "overlay.png",
    "picture": "picture.png",
    "geojson": "tiles.geojson",
    "ome_scores": "scores.ome.tiff",
    "ome_colours": "colours.ome.tiff",
    "nifti": "importance.nii.gz",
    "nifti_sd": "importance-sd.nii.gz",
    "dicom_map": "parametric-map.dcm",
    "dicom_seg": "half.seg.dcm",
    "gallery": "gallery.png",
    "graph": "graph.png",
}
INDEX_COLUMNS = ["trained_modality", "aggregator", "subject_id", "image_key", "modality", "verdict", *FILES]


@dataclass(frozen=True)
class MapWork:
    """All that the maps of one image by one aggregation are made from.

    Attributes
    ----------
    arm : Arm
    modality : {"ct", "slide"}
    subject_id : str
    image : ImageRecord
    graph : Path
        Of the subject and modality.
    bag : Path
        Of the image.
    folder : Path
        Where the maps go.
    label : MapLabel
    settings : MapsSettings
    """

    arm: Arm
    modality: Modality
    subject_id: str
    image: ImageRecord
    graph: Path
    bag: Path
    folder: Path
    label: MapLabel
    settings: MapsSettings

    def inputs(self) -> dict[str, Path]:
        """Return the files that the maps depend on."""
        return {"graph": self.graph, "bag": self.bag} | {f.name: f / FILE for f in self.arm.folders}

    def parameters(self) -> dict[str, Any]:
        """Return the settings that they depend on."""
        chosen = {"formats", "normalisation", "gallery_patches", "identifiers"}
        return {
            "settings": self.settings.model_dump(mode="json", include=chosen),
            "label": vars(self.label),
            "image": str(self.image.path),
        }

    @property
    def current(self) -> bool:
        """Whether the maps are complete and up to date."""
        return is_current(self.folder, "maps", self.inputs(), self.parameters())

    @property
    def present(self) -> bool:
        """Whether maps are there that were made, with whatever settings, from the models as they are."""
        sidecar = sidecar_path(self.folder)
        return sidecar.exists() and is_current(self.folder, "maps", self.inputs(), read_json(sidecar)["parameters"])


def write_maps(
    settings: StudySettings,
    cohort: Cohort,
    layout: StudyLayout,
    index_path: Path,
    index: GraphIndex,
    folds: Folds,
    track: Track,
) -> list[Problem]:
    """Check the maps, write those that are not up to date, ``maps/index.csv`` and ``maps/undrawn.csv``."""
    if not settings.maps.formats:
        return []
    arms = arms_of(settings, layout, index_path, index, folds)
    problems = check_maps(settings, layout, index, arms, track) if settings.maps.trust else []
    # What earlier runs wrote of other subjects and aggregations stays listed as long as it is up to date.
    everything = arms_of(settings, layout, index_path, index, folds, all_trained=True)
    known = [each for arm in everything for each in _work_of(settings, cohort, layout, index, arm, sorted(index))]
    undrawable = find_undrawable(known)
    wanted = set(settings.maps.subjects or index)
    work = [each for each in known if each.arm in arms and each.subject_id in wanted]
    drawn = [each for each in work if each.bag not in undrawable and not each.current]
    items = [Item(each.subject_id, str(each.folder), (each,)) for each in drawn]
    problems += run_items("maps", write_image_maps, items, settings.n_workers, track)
    rows = [_index_row(layout, each) for each in known if each.present]
    table = pd.DataFrame(rows, columns=INDEX_COLUMNS)
    write_undrawn(layout.map_undrawn, known, undrawable)
    write_text(layout.map_index, table.to_csv(index=False, lineterminator="\n"))
    return problems


def _work_of(
    settings: StudySettings,
    cohort: Cohort,
    layout: StudyLayout,
    index: GraphIndex,
    arm: Arm,
    subjects: Sequence[str],
) -> list[MapWork]:
    """List the images of those subjects that were in some test part of the arm."""
    work = []
    records = {image.key: image for image in cohort.images}
    tested = set().union(*(out_of_fold_subjects(folder) for folder in arm.folders))
    labels = {modality: current_label(settings, layout, arm, modality) for modality in arm.image_modalities}
    for subject_id in subjects:
        for modality in arm.image_modalities:
            path = index.get(subject_id, {}).get(modality)
            if path is None or (modality, subject_id) not in tested:
                continue
            graph = layout.root / path
            for key in read_graph(graph).images:
                bag, folder = layout.bag(modality, key), layout.map_files(arm.modality, arm.aggregator, key)
                label, chosen = labels[modality], settings.maps
                work.append(MapWork(arm, modality, subject_id, records[key], graph, bag, folder, label, chosen))
    return work


def _index_row(layout: StudyLayout, work: MapWork) -> dict[str, str]:
    row = {
        "trained_modality": work.arm.modality,
        "aggregator": work.arm.aggregator,
        "subject_id": work.subject_id,
        "image_key": work.image.key,
        "modality": work.modality,
        "verdict": work.label.verdict,
    }
    paths = {name: work.folder / file for name, file in FILES.items()}
    return row | {n: str(path.relative_to(layout.root)) if path.exists() else "" for n, path in paths.items()}


@dataclass(frozen=True)
class _Ready:
    """One image's scores and what they are drawn on."""

    work: MapWork
    scores: ImageScores
    nodes: NodeScores
    graph: SpatialGraph
    number: int
    bag: Bag
    preview: Preview | None


def write_image_maps(work: MapWork) -> None:
    """Write the maps of one image by one aggregation, the sidecar last.

    Raises
    ------
    UserError
        If the features came without positions, or an image that a format needs is gone.
    """
    key = make_key("maps", work.inputs(), work.parameters())
    begin(work.folder)
    work.folder.mkdir(parents=True, exist_ok=True)
    for old in work.folder.iterdir():
        # A folder is none of ours.
        if not old.is_dir() or old.is_symlink():
            old.unlink()
    graph, bag = read_graph(work.graph), read_bag(work.bag)
    nodes = out_of_fold_scores(work.arm.folders, work.modality, work.subject_id)
    if nodes is None:
        return
    number = graph.images.index(work.image.key)
    scores = normalised(image_scores(graph, nodes, bag, number), work.settings.normalisation)
    ready = _Ready(work, scores, nodes, graph, number, bag, read_preview(work.bag))
    for wanted, write in (CT_WRITERS if work.modality == "ct" else SLIDE_WRITERS).items():
        if wanted in work.settings.formats:
            write(ready)
    mark_done(work.folder, key)


def _write_overlay(ready: _Ready) -> None:
    if ready.preview is not None:
        write_overlay(ready.work.folder / FILES["overlay"], ready.scores, ready.preview, ready.work.label)


def _write_geojson(ready: _Ready) -> None:
    grid = SlideGrid.of(ready.bag.provenance, ready.work.image.key)
    write_geojson(ready.work.folder / FILES["geojson"], ready.scores, grid, ready.work.label)


def _write_ome(ready: _Ready) -> None:
    grid = SlideGrid.of(ready.bag.provenance, ready.work.image.key)
    for name, write in (("ome_scores", write_scores_tiff), ("ome_colours", write_colour_tiff)):
        write(ready.work.folder / FILES[name], ready.scores, grid, ready.work.label)


def _source(ready: _Ready) -> CtSource | None:
    """Return the CT, None where the features were imported and there is none."""
    image = ready.work.image
    return None if is_bag_file(image.path) else open_ct(image.path, image.series, image.spacing_mm)


def _write_nifti(ready: _Ready) -> None:
    ct = _source(ready)
    if ct is None:
        return
    for name, values in (("nifti", ready.scores.score), ("nifti_sd", ready.scores.score_sd)):
        if np.isfinite(values).all():
            volume = score_volume(ready.scores, ct, values)
            write_nifti(ready.work.folder / FILES[name], volume, ct, ready.scores, ready.work.label)


def _write_dicom(ready: _Ready) -> None:
    ct = _source(ready)
    if ct is None or ct.series is None:
        return
    # One rule for all files, so that they stay files of one study.
    uids = uid_rule(ready.work.settings.identifiers)
    for name, write in DICOM_WRITERS:
        write(ready.work.folder / name, ready.scores, ct, ready.work.label, uids)


def _write_picture(ready: _Ready) -> None:
    if ready.preview is None:
        return
    # Raw, as its scale of colours says.
    scores = image_scores(ready.graph, ready.nodes, ready.bag, ready.number)
    draw: Callable[..., Figure] = draw_ct_map if ready.work.modality == "ct" else draw_slide_map
    figure = draw(ready.preview, scores.positions, scores.patch_size, scores.score, ready.work.label.sentence)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    with atomic_path(ready.work.folder / FILES["picture"]) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _write_gallery(ready: _Ready) -> None:
    image, scores = ready.work.image, ready.scores
    if is_bag_file(image.path):
        return
    ends = extremes(scores, ready.work.settings.gallery_patches)
    if ready.work.modality == "slide":
        policy_mpp = SlideGrid.of(ready.bag.provenance, image.key).mpp
        with Slide(image.path, policy_mpp[0]) as slide:
            pictures = [slide_tiles(slide, scores, end) for end in ends]
    elif ready.preview is not None:
        pictures = [ct_patches(ready.preview, scores, end) for end in ends]
    else:
        return
    write_gallery(ready.work.folder / FILES["gallery"], scores, ends, pictures, ready.work.label)


def _write_graph(ready: _Ready) -> None:
    if ready.preview is None or ready.graph.positions is None:
        return
    note = ready.work.label.sentence
    path = ready.work.folder / FILES["graph"]
    draw_graph(ready.graph, ready.preview, path, ready.number, colours_of(ready.nodes.score), note)


Writers = Mapping[str, Callable[[_Ready], None]]
SLIDE_WRITERS: Writers = {
    "overlay": _write_overlay,
    "geojson": _write_geojson,
    "ome-tiff": _write_ome,
    "picture": _write_picture,
    "gallery": _write_gallery,
    "graph": _write_graph,
}
CT_WRITERS: Writers = {
    "nifti": _write_nifti,
    "dicom": _write_dicom,
    "picture": _write_picture,
    "gallery": _write_gallery,
    "graph": _write_graph,
}


def map_lines(layout: StudyLayout) -> Sequence[str]:
    """Return what to print of the maps: how many, where, and each verdict."""
    if not layout.map_index.exists():
        return []
    count = len(pd.read_csv(layout.map_index))
    lines = [f"maps: {count} images, {layout.map_index}", *undrawn_sentences(layout)]
    if layout.map_verdicts.exists():
        table = pd.read_csv(layout.map_verdicts)
        lines += [
            f"{row.aggregator} on {row.trained_modality}, {row.modality}: {row.verdict}. {row.sentence}"
            for row in table.itertuples()
        ]
    return lines
