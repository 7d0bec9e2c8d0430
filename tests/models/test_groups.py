import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparra.models.batch import GraphBatch
from sparra.models.registry import aggregators


def batch(sizes, n_features=4, seed=0, in_parts=False):
    """Random graphs, edges in no order."""
    generator = torch.Generator().manual_seed(seed)
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    pairs = {
        (start + int(a), start + int(b))
        for start, size in zip(starts, sizes, strict=True)
        if size > 1
        for a, b in torch.randint(size, (2 * size, 2), generator=generator)
        if a != b
    }
    edges = torch.tensor(sorted(pairs | {(b, a) for a, b in pairs})).reshape(-1, 2).t()
    edges = edges[:, torch.randperm(edges.shape[1], generator=generator)]
    features = torch.randn(sum(sizes), n_features, generator=generator)
    subject = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return GraphBatch(features.split(sizes) if in_parts else features, edges, subject, len(sizes))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(1, 20), st.booleans())
def test_groups_hold_every_node_and_edge_once_and_no_subject_is_cut(sizes, most, in_parts):
    whole = batch(sizes, in_parts=in_parts)
    groups = list(whole.groups(most))
    assert torch.equal(torch.cat([group.features for group in groups]), whole.features)
    assert torch.equal(torch.cat([group.subject for group in groups]), whole.subject)
    starts = [0, *torch.tensor([group.n_nodes for group in groups]).cumsum(0).tolist()]
    edges = [group.edge_index + start for group, start in zip(groups, starts, strict=False)]
    assert set(map(tuple, torch.cat(edges, dim=1).t().tolist())) == set(map(tuple, whole.edge_index.t().tolist()))
    assert sum(edge.shape[1] for edge in edges) == whole.edge_index.shape[1]
    present = [set(group.subject.tolist()) for group in groups]
    assert sum(map(len, present)) == len(set().union(*present))
    for group, members in zip(groups, present, strict=True):
        assert group.n_subjects == len(sizes)
        assert group.n_nodes <= most or len(members) == 1


def test_groups_do_not_copy_features():
    whole = batch([5, 3, 4], in_parts=True)
    pointers = {part.data_ptr() for part in whole.parts}
    assert {part.data_ptr() for group in whole.groups(4) for part in group.parts} == pointers


@pytest.mark.parametrize("values", [{}, {"minimum_nodes": 1}, {"preset": "paper"}, {"preset": "released"}])
@pytest.mark.parametrize("most", [1, 20])
def test_groups_change_neither_outputs_nor_gradients(values, most, monkeypatch):
    # Of these seeds no two nodes of a pooled graph have the same neighbours: such twins have one score but for the last
    # digits, which hang on how many rows a matrix product has, and which of the two is kept hangs on those.
    graphs = {
        "ct": batch([0, 30, 7, 1, 0, 12], seed=1),
        "slide": batch([25, 0, 9, 40, 3, 1], n_features=5, seed=2),
    }
    entry = aggregators["sparra"]
    still = {"hidden": 16, "pooled": 8, "encoder": 8, "dropout": 0.0, "encoder_dropout": 0.0, **values}
    torch.manual_seed(0)
    model = entry.build({"ct": 4, "slide": 5}, entry.settings(**still)).train()
    monkeypatch.setattr("sparra.models.sparra.sample_importance", lambda mu, log_variance: mu)
    found = []
    for limit in (2**16, most):
        monkeypatch.setattr("sparra.models.sparra.GROUP_VALUES", limit * 16)
        model.zero_grad()
        output = model(graphs)
        loss = (output.risk * torch.arange(6)).sum() + torch.stack(list(output.penalties.values())).sum()
        torch.autograd.backward(loss)
        gradient = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        found.append((output, gradient))
    (whole, expected), (grouped, gradient) = found
    torch.testing.assert_close(grouped.risk, whole.risk)
    torch.testing.assert_close(grouped.embedding, whole.embedding)
    torch.testing.assert_close(dict(grouped.importance), dict(whole.importance))
    torch.testing.assert_close(dict(grouped.penalties), dict(whole.penalties))
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
