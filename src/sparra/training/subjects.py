"""What training knows of one subject."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sparra.errors import UserError
from sparra.graphs.graph import GraphSize, SpatialGraph
from sparra.graphs.store import GraphFiles


@dataclass(frozen=True)
class SubjectData:
    """Graphs and follow-up of one subject.

    Attributes
    ----------
    subject_id : str
    graphs : mapping of modality to SpatialGraph
        Keys ``ct`` and ``slide``; a modality that the subject lacks is absent. `GraphFiles` for a cohort that need
        not fit into memory.
    time : float
        Follow-up time.
    event : bool
        True where the event was observed, False where censored.
    """

    subject_id: str
    graphs: Mapping[str, SpatialGraph]
    time: float
    event: bool

    def size(self, modality: str) -> GraphSize:
        """Return how large the graph of a modality is, without reading its features."""
        graphs = self.graphs
        return graphs.size(modality) if isinstance(graphs, GraphFiles) else graphs[modality].size

    def has(self, modality: str) -> bool:
        """Tell whether there is a node of a modality: a graph without nodes is none."""
        return modality in self.graphs and self.size(modality).n_nodes > 0


def feature_dimensions(subjects: Sequence[SubjectData]) -> dict[str, int]:
    """Return the number of node features of each modality that a subject has, modalities in alphabetical order.

    Raises
    ------
    UserError
        If two subjects' graphs of a modality differ in it; names the subject.
    """
    sizes: dict[str, int] = {}
    for subject in subjects:
        for modality in filter(subject.has, subject.graphs):
            size = subject.size(modality).n_features
            if sizes.setdefault(modality, size) != size:
                raise UserError(
                    f"the {modality} graph has {size} features a node where others have {sizes[modality]}",
                    where=f"subject {subject.subject_id}",
                    mend="Extract all images of a modality with one encoder",
                )
    return dict(sorted(sizes.items()))


def check_training_subjects(subjects: Sequence[SubjectData]) -> None:
    """Check that a model can be trained on `subjects`.

    Raises
    ------
    UserError
        If there are fewer than two, none had the event, one has no graph, or a follow-up time is not finite.
    """
    if len(subjects) < 2:
        raise UserError(f"training needs at least two subjects, not {len(subjects)}")
    if not any(subject.event for subject in subjects):
        raise UserError(f"none of the {len(subjects)} training subjects had the event")
    for subject in subjects:
        if not any(subject.has(modality) for modality in subject.graphs):
            raise UserError("no graph of any modality", where=f"subject {subject.subject_id}")
        if not np.isfinite(subject.time) or subject.time < 0:
            raise UserError(f"follow-up time is {subject.time}", where=f"subject {subject.subject_id}")
