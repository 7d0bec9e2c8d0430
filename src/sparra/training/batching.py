"""Subjects as tensors, prepared once, and their collation into batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparra.models.batch import GraphBatch
from sparra.training.scaling import FeatureScaler
from sparra.training.subjects import SubjectData


@dataclass(frozen=True)
class PreparedModality:
    """Standardised graphs of one modality, one entry a subject, empty where a subject lacks it.

    Attributes
    ----------
    features : list of Tensor of float32 or bfloat16, each (n_nodes, n_features)
    edge_index : list of Tensor of int64, each (2, n_edges)
    """

    features: list[Tensor]
    edge_index: list[Tensor]

    def collate(self, indices: Sequence[int], device: torch.device, batch: Sequence[int] | None = None) -> GraphBatch:
        """Join the graphs of the subjects at `indices`, in that order; they may be a chunk of `batch`."""
        features = [self.features[index] for index in indices]
        counts = torch.tensor([len(values) for values in features])
        starts = (counts.cumsum(0) - counts).tolist()
        edges = [self.edge_index[index] + start for index, start in zip(indices, starts, strict=True)]
        return GraphBatch(
            features=[values.to(device) for values in features],
            edge_index=torch.cat(edges, dim=1).to(device),
            subject=torch.repeat_interleave(torch.arange(len(indices)), counts).to(device),
            n_subjects=len(indices),
            whole=None if batch is None else torch.tensor([len(self.features[index]) for index in batch]),
        )


def prepare_modality(
    subjects: Sequence[SubjectData], modality: str, scaler: FeatureScaler, dtype: torch.dtype = torch.float32
) -> PreparedModality:
    """Standardise the graphs of one modality and turn them into tensors, features of type `dtype`."""
    no_features = torch.zeros((0, len(scaler.mean)), dtype=dtype)
    no_edges = torch.zeros((2, 0), dtype=torch.int64)
    features, edges = [], []
    for subject in subjects:
        graph = subject.graphs.get(modality)
        features.append(no_features if graph is None else torch.from_numpy(scaler.transform(graph.features)).to(dtype))
        edges.append(no_edges if graph is None else torch.from_numpy(graph.edge_index.astype(np.int64)))
    return PreparedModality(features, edges)


@dataclass(frozen=True)
class PreparedCohort:
    """All modalities of a sequence of subjects.

    Attributes
    ----------
    modalities : mapping of modality to PreparedModality
    n_subjects : int
    """

    modalities: Mapping[str, PreparedModality]
    n_subjects: int

    @classmethod
    def of(
        cls,
        subjects: Sequence[SubjectData],
        scalers: Mapping[str, FeatureScaler],
        dtype: torch.dtype = torch.float32,
    ) -> "PreparedCohort":
        """Prepare `subjects` with the scalers of a model."""
        prepared = {name: prepare_modality(subjects, name, scaler, dtype) for name, scaler in scalers.items()}
        return cls(prepared, len(subjects))

    def collate(
        self, indices: Sequence[int], device: torch.device, batch: Sequence[int] | None = None
    ) -> dict[str, GraphBatch]:
        """Return one `GraphBatch` a modality for the subjects at `indices`, perhaps a chunk of `batch`."""
        return {name: prepared.collate(indices, device, batch) for name, prepared in self.modalities.items()}


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
