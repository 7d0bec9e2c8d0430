"""SPARRA: sparsity-informed spatial aggregation with a variational gate."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from sparra.models.aggregator import Aggregator
from sparra.models.batch import Aggregation, GraphBatch
from sparra.models.fused import full_precision, take_rows, widened
from sparra.models.importance import importance_of_all_nodes, neighbourhood_mean, smoothed_over_neighbours
from sparra.models.layers import (
    GatedAttention,
    GraphConvolution,
    PooledNodes,
    TopKPooling,
    centred,
    feature_branch,
    kept_counts,
    segment_sum,
)
from sparra.models.objective import (
    collapsed_divergence,
    log_likelihood_of_error,
    normalised_inverse_precision,
    sample_importance,
    second_moment,
)
from sparra.models.posterior import KeptNodes, ModalityPosterior, joined
from sparra.models.reconstruction import squared_error
from sparra.models.settings import SparraSettings
from sparra.models.stage import pool_convolved, smoothed
from sparra.models.uncertainty import Draws, Spread, sampled_gate, spread_over_draws

# exp(±20) is as far as float32 can follow a variance without trouble.
LOG_VARIANCE_LIMIT = 20.0
SINH_LIMIT = 10.0
# Values of branch features held at a time; a slide that has more is held alone. In smaller groups threads wait for one
# another more often, which shows in the short steps of bfloat16; its values take half the memory.
GROUP_VALUES = 2**24
GROUP_VALUES_BFLOAT16 = 2**27


class PoolingModule(nn.Module):
    """f_pool: graph convolution and top-k pooling, twice.

    Parameters
    ----------
    settings : SparraSettings
    ratio : float
        Share of nodes that each of the two poolings keeps.
    """

    def __init__(self, settings: SparraSettings, ratio: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                GraphConvolution(settings.hidden, settings.pooled),
                GraphConvolution(settings.pooled, settings.pooled),
            ]
        )
        self.poolings = nn.ModuleList(
            [TopKPooling(settings.pooled, ratio, settings.minimum_nodes, settings.soft_scores) for _ in range(2)]
        )

    def forward(self, hidden: Tensor, graph: GraphBatch) -> tuple[PooledNodes, PooledNodes]:
        """Return what each of the two poolings left."""
        first = self._stage(0, hidden, graph.edge_index, graph.subject, graph.n_subjects)
        second = self._stage(1, first.features, first.edge_index, first.subject, graph.n_subjects)
        return first, second

    def _stage(self, stage: int, features: Tensor, edge_index: Tensor, subject: Tensor, n_subjects: int) -> PooledNodes:
        convolution = cast(GraphConvolution, self.convolutions[stage])
        pooling = cast(TopKPooling, self.poolings[stage])
        return pool_convolved(convolution, pooling, features, edge_index, subject, n_subjects, from_branch=stage == 0)


class DecoderTrunk(nn.Module):
    """From the scalar s of each kept node towards its features: Linear-ReLU, GCN, Linear-ReLU, Linear.

    Parameters
    ----------
    settings : SparraSettings
    """

    def __init__(self, settings: SparraSettings) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Linear(1, settings.pooled), nn.ReLU(inplace=True))
        self.convolution = GraphConvolution(settings.pooled, settings.hidden)
        self.mix = nn.Sequential(
            nn.Linear(settings.hidden, settings.hidden),
            nn.ReLU(),
            nn.Linear(settings.hidden, settings.hidden),
        )

    def forward(self, importance: Tensor, edge_index: Tensor, output: nn.Linear) -> tuple[Tensor, Tensor, Tensor]:
        """Return H (n_kept, hidden), W (n_features, hidden) and b such that the decoder's output is H Wᵀ + b.

        Neighbouring linear maps are multiplied beforehand, which leaves the result as it is.
        """
        first, second = cast(nn.Linear, self.mix[0]), cast(nn.Linear, self.mix[2])
        weight = first.weight @ self.convolution.weight.t()
        bias = first.weight @ self.convolution.bias + first.bias
        smooth = smoothed(self.expand(importance.unsqueeze(1)), edge_index)
        hidden = nn.functional.linear(smooth, weight, bias).relu_()
        return hidden, output.weight @ second.weight, output.weight @ second.bias + output.bias


class SparraAggregator(Aggregator):
    r"""Sparsity-informed probabilistic aggregation (section 2.2 of the paper).

    For each modality: h = branch(X); f_pool(X) by two rounds of GCN and top-k; q(s|X) = N(mu, sigma²) by a
    gated network; gate :math:`\hat v \propto E[v]^{-1}`, normalised over a subject's kept nodes of that
    modality (``gate: per_modality``, the paper) or of all modalities (``joint``, the released code);
    embedding :math:`\hat v^T f_{pool}(X)` (``aggregate: pooled``, the paper) or :math:`\hat v^T branch(X)`
    over the kept nodes (``branch``); a linear risk. A modality that a subject lacks gives zeros.

    Penalties, added to the mean over subjects of the Cox terms:

    - ``kl``: Eq. (3) in its collapsed form. ``reduction: sum`` sums over the kept nodes of a subject and
      averages over the subjects of the batch: with weight 1 the penalties and the Cox term then are the
      negative bound of Eq. (8) a subject, but for the constant Z and for the Cox term's being taken at E[v], as
      in the paper. ``mean`` averages over all kept nodes of the batch: its effective weight does not grow with
      the number of nodes, but the objective is no longer a bound.
    - ``reconstruction``: minus Eq. (6) at a reparameterised sample of s, on the standardised features of the
      kept nodes (s exists for no others); ``mean`` divides by nodes and features. Only while training.

    Parameters
    ----------
    feature_dims : mapping of modality to int
    settings : SparraSettings
    """

    def __init__(self, feature_dims: Mapping[str, int], settings: SparraSettings) -> None:
        width = settings.pooled if settings.aggregate == "pooled" else settings.hidden
        super().__init__(dict.fromkeys(feature_dims, width))
        self.settings = settings
        self.prior = settings.prior
        self.branches = nn.ModuleDict(
            {name: feature_branch(size, settings.hidden, settings.dropout) for name, size in feature_dims.items()}
        )
        self.poolings = nn.ModuleDict(
            {name: PoolingModule(settings, getattr(settings.pool_ratio, name)) for name in feature_dims}
        )
        keys = ["shared"] if settings.shared_networks else list(feature_dims)
        self.encoders = nn.ModuleDict({key: self._encoder() for key in keys})
        self.predictor = nn.Linear(width * len(feature_dims), 1)
        decoded = keys if settings.reconstruction_weight > 0 else []
        self.decoder_trunks = nn.ModuleDict({key: DecoderTrunk(settings) for key in decoded})
        self.decoder_outputs = nn.ModuleDict(
            {name: nn.Linear(settings.hidden, size) for name, size in feature_dims.items() if decoded}
        )

    def _encoder(self) -> GatedAttention:
        settings = self.settings
        width = settings.pooled + (settings.hidden if settings.gate_sees == "graph_and_node" else 0)
        encoder = GatedAttention(width, settings.encoder, 2, settings.encoder_dropout)
        if settings.initial_posterior is not None:
            with torch.no_grad():
                encoder.output.bias.copy_(torch.tensor(settings.initial_posterior))
        return encoder

    def forward(self, graphs: Mapping[str, GraphBatch]) -> Aggregation:
        """Infer the posteriors, aggregate and predict."""
        posteriors = {name: self._posterior(name, graphs[name]) for name in self.embedding_sizes}
        with full_precision(self.predictor.weight):
            embedding, risk, importance = self._aggregate(posteriors, graphs)
        penalties = self._penalties(posteriors, graphs) if self.training else {}
        return Aggregation(embedding, risk, importance, penalties)

    def _aggregate(
        self, posteriors: Mapping[str, ModalityPosterior], graphs: Mapping[str, GraphBatch]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return self._weighted(self._gates(posteriors, graphs), posteriors, graphs)

    def spread(self, graphs: Mapping[str, GraphBatch], generator: torch.Generator, n_draws: int) -> Spread:
        """Return the standard deviations of importance and risk over draws of s from q(s); call it in eval mode."""
        once = self._drawing(graphs, generator)

        def draw() -> tuple[dict[str, Tensor], Tensor]:
            _, risk, importance = once()
            return importance, risk

        return spread_over_draws(draw, n_draws)

    def draws(self, graphs: Mapping[str, GraphBatch], generator: torch.Generator, n_draws: int) -> Draws:
        """Return embedding and risk at draws of s from q(s); call it in eval mode."""
        once = self._drawing(graphs, generator)
        drawn = [once()[:2] for _ in range(n_draws)]
        embeddings, risks = zip(*drawn, strict=True)
        return Draws(torch.stack(embeddings), torch.stack(risks))

    def _drawing(
        self, graphs: Mapping[str, GraphBatch], generator: torch.Generator
    ) -> Callable[[], tuple[Tensor, Tensor, dict[str, Tensor]]]:
        """Return what gives embedding, risk and importance at a new draw each time it is called."""
        posteriors = {name: self._posterior(name, graphs[name]) for name in self.embedding_sizes}
        return lambda: self._weighted(self._gates(posteriors, graphs, generator), posteriors, graphs)

    def _weighted(
        self, gates: Mapping[str, Tensor], posteriors: Mapping[str, ModalityPosterior], graphs: Mapping[str, GraphBatch]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return embedding, risk and importance under given gates."""
        embedding = torch.cat(
            [
                segment_sum(gates[name].unsqueeze(1) * posterior.values, posterior.subject, graphs[name].n_subjects)
                for name, posterior in posteriors.items()
            ],
            dim=1,
        )
        importance = {}
        for name, posterior in posteriors.items():
            share = self._share(gates[name], posterior, graphs[name].n_subjects)
            importance[name] = importance_of_all_nodes(share, posterior.kept, posterior.stages, graphs[name])
        if self.settings.smooth_importance:
            importance = {name: smoothed_over_neighbours(value, graphs[name]) for name, value in importance.items()}
        return embedding, self.predictor(embedding).squeeze(1), importance

    def _share(self, gate: Tensor, posterior: ModalityPosterior, n_subjects: int) -> Tensor:
        """Return the gate as shares of one modality, whose importance sums to one: a joint gate sums to less."""
        gate = gate.detach()
        if self.settings.gate == "per_modality":
            return gate
        total = segment_sum(gate, posterior.subject, n_subjects)
        return gate / total.clamp(min=torch.finfo(gate.dtype).tiny)[posterior.subject]

    def _key(self, modality: str) -> str:
        return "shared" if self.settings.shared_networks else modality

    def _posterior(self, modality: str, graph: GraphBatch) -> ModalityPosterior:
        nodes = self._kept_nodes(modality, graph)
        second = nodes.stages[1]
        encoder = cast(GatedAttention, self.encoders[self._key(modality)])
        seen = second.features
        if self.settings.gate_sees == "graph_and_node":
            seen = torch.cat([seen, cast(Tensor, nodes.branch).to(seen.dtype)], dim=1)
        if self.settings.centred_gate:
            seen = centred(seen, second.subject, graph.n_subjects)
        parameters = widened(encoder(seen))
        if not self.settings.node_variance:
            parameters = torch.stack([parameters[:, 0], encoder.output.bias[1].expand(len(parameters))], dim=1)
        log_variance = parameters[:, 1].clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        values = second.features if self.settings.aggregate == "pooled" else widened(cast(Tensor, nodes.branch))
        mu = self._mean(parameters[:, 0], second.edge_index)
        return ModalityPosterior(nodes.stages, nodes.kept, values, mu, log_variance)

    def _kept_nodes(self, modality: str, graph: GraphBatch) -> KeptNodes:
        """Pool some subjects at a time, so that branch features of all nodes are never held together."""
        uses_branch = self.settings.gate_sees == "graph_and_node" or self.settings.aggregate == "branch"
        parts, sizes = [], []
        most = GROUP_VALUES_BFLOAT16 if graph.parts[0].dtype == torch.bfloat16 else GROUP_VALUES
        for group in graph.groups(most // self.settings.hidden):
            hidden = self.branches[modality](group.parts)
            first, second = self.poolings[modality](hidden, group)
            kept = first.kept[second.kept]
            stages = (replace(first, features=first.features.new_empty((0, first.features.shape[1]))), second)
            parts.append(KeptNodes(stages, kept, take_rows(hidden, kept) if uses_branch else None))
            sizes.append(group.n_nodes)
        return joined(parts, sizes)

    def _mean(self, output: Tensor, edge_index: Tensor) -> Tensor:
        r"""Return the mean of q(s): :math:`m / \sqrt{1 + (m / limit)^2}`, m = a or sinh(a), a the smoothed output."""
        settings = self.settings
        if settings.smooth_posterior:
            output = neighbourhood_mean(output, edge_index)
        mu = torch.sinh(output.clamp(-SINH_LIMIT, SINH_LIMIT)) if settings.link == "sinh" else output
        if settings.posterior_mean_limit is None:
            return mu
        return mu * (1.0 + (mu / settings.posterior_mean_limit) ** 2).rsqrt()

    def _gates(
        self,
        posteriors: Mapping[str, ModalityPosterior],
        graphs: Mapping[str, GraphBatch],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return the normalised inverse precision of every kept node; at one draw of s if given a generator."""
        n_subjects = next(iter(graphs.values())).n_subjects
        segments = [
            item.subject + (0 if self.settings.gate == "joint" else index * n_subjects)
            for index, item in enumerate(posteriors.values())
        ]
        mu = torch.cat([item.mu for item in posteriors.values()])
        log_variance = torch.cat([item.log_variance for item in posteriors.values()])
        groups = (torch.cat(segments), n_subjects * len(posteriors))
        if generator is None:
            moment = second_moment(mu, log_variance, self.prior)
            gate = normalised_inverse_precision(moment, self.prior, *groups)
        else:
            gate = sampled_gate(mu, log_variance, self.prior, *groups, generator)
        return dict(zip(posteriors, torch.split(gate, [len(item.mu) for item in posteriors.values()]), strict=True))

    def _penalties(
        self, posteriors: Mapping[str, ModalityPosterior], graphs: Mapping[str, GraphBatch]
    ) -> dict[str, Tensor]:
        settings = self.settings
        # Of the whole batch, so that the penalties of its chunks add up.
        kept = {name: self._n_kept(name, graph) for name, graph in graphs.items()}
        n_subjects = len(next(iter(graphs.values())).whole)
        summed = settings.reduction == "sum"
        divergence = torch.cat(
            [collapsed_divergence(item.mu, item.log_variance, self.prior) for item in posteriors.values()]
        )
        count = n_subjects if summed else max(sum(kept.values()), 1)
        penalties = {"kl": settings.kl_weight * divergence.sum() / count}
        if settings.reconstruction_weight > 0:
            terms = []
            for name, posterior in posteriors.items():
                likelihood = self._reconstruction(name, posterior, graphs[name])
                size = graphs[name].n_features * max(kept[name], 1)
                terms.append(-likelihood / (n_subjects if summed else size))
            penalties["reconstruction"] = settings.reconstruction_weight * torch.stack(terms).sum()
        return penalties

    def _n_kept(self, modality: str, graph: GraphBatch) -> int:
        """Return how many nodes of the whole batch both poolings leave."""
        counts = graph.whole
        for _ in range(2):
            counts = kept_counts(counts, getattr(self.settings.pool_ratio, modality), self.settings.minimum_nodes)
        return int(counts.sum())

    def _reconstruction(self, modality: str, posterior: ModalityPosterior, graph: GraphBatch) -> Tensor:
        """Return the sum of ln p(X|s) over the kept nodes at one sample of s."""
        sample = sample_importance(posterior.mu, posterior.log_variance)
        if not self.settings.reparameterised:
            sample = sample.detach()
        decoder = self.decoder_trunks[self._key(modality)]
        hidden, weight, bias = decoder(sample, posterior.stages[1].edge_index, self.decoder_outputs[modality])
        error = squared_error(graph, posterior.kept, hidden, weight, bias)
        return log_likelihood_of_error(error, len(sample) * graph.n_features, self.settings.reconstruction_precision)
