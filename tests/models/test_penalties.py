"""The penalties of a training step against their definitions, node by node."""

import pytest
import torch

from sparra.models.batch import GraphBatch
from sparra.models.layers import normalised_adjacency
from sparra.models.objective import collapsed_divergence, gaussian_log_likelihood
from sparra.models.registry import aggregators

SIZES = {"ct": [7, 0, 12], "slide": [25, 9, 0]}
DIMS = {"ct": 6, "slide": 9}


def chains(sizes, n_features, seed):
    subject = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    first = torch.arange(len(subject) - 1)
    first = first[subject[first] == subject[first + 1]]
    edges = torch.cat([torch.stack([first, first + 1]), torch.stack([first + 1, first])], dim=1)
    features = torch.randn(len(subject), n_features, generator=torch.Generator().manual_seed(seed))
    return GraphBatch(features, edges[:, torch.argsort(edges[0], stable=True)], subject, len(sizes))


def decoded(model, name, posterior):
    """The decoder's output layer by layer."""
    trunk = model.decoder_trunks["shared" if model.settings.shared_networks else name]
    hidden = trunk.expand(posterior.mu.unsqueeze(1))
    adjacency = normalised_adjacency(posterior.stages[1].edge_index, len(hidden), hidden.dtype)
    return model.decoder_outputs[name](trunk.mix(trunk.convolution(hidden, adjacency)))


@pytest.mark.parametrize("preset", ["default", "paper", "released"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_penalties_are_minus_the_bound_without_the_cox_term(preset, reduction, monkeypatch):
    monkeypatch.setattr("sparra.models.sparra.sample_importance", lambda mu, log_variance: mu)
    entry = aggregators["sparra"]
    values = {"reduction": reduction, "kl_weight": 0.3, "reconstruction_weight": 0.7, "reconstruction_precision": 0.5}
    still = {"hidden": 16, "pooled": 8, "encoder": 8, "dropout": 0.0, "encoder_dropout": 0.0}
    torch.manual_seed(0)
    model = entry.build(DIMS, entry.settings(preset=preset, **values, **still)).train()
    graphs = {name: chains(SIZES[name], DIMS[name], seed) for seed, name in enumerate(DIMS)}
    found = model(graphs).penalties
    posteriors = {name: model._posterior(name, graph) for name, graph in graphs.items()}
    divergence = torch.cat([collapsed_divergence(p.mu, p.log_variance, model.prior) for p in posteriors.values()])
    likelihood = {
        name: gaussian_log_likelihood(graphs[name].features[p.kept], decoded(model, name, p), 0.5)
        for name, p in posteriors.items()
    }
    if reduction == "sum":  # Over nodes, a subject.
        expected = [divergence.sum() / 3, -sum(value.sum() for value in likelihood.values()) / 3]
    else:  # Over nodes and features, a modality.
        expected = [divergence.mean(), -sum(value.mean() / DIMS[name] for name, value in likelihood.items())]
    torch.testing.assert_close(found["kl"], 0.3 * expected[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found["reconstruction"], 0.7 * expected[1], rtol=1e-4, atol=1e-6)
