"""What a Python user may give as a subject, turned into what the models take."""

from collections.abc import Callable, Mapping, Sequence

from sparra.bags import Bag
from sparra.errors import UserError
from sparra.graphs.build import build_graph, merge_graphs
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.settings import GraphSettings
from sparra.modality import Modality
from sparra.training.subjects import SubjectData

Image = Bag | SpatialGraph
SubjectInput = Image | Sequence[Image] | Mapping[str, Image | Sequence[Image]]


def as_subjects(
    subjects: Mapping[str, SubjectInput],
    graph_settings: Callable[[Modality], GraphSettings],
    modalities: Sequence[Modality],
) -> list[SubjectData]:
    """Return subjects with one graph a modality and without follow-up.

    Parameters
    ----------
    subjects : mapping of subject_id to Bag, SpatialGraph, or sequence of them, or mapping of modality to those
        Several images of one modality become one graph, disconnected.
    graph_settings : callable
        Settings by which a modality's bags become graphs.
    modalities : sequence of str
        Others are left out.

    Raises
    ------
    UserError
        If an input is none of these or a subject has no image of `modalities`.
    """
    return [_subject(subject_id, given, graph_settings, modalities) for subject_id, given in subjects.items()]


def _subject(
    subject_id: str,
    given: SubjectInput,
    graph_settings: Callable[[Modality], GraphSettings],
    modalities: Sequence[Modality],
) -> SubjectData:
    where = f"subject {subject_id}"
    parts: dict[Modality, list[SpatialGraph]] = {}
    for place, image in enumerate(_images(given, where)):
        if image.modality in modalities:
            graph = image
            if isinstance(image, Bag):
                graph = build_graph(image, graph_settings(image.modality), f"{subject_id}-{place}")
            assert isinstance(graph, SpatialGraph)
            parts.setdefault(graph.modality, []).append(graph)
    if not parts:
        raise UserError(f"there is no image of {' or '.join(modalities)}", where, "Give a bag or a graph")
    graphs: dict[str, SpatialGraph] = {
        name: found[0] if len(found) == 1 else merge_graphs(found) for name, found in parts.items()
    }
    return SubjectData(subject_id, graphs, float("nan"), False)


def _images(given: SubjectInput, where: str) -> list[Image]:
    if isinstance(given, Bag | SpatialGraph):
        return [given]
    if isinstance(given, Mapping):
        images = []
        for modality, part in given.items():
            found = _images(part, where)
            if any(image.modality != modality for image in found):
                raise UserError(f"an image under '{modality}' is of another modality", where, "Correct the key")
            images += found
        return images
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return [image for part in given for image in _images(part, where)]
    raise UserError(f"a subject cannot be a {type(given).__name__}", where, "Give a Bag, a SpatialGraph or a mapping")
