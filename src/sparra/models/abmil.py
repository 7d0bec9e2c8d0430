"""Attention-based multiple-instance learning (Ilse et al. 2018), one attention a modality."""

from collections.abc import Mapping

import torch
from torch import nn

from sparra.models.aggregator import Aggregator
from sparra.models.batch import Aggregation, GraphBatch
from sparra.models.fused import full_precision, widened
from sparra.models.layers import GatedAttention, feature_branch, segment_softmax, segment_sum
from sparra.models.settings import ABMILSettings


class ABMILAggregator(Aggregator):
    r""":math:`z = \sum_i a_i h_i` with :math:`a = softmax(W[\tanh(A h) \odot \sigma(B h)])` within a subject.

    One branch and one attention for each modality; embeddings side by side; a linear risk. Edges are not
    used.

    Parameters
    ----------
    feature_dims : mapping of modality to int
    settings : ABMILSettings
    """

    def __init__(self, feature_dims: Mapping[str, int], settings: ABMILSettings) -> None:
        super().__init__(dict.fromkeys(feature_dims, settings.hidden))
        self.branches = nn.ModuleDict(
            {
                modality: feature_branch(size, settings.hidden, settings.dropout)
                for modality, size in feature_dims.items()
            }
        )
        self.attentions = nn.ModuleDict(
            {
                modality: GatedAttention(settings.hidden, settings.attention, 1, settings.attention_dropout)
                for modality in feature_dims
            }
        )
        self.predictor = nn.Linear(settings.hidden * len(feature_dims), 1)

    def forward(self, graphs: Mapping[str, GraphBatch]) -> Aggregation:
        """Attend within each modality and predict."""
        parts = []
        importance = {}
        for modality in self.embedding_sizes:
            graph = graphs[modality]
            hidden = self.branches[modality](graph.parts)
            logits = widened(self.attentions[modality](hidden)).squeeze(1)
            attention = segment_softmax(logits, graph.subject, graph.n_subjects)
            importance[modality] = attention
            parts.append(segment_sum(widened(hidden) * attention.unsqueeze(1), graph.subject, graph.n_subjects))
        embedding = torch.cat(parts, dim=1)
        with full_precision(embedding):
            return Aggregation(embedding, self.predictor(embedding).squeeze(1), importance)
