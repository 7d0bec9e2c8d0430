"""The batch that the speed benchmarks train on: random features on square grids with eight neighbours a node."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sparra.models.batch import GraphBatch
from sparra.models.cox import negative_log_partial_likelihood
from sparra.models.registry import aggregators
from sparra.models.sparra import SparraAggregator

FEATURES = {"ct": 768, "slide": 1024}


@dataclass(frozen=True)
class JointBatch:
    """Features and edges of each modality's subjects, and their follow-up.

    Attributes
    ----------
    features : mapping of modality to list of Tensor, each (n_nodes, n_features)
    edges : mapping of modality to Tensor of int64, shape (2, n_edges)
        Over all subjects.
    subject : mapping of modality to Tensor of int64
    time, event : Tensor, shape (n_subjects,)
    """

    features: Mapping[str, list[Tensor]]
    edges: Mapping[str, Tensor]
    subject: Mapping[str, Tensor]
    time: Tensor
    event: Tensor

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(self.time)

    def graphs(self) -> dict[str, GraphBatch]:
        """Return what our model takes."""
        return {
            name: GraphBatch(self.features[name], self.edges[name], self.subject[name], self.n_subjects)
            for name in self.features
        }


def grid_edges(height: int, width: int) -> Tensor:
    """Return both directions of the edges to the eight neighbours on a torus, sorted by source."""
    n_nodes = height * width
    place = torch.arange(n_nodes).view(height, width)
    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
    edges = torch.cat([torch.stack([place.flatten(), place.roll(shift, (0, 1)).flatten()]) for shift in shifts], dim=1)
    return edges[:, torch.argsort(edges[0] * n_nodes + edges[1])]


def make_batch(grids: Mapping[str, tuple[int, int]], n_subjects: int, dtype: torch.dtype, seed: int = 0) -> JointBatch:
    """Draw a batch; `grids` gives each modality's height and width in nodes."""
    generator = torch.Generator().manual_seed(seed)
    features, edges, subject = {}, {}, {}
    for name, (height, width) in grids.items():
        n_nodes = height * width
        features[name] = [
            torch.randn(n_nodes, FEATURES[name], generator=generator).to(dtype) for _ in range(n_subjects)
        ]
        one = grid_edges(height, width)
        edges[name] = torch.cat([one + index * n_nodes for index in range(n_subjects)], dim=1)
        subject[name] = torch.arange(n_subjects).repeat_interleave(n_nodes)
    time = torch.rand(n_subjects, generator=generator)
    event = torch.arange(n_subjects) % 3 > 0
    return JointBatch(features, edges, subject, time, event)


def build_ours(**overrides: object) -> SparraAggregator:
    """Return our model in the released configuration."""
    entry = aggregators["sparra"]
    torch.manual_seed(0)
    model = entry.build(FEATURES, entry.settings.model_validate({"preset": "released", **overrides}))
    assert isinstance(model, SparraAggregator)
    return model.train()


def our_step(model: SparraAggregator, batch: JointBatch, low_precision: bool) -> dict[str, float]:
    """Run forward and backward once; return the loss's terms."""
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
        output = model(batch.graphs())
    cox = negative_log_partial_likelihood(output.risk, batch.time, batch.event, "breslow") / batch.n_subjects
    torch.autograd.backward(cox + torch.stack(list(output.penalties.values())).sum())
    return {"cox": float(cox.detach()), **{name: float(value.detach()) for name, value in output.penalties.items()}}
