"""The yardstick of `train_step`: the released joint model, written plainly with torch_geometric and nn.Dropout."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, TopKPooling
from torch_geometric.utils import scatter

HIDDEN, POOLED, ENCODER = 256, 128, 256
RATIOS = {"ct": 0.7, "slide": 0.2}
PRIOR_MEAN, PRIOR_SCALE, PRIOR_SHAPE, PRIOR_RATE = 0.0, 1.0, 2.0, 1e-2
KL_WEIGHT, RECONSTRUCTION_WEIGHT = 0.1, 1e-4


class PlainPooling(nn.Module):
    """GCNConv and TopKPooling, twice."""

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([GCNConv(HIDDEN, POOLED), GCNConv(POOLED, POOLED)])
        self.poolings = nn.ModuleList([TopKPooling(POOLED, ratio=ratio) for _ in range(2)])

    def forward(self, hidden: Tensor, edge_index: Tensor, batch: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return kept features, their edges, their subjects and their indices among all nodes."""
        kept = torch.arange(len(hidden))
        for convolution, pooling in zip(self.convolutions, self.poolings, strict=True):
            hidden = convolution(hidden, edge_index)
            hidden, edge_index, _, batch, chosen, _ = pooling(hidden, edge_index, batch=batch)
            kept = kept[chosen]
        return hidden, edge_index, batch, kept


class PlainSparra(nn.Module):
    """The released model (commit 4f5f320) and its three losses.

    Parameters
    ----------
    feature_dims : mapping of modality to int
    dropout, encoder_dropout : float
    sample : bool
        Whether the reconstruction draws s, or takes its mean (to compare results).
    """

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        dropout: float = 0.5,
        encoder_dropout: float = 0.25,
        sample: bool = True,
    ) -> None:
        super().__init__()
        self.sample = sample
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(size, HIDDEN), nn.ReLU(), nn.Dropout(dropout))
                for name, size in feature_dims.items()
            }
        )
        self.pools = nn.ModuleDict({name: PlainPooling(RATIOS[name]) for name in feature_dims})
        self.tanh_arm = nn.Sequential(nn.Linear(POOLED, ENCODER), nn.Tanh(), nn.Dropout(encoder_dropout))
        self.sigmoid_arm = nn.Sequential(nn.Linear(POOLED, ENCODER), nn.Sigmoid(), nn.Dropout(encoder_dropout))
        self.posterior = nn.Linear(ENCODER, 2)
        self.predictor = nn.Linear(POOLED * len(feature_dims), 1)
        self.expand = nn.Sequential(nn.Linear(1, POOLED), nn.ReLU())
        self.decoder_convolution = GCNConv(POOLED, HIDDEN)
        self.mix = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN))
        self.outputs = nn.ModuleDict({name: nn.Linear(HIDDEN, size) for name, size in feature_dims.items()})

    def forward(
        self, features: Mapping[str, Tensor], edges: Mapping[str, Tensor], batches: Mapping[str, Tensor], n: int
    ) -> tuple[Tensor, Tensor]:
        """Return the risk of n subjects, shape (n,), and the weighted penalties."""
        pooled, moments, log_variances, subjects, reconstruction = [], [], [], [], []
        for name in features:
            hidden = self.branches[name](features[name])
            nodes, edge_index, batch, kept = self.pools[name](hidden, edges[name], batches[name])
            mu, log_variance = self.posterior(self.tanh_arm(nodes) * self.sigmoid_arm(nodes)).unbind(dim=1)
            log_variance = log_variance.clamp(-20, 20)
            s = mu + torch.exp(0.5 * log_variance) * torch.randn_like(mu) if self.sample else mu
            trunk = self.mix(self.decoder_convolution(self.expand(s.detach().unsqueeze(1)), edge_index))
            reconstruction.append(nn.functional.mse_loss(self.outputs[name](trunk), features[name][kept]))
            pooled.append(nodes)
            moments.append((mu - PRIOR_MEAN) ** 2 + log_variance.exp())
            log_variances.append(log_variance)
            subjects.append(batch)
        moment, log_variance, subject = torch.cat(moments), torch.cat(log_variances), torch.cat(subjects)
        inverse = (2 * PRIOR_RATE + PRIOR_SCALE * moment) / (2 * PRIOR_SHAPE + 1)
        gate = inverse / scatter(inverse, subject, dim_size=n)[subject]
        gates = torch.split(gate, [len(part) for part in moments])
        embedding = torch.cat(
            [
                scatter(weight.unsqueeze(1) * nodes, batch, dim_size=n)
                for weight, nodes, batch in zip(gates, pooled, subjects, strict=True)
            ],
            dim=1,
        )
        divergence = 0.5 * (PRIOR_SCALE * moment / inverse.detach() - log_variance).mean()
        penalties = KL_WEIGHT * divergence + RECONSTRUCTION_WEIGHT * torch.stack(reconstruction).sum()
        return self.predictor(embedding).squeeze(1), penalties


def plain_cox(risk: Tensor, time: Tensor, event: Tensor) -> Tensor:
    """Mean negative log partial likelihood (Breslow) of untied times."""
    order = torch.argsort(time, descending=True)
    risk, event = risk[order], event[order]
    return ((torch.logcumsumexp(risk, dim=0) - risk) * event).sum() / len(risk)
