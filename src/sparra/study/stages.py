"""From images to graphs: what is left to do, and doing it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sparra.bags import read_bag, read_preview
from sparra.cohort.check import Cohort
from sparra.cohort.problems import Problem, problem_of
from sparra.cohort.tables import ImageRecord, subject_key
from sparra.errors import UserError
from sparra.files import atomic_path, read_json, sha256_of, write_json
from sparra.graphs.build import build_graph, merge_graphs
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.memory import graph_bytes
from sparra.graphs.picture import draw_graph
from sparra.graphs.settings import GraphSettings
from sparra.graphs.store import read_graph, write_graph
from sparra.graphs.summary import summarise_graph
from sparra.modality import MODALITIES, Modality
from sparra.pathology.picture import contact_sheets, write_contact_sheet
from sparra.study.images import extract_image, inputs_of, parameters_of, record_of
from sparra.study.kinds import ImageKind, kind_of, odd_images
from sparra.study.layout import StudyLayout
from sparra.study.pool import Item, Track, run_items
from sparra.study.settings import GraphsSettings, StudySettings
from sparra.study.sidecar import begin, is_current, make_key, mark_done, sidecar_path

GraphIndex = dict[str, dict[str, str]]


def extract_bags(settings: StudySettings, cohort: Cohort, layout: StudyLayout, track: Track) -> list[Problem]:
    """Write the bag of every image that has none yet, or whose file or settings have changed."""
    pending = [image for image in cohort.images if not bag_is_current(settings, image, layout, renew=True)]
    items = [
        Item(
            image.subject_id,
            str(image.path),
            (
                image,
                settings.ct,
                settings.slide,
                settings.bags,
                layout.bag(image.modality, image.key),
            ),
        )
        for image in pending
    ]

    def is_made(item: Item) -> bool:
        return bag_is_current(settings, item.arguments[0], layout)

    problems = run_items("extract", extract_image, items, settings.n_workers, track, is_made)
    return problems + _gather_pictures(settings, cohort, layout, track)


def _gather_pictures(settings: StudySettings, cohort: Cohort, layout: StudyLayout, track: Track) -> list[Problem]:
    """Gather the pictures of all slides' tissue, those without tiles too, on sheets."""
    slides = [image for image in cohort.images if image.modality == "slide"]
    shown = [pair for pair in _pictures(slides, layout) if pair[1].exists()]
    sheets = contact_sheets(layout.root / "features" / "slide", shown)
    items = [
        Item("", str(sheet), (sheet, part))
        for sheet, part in sheets.items()
        if not is_current(sheet, "sheets", _by_place(part), {})
    ]
    return run_items("sheets", write_sheet, items, settings.n_workers, track)


def _pictures(slides: Sequence[ImageRecord], layout: StudyLayout) -> list[tuple[str, Path]]:
    """Return each slide's picture under the name of its files here: its own file's may hold a patient's name."""
    records = [(slide.key, record_of(layout.bag("slide", slide.key))) for slide in slides]
    return [(key, path.with_name(f"{path.name}.png")) for key, path in records]


def write_sheet(output: Path, pictures: Sequence[tuple[str, Path]]) -> None:
    """Write one contact sheet and its sidecar."""
    key = make_key("sheets", _by_place(pictures), {})
    begin(output)
    write_contact_sheet(output, pictures)
    mark_done(output, key)


def _by_place(pictures: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    return {f"{place:02d} {caption}": path for place, (caption, path) in enumerate(pictures)}


def bag_is_current(settings: StudySettings, image: ImageRecord, layout: StudyLayout, renew: bool = False) -> bool:
    """Tell whether an image's bag is there and made from the file and settings as they are; see `is_current`."""
    parameters = parameters_of(image, settings.ct, settings.slide, settings.bags)
    inputs = inputs_of(image, settings.slide, settings.bags)
    return is_current(layout.bag(image.modality, image.key), "extract", inputs, parameters, renew)


def extracted(settings: StudySettings, cohort: Cohort, layout: StudyLayout) -> dict[Modality, set[str]]:
    """Return the subjects that have a bag of each modality."""
    done = [image for image in cohort.images if bag_is_current(settings, image, layout)]
    return {modality: {image.subject_id for image in done if image.modality == modality} for modality in MODALITIES}


def build_graphs(
    settings: StudySettings, cohort: Cohort, layout: StudyLayout, track: Track
) -> tuple[GraphIndex, list[Problem]]:
    """Write the graph of every subject and modality whose bags exist, and the index of all graphs.

    Returns
    -------
    index : mapping of subject_id to mapping of modality to path below the study's folder
    problems : list of Problem

    Raises
    ------
    UserError
        If the bags are of several kinds and it cannot be told which are meant.
    """
    bags: dict[tuple[str, Modality], list[str]] = defaultdict(list)
    done = [image for image in cohort.images if bag_is_current(settings, image, layout)]
    odd = odd_images([ImageKind(image, stored_kind(layout.bag(image.modality, image.key))) for image in done])
    left_out = {image.key for image, _ in odd}
    for image in done:
        if image.key not in left_out:
            bags[image.subject_id, image.modality].append(image.key)
    work = {
        (subject_id, modality): _graph_item(settings, layout, subject_id, modality, keys)
        for (subject_id, modality), keys in sorted(bags.items())
    }
    items = [item for item in work.values() if not _graph_is_current(item, renew=True)]
    problems = [problem for _, problem in odd]
    problems += run_items("graph", write_subject_graph, items, settings.n_workers, track)
    current = {key: item.arguments[-1] for key, item in work.items() if _graph_is_current(item)}
    index: GraphIndex = defaultdict(dict)
    for (subject_id, modality), path in current.items():
        index[subject_id][modality] = str(path.relative_to(layout.root))
    problems += _write_summaries(settings, layout, index)
    return dict(index), problems


def _graph_item(
    settings: StudySettings, layout: StudyLayout, subject_id: str, modality: Modality, keys: Sequence[str]
) -> Item:
    arguments = (layout, modality, keys, settings.graphs, layout.graph(modality, subject_key(subject_id)))
    return Item(subject_id, f"{modality} graph of subject {subject_id}", arguments)


def _graph_is_current(item: Item, renew: bool = False) -> bool:
    layout, modality, keys, settings, output = item.arguments
    inputs, parameters = _graph_inputs(layout, modality, keys), _graph_parameters(settings, modality)
    return is_current(output, "graph", inputs, parameters, renew)


def stored_kind(bag: Path) -> Mapping[str, Any]:
    """Return the kind of a bag's features, from its sidecar; of an older one from the bag itself."""
    kind = read_json(sidecar_path(bag)).get("kind")
    return kind if isinstance(kind, dict) else kind_of(read_bag(bag))


def _graph_inputs(layout: StudyLayout, modality: Modality, keys: Sequence[str]) -> dict[str, Path]:
    return {key: layout.bag(modality, key) for key in keys}


def _graph_parameters(settings: GraphsSettings, modality: Modality) -> dict[str, object]:
    parameters = _settings_of(settings, modality).model_dump(mode="json")
    return {**parameters, "picture": settings.pictures, "dtype": settings.dtype.of(modality)}


def _settings_of(settings: GraphsSettings, modality: Modality) -> GraphSettings:
    return settings.ct if modality == "ct" else settings.slide


def _write_summaries(settings: StudySettings, layout: StudyLayout, index: GraphIndex) -> list[Problem]:
    """Write the table of graph summaries, or remove that of an earlier run."""
    problems: list[Problem] = []
    if not settings.graphs.summaries:
        layout.graph_summary.unlink(missing_ok=True)
        return problems
    rows = []
    for subject_id, paths in sorted(index.items()):
        for modality, path in sorted(paths.items()):
            try:
                summary = summarise_graph(read_graph(layout.root / path))
            except UserError as error:
                problems.append(problem_of(error, "graph", subject_id, f"{modality} summary of subject {subject_id}"))
                continue
            rows.append({"subject_id": subject_id, "modality": modality, **summary})
    with atomic_path(layout.graph_summary) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    return problems


def write_subject_graph(
    layout: StudyLayout, modality: Modality, keys: Sequence[str], settings: GraphsSettings, output: Path
) -> None:
    """Build one subject's graph of one modality from its bags, and write it with its sidecar."""
    key = make_key("graph", _graph_inputs(layout, modality, keys), _graph_parameters(settings, modality))
    begin(output)
    graphs: list[SpatialGraph] = []
    for image_key in keys:
        path = layout.bag(modality, image_key)
        held = sum(graph_bytes(graph) for graph in graphs)
        graph = build_graph(read_bag(path), _settings_of(settings, modality), image_key, held)
        preview = read_preview(path) if settings.pictures else None
        if preview is not None and graph.positions is not None:
            draw_graph(graph, preview, output.parent / f"{image_key}.png")
        graphs.append(graph)
    merged = merge_graphs(graphs)
    del graphs, graph  # else the parts are held beside the whole while that is written
    write_graph(output, merged, settings.dtype.of(modality))
    mark_done(output, key)


def write_graph_index(layout: StudyLayout, index: GraphIndex) -> Path:
    """Write the hash of every graph in use, the one file that training depends on."""
    hashes = {
        subject_id: {modality: sha256_of(layout.root / path) for modality, path in sorted(graphs.items())}
        for subject_id, graphs in sorted(index.items())
    }
    path = layout.root / "graphs" / "index.json"
    write_json(path, {"paths": index, "made_from": hashes})
    return path


def graph_pictures(layout: StudyLayout) -> list[Path]:
    """Return the pictures of graphs that lie in the study."""
    folders = [layout.root / "graphs" / modality for modality in MODALITIES]
    return [picture for folder in folders for picture in sorted(folder.glob("*.png"))]
