"""Mean aggregation: every node counts the same."""

from collections.abc import Mapping

import torch
from torch import nn

from sparra.models.aggregator import Aggregator
from sparra.models.batch import Aggregation, GraphBatch
from sparra.models.fused import full_precision, widened
from sparra.models.layers import feature_branch, segment_sum
from sparra.models.settings import MeanSettings


class MeanAggregator(Aggregator):
    """Unweighted mean of a subject's standardised node features; its risk is Linear, ReLU, dropout, Linear.

    The embedding is the mean itself and holds no parameter. A modality that a subject lacks is zero, the
    training subjects' mean after standardisation.

    Parameters
    ----------
    feature_dims : mapping of modality to int
    settings : MeanSettings
    """

    def __init__(self, feature_dims: Mapping[str, int], settings: MeanSettings) -> None:
        super().__init__(feature_dims)
        hidden = feature_branch(sum(feature_dims.values()), settings.hidden, settings.dropout)
        self.predictor = nn.Sequential(*hidden, nn.Linear(settings.hidden, 1))

    def forward(self, graphs: Mapping[str, GraphBatch]) -> Aggregation:
        """Average each modality and predict."""
        parts = []
        importance = {}
        for modality in self.embedding_sizes:
            graph = graphs[modality]
            counts = torch.bincount(graph.subject, minlength=graph.n_subjects)
            features = widened(graph.features)
            importance[modality] = (1.0 / counts.to(features.dtype))[graph.subject]
            weighted = features * importance[modality].unsqueeze(1)
            parts.append(segment_sum(weighted, graph.subject, graph.n_subjects))
        embedding = torch.cat(parts, dim=1)
        with full_precision(embedding):
            return Aggregation(embedding, self.predictor(embedding).squeeze(1), importance)
