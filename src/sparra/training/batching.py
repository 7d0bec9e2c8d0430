"""Subjects as tensors, held as far as memory allows, and their collation into batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparra.errors import UserError
from sparra.memory import held_bytes
from sparra.models.batch import GraphBatch
from sparra.training.scaling import FeatureScaler
from sparra.training.subjects import SubjectData


@dataclass(frozen=True)
class PreparedGraph:
    """A graph as tensors, features standardised.

    Attributes
    ----------
    features : Tensor of float32 or bfloat16, shape (n_nodes, n_features)
    edge_index : Tensor of int64, shape (2, n_edges)
    """

    features: Tensor
    edge_index: Tensor

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        return self.features.nbytes + self.edge_index.nbytes


class PreparedCohort:
    """The graphs of a sequence of subjects, each prepared when it is first asked for.

    As many as fit into `budget` are held from then on, those that were asked for first; the others are read and
    prepared each time. Epochs go through all subjects in an order of their own, so no choice of whom to hold would
    save more.

    Parameters
    ----------
    subjects : sequence of SubjectData
    scalers : mapping of modality to FeatureScaler
        Of a model; other modalities are left out.
    dtype : torch.dtype
        Of the features.
    budget : int, optional
        Bytes of prepared graphs to hold; `sparra.memory.held_bytes` if not given.

    Attributes
    ----------
    n_subjects : int
    counts : mapping of modality to list of int
        Nodes of each subject, 0 where a subject lacks the modality.
    held : int
        Bytes held at present.
    """

    def __init__(
        self,
        subjects: Sequence[SubjectData],
        scalers: Mapping[str, FeatureScaler],
        dtype: torch.dtype = torch.float32,
        budget: int | None = None,
    ) -> None:
        self.n_subjects = len(subjects)
        self.counts = {
            name: [subject.size(name).n_nodes if subject.has(name) else 0 for subject in subjects] for name in scalers
        }
        self.held = 0
        self._budget = held_bytes() if budget is None else budget
        self._subjects, self._scalers, self._dtype = subjects, scalers, dtype
        self._graphs: dict[tuple[str, int], PreparedGraph] = {}
        no_edges = torch.zeros((2, 0), dtype=torch.int64)
        self._without_nodes = {
            name: PreparedGraph(torch.zeros((0, len(scaler.mean)), dtype=dtype), no_edges)
            for name, scaler in scalers.items()
        }

    def graph(self, modality: str, index: int) -> PreparedGraph:
        """Return the graph of one subject, without nodes if the subject lacks the modality."""
        if not self.counts[modality][index]:
            return self._without_nodes[modality]
        known = self._graphs.get((modality, index))
        if known is not None:
            return known
        prepared = self._prepared(modality, index)
        if self.held + prepared.n_bytes <= self._budget:
            self._graphs[modality, index] = prepared
            self.held += prepared.n_bytes
        return prepared

    def _prepared(self, modality: str, index: int) -> PreparedGraph:
        subject = self._subjects[index]
        graph = subject.graphs[modality]
        features = torch.from_numpy(self._scalers[modality].transform(graph.features))
        edges = torch.from_numpy(graph.edge_index.astype(np.int64))
        _check(features, edges, f"{modality} graph of subject {subject.subject_id}")
        return PreparedGraph(features.to(self._dtype), edges)

    def collate(
        self, indices: Sequence[int], device: torch.device, batch: Sequence[int] | None = None
    ) -> dict[str, GraphBatch]:
        """Return one `GraphBatch` a modality: the subjects at `indices`, in that order, perhaps a chunk of `batch`."""
        return {name: self._collated(name, indices, device, batch) for name in self._scalers}

    def _collated(
        self, modality: str, indices: Sequence[int], device: torch.device, batch: Sequence[int] | None
    ) -> GraphBatch:
        graphs = [self.graph(modality, index) for index in indices]
        counts = torch.tensor([len(graph.features) for graph in graphs])
        starts = (counts.cumsum(0) - counts).tolist()
        edges = [graph.edge_index + start for graph, start in zip(graphs, starts, strict=True)]
        return GraphBatch(
            features=[graph.features.to(device) for graph in graphs],
            edge_index=torch.cat(edges, dim=1).to(device),
            subject=torch.repeat_interleave(torch.arange(len(indices)), counts).to(device),
            n_subjects=len(indices),
            whole=None if batch is None else torch.tensor([self.counts[modality][index] for index in batch]),
        )


def _check(features: Tensor, edges: Tensor, where: str) -> None:
    """Refuse what gives a wrong answer in silence: graphs made in Python come here unchecked, those of files do not."""
    # Minimum and maximum are NaN where a value is, and take no memory.
    if not all(map(torch.isfinite, torch.aminmax(features))):
        raise UserError(
            "a node feature is NaN, infinite or far outside the training range", where, "Extract the features again"
        )
    # Compiled loops follow an edge without a look at the bounds: into another subject, or out of the array.
    if edges.numel() and (int(edges.min()) < 0 or int(edges.max()) >= len(features)):
        raise UserError(f"an edge names a node beyond the {len(features)} that there are", where, "Build it again")


def training_batches(event: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield one epoch of shuffled batches over which the events are spread evenly.

    Events and censored subjects are shuffled apart, laid out at even distances and merged, so a batch
    without an event is rare. A last batch of a single subject, which has no risk set, is left out of that
    epoch.

    Parameters
    ----------
    event : Tensor of bool, shape (n_subjects,)
    batch_size : int
    generator : torch.Generator
    """
    place = torch.empty(len(event), dtype=torch.float64)
    for outcome in (True, False):
        members = (event == outcome).nonzero().squeeze(1)
        shuffled = members[torch.randperm(len(members), generator=generator)]
        jitter = torch.rand(len(members), generator=generator, dtype=torch.float64)
        place[shuffled] = (torch.arange(len(members)) + jitter) / max(len(members), 1)
    order: list[int] = torch.argsort(place, stable=True).tolist()
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        if len(batch) >= 2:
            yield batch
