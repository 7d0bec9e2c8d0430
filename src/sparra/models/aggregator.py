"""The base of every aggregator."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import nn

from sparra.models.batch import Aggregation, GraphBatch
from sparra.models.uncertainty import Draws, Spread


class Aggregator(nn.Module, ABC):
    """From the graphs of a batch to embedding, risk and importance.

    Parameters
    ----------
    embedding_sizes : mapping of modality to int
        Columns of the embedding that each modality fills, in their order.
    """

    def __init__(self, embedding_sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.embedding_sizes = dict(embedding_sizes)

    @abstractmethod
    def forward(self, graphs: Mapping[str, GraphBatch]) -> Aggregation:
        """Aggregate a batch; `graphs` holds every modality, perhaps with no node."""

    def spread(self, graphs: Mapping[str, GraphBatch], generator: torch.Generator, n_draws: int) -> Spread | None:
        """Return the posterior spread of importance and risk over `n_draws`; None where the model has no posterior."""
        return None

    def draws(self, graphs: Mapping[str, GraphBatch], generator: torch.Generator, n_draws: int) -> Draws | None:
        """Return embedding and risk at `n_draws` draws from the posterior; None where the model has none."""
        return None
