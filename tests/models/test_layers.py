import pytest
import torch

from sparra.models.layers import (
    GraphConvolution,
    TopKPooling,
    induced_edges,
    normalised_adjacency,
    segment_softmax,
    segment_sum,
    top_k_nodes,
)

pyg = pytest.importorskip("torch_geometric.nn")


def random_batch(sizes, seed=0, edge_probability=0.3):
    """Undirected random graphs, one subject after the other, edges sorted by source and target."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(sizes)
    subject = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    drawn = torch.rand(n, n, generator=generator) < edge_probability
    linked = torch.triu(drawn & (subject[:, None] == subject[None, :]), diagonal=1)
    return (linked | linked.T).nonzero().T, subject, generator


def test_segment_sum_and_softmax_match_loops():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    logits = torch.randn(9, generator=generator, dtype=torch.float64) * 500
    segment = torch.tensor([0, 0, 1, 1, 1, 3, 3, 3, 3])
    for index in range(4):
        inside = segment == index
        torch.testing.assert_close(segment_sum(values, segment, 4)[index], values[inside].sum(0))
        torch.testing.assert_close(segment_softmax(logits, segment, 4)[inside], torch.softmax(logits[inside], dim=0))


@pytest.mark.parametrize("shuffled", [False, True])
def test_convolution_and_its_gradients_match_torch_geometric(shuffled):
    edges, _, generator = random_batch([7, 1, 12])
    if shuffled:
        edges = edges[:, torch.randperm(edges.shape[1], generator=generator)]
    ours = GraphConvolution(5, 4).double()
    torch.nn.init.normal_(ours.bias, generator=generator)
    reference = pyg.GCNConv(5, 4).double()
    reference.lin.weight.data = ours.weight.data.T.clone()
    reference.bias.data = ours.bias.data.clone()
    features = torch.randn(20, 5, dtype=torch.float64, generator=generator)
    ours_in, reference_in = features.clone().requires_grad_(), features.clone().requires_grad_()
    output = ours(ours_in, normalised_adjacency(edges, 20, torch.float64))
    expected = reference(reference_in, edges)
    torch.testing.assert_close(output, expected)
    weights = torch.randn(output.shape, dtype=torch.float64, generator=generator)
    (output * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours_in.grad, reference_in.grad)
    torch.testing.assert_close(ours.weight.grad, reference.lin.weight.grad.T)
    torch.testing.assert_close(ours.bias.grad, reference.bias.grad)


@pytest.mark.parametrize("n_nodes", [0, 3])
def test_convolution_without_edges_is_linear(n_nodes):
    layer = GraphConvolution(5, 4)
    features = torch.randn(n_nodes, 5, generator=torch.Generator().manual_seed(0))
    adjacency = normalised_adjacency(torch.zeros((2, 0), dtype=torch.int64), n_nodes, torch.float32)
    torch.testing.assert_close(layer(features, adjacency), features @ layer.weight + layer.bias)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.7])
def test_pooling_matches_torch_geometric(ratio):
    edges, subject, generator = random_batch([10, 1, 15, 23])
    ours = TopKPooling(6, ratio, minimum_nodes=1).double()
    reference = pyg.TopKPooling(6, ratio=ratio).double()
    reference.select.weight.data = ours.projection.data.clone().unsqueeze(0)
    features = torch.randn(49, 6, dtype=torch.float64, generator=generator)
    pooled = ours(features, edges, subject, 4)
    x, edge_index, _, batch, perm, _ = reference(features, edges, batch=subject)
    order = perm.argsort()
    torch.testing.assert_close(pooled.kept, perm[order])
    torch.testing.assert_close(pooled.features, x[order])
    torch.testing.assert_close(pooled.subject, batch[order])
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    assert set(map(tuple, pooled.edge_index.T.tolist())) == set(map(tuple, place[edge_index].T.tolist()))


def test_floor_keeps_small_graphs_whole_and_never_invents_nodes():
    subject = torch.repeat_interleave(torch.arange(4), torch.tensor([3, 0, 8, 40]))
    score = torch.rand(51, generator=torch.Generator().manual_seed(0))
    kept = top_k_nodes(score, subject, 4, ratio=0.25, minimum_nodes=8)
    assert torch.bincount(subject[kept], minlength=4).tolist() == [3, 0, 8, 10]
    assert set(kept[-10:].tolist()) == set((score[11:].topk(10).indices + 11).tolist())


def test_ties_go_to_the_first_nodes():
    subject = torch.repeat_interleave(torch.arange(2), torch.tensor([6, 5]))
    kept = top_k_nodes(torch.zeros(11), subject, 2, ratio=0.5, minimum_nodes=1)
    assert kept.tolist() == [0, 1, 2, 6, 7, 8]


@pytest.mark.parametrize(
    ("ratio", "n_nodes", "expected"), [(0.2, 5, 1), (0.2, 15, 3), (0.2, 16, 4), (0.2, 35, 7), (0.07, 100, 7)]
)
def test_number_kept_is_the_exact_ceiling(ratio, n_nodes, expected):
    kept = top_k_nodes(torch.rand(n_nodes), torch.zeros(n_nodes, dtype=torch.int64), 1, ratio, 1)
    assert len(kept) == expected


def test_induced_edges_are_those_between_kept_nodes():
    edges = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
    assert induced_edges(edges, torch.tensor([1, 2, 4]), 5).tolist() == [[0, 1], [1, 0]]
