from itertools import pairwise

import numpy as np
import pytest
import torch

from sparra.models import kernels, relu_kernels
from sparra.models.batch import GraphBatch
from sparra.models.branch import FeatureBranch
from sparra.models.fused import Neighbours, drop_in_place, dropout_lanes, gated_product, kept_rows
from sparra.models.layers import GatedAttention, GraphConvolution, TopKPooling, normalised_adjacency, top_k_nodes
from sparra.models.reconstruction import squared_error
from sparra.models.stage import best_nodes, pool_convolved
from sparra.models.threads import n_workers, small_work_alone


def random_graph(sizes, n_features, seed=0, probability=0.2):
    generator = torch.Generator().manual_seed(seed)
    n = sum(sizes)
    subject = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    drawn = torch.rand(n, n, generator=generator) < probability
    linked = torch.triu(drawn & (subject[:, None] == subject[None, :]), diagonal=1)
    return torch.randn(n, n_features, generator=generator), (linked | linked.T).nonzero().T, subject, generator


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.5, 0.25, 0.3])
def test_dropout_keeps_the_rate_independently_by_place(rate, dtype):
    bits, threshold = dropout_lanes(rate)
    assert threshold / 2**bits == pytest.approx(rate, abs=2**-17)
    values = torch.ones(2000, 65, dtype=dtype)
    drop_in_place(values, bits, threshold, 1)
    kept = (values > 0).double()
    error = np.sqrt(rate * (1 - rate) / kept.numel())
    assert abs(float(kept.mean()) - (1 - rate)) < 4 * error
    assert abs(kept.mean(dim=0) - (1 - rate)).max() < 5 * error * np.sqrt(65)
    centred = kept.flatten() - kept.mean()
    for lag in (1, 2, 4, 8, 16, 63, 64, 65):
        correlation = float((centred[lag:] * centred[:-lag]).mean() / centred.var())
        assert abs(correlation) < 5 / np.sqrt(kept.numel())
    again = torch.ones(2000, 65, dtype=dtype)
    drop_in_place(again, bits, threshold, 2)
    assert not torch.equal(again, values)


def test_dropout_does_not_depend_on_the_threads():
    one, two = torch.ones(5000, 64), torch.ones(5000, 64)
    for values, cuts in ((one, [0, 5000]), (two, [0, 1234, 5000])):
        bits = kernels.as_bits(values).reshape(-1)
        for first, last in pairwise(cuts):
            kernels.drop(first, last, bits, 7, 1, 1, kernels.BIT_MASKS.astype(np.int32))
    assert torch.equal(one, two)


@pytest.mark.parametrize("sizes", [[3000, 10, 20], [0], [5, 0, 7]])
def test_branch_and_its_gradients_match_torch(sizes):
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(size, 12, generator=generator) for size in sizes]
    branch = FeatureBranch(12, 70, 0.5).eval()
    output = branch(parts)
    expected = torch.relu(torch.cat(parts) @ branch[0].weight.T + branch[0].bias)
    torch.testing.assert_close(output, expected)
    weights = torch.randn(output.shape, generator=generator)
    ours = torch.autograd.grad((output * weights).sum(), list(branch.parameters()))
    plain = torch.autograd.grad((expected * weights).sum(), list(branch.parameters()))
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)


def test_dropped_units_have_no_gradient_and_kept_ones_are_scaled():
    torch.manual_seed(0)
    features = torch.randn(400, 12)
    branch = FeatureBranch(12, 64, 0.25).train()
    output = branch(features)
    plain = torch.relu(branch[0](features)).detach()
    kept = output > 0
    torch.testing.assert_close(output[kept], plain[kept] / 0.75)
    assert float(kept.sum() / (plain > 0).sum()) == pytest.approx(0.75, abs=0.02)
    bias, weight = torch.autograd.grad(output.sum(), [branch[0].bias, branch[0].weight])
    torch.testing.assert_close(bias, kept.sum(dim=0) / 0.75)
    torch.testing.assert_close(weight, kept.float().T @ features / 0.75, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("sparse", [False, True])
def test_kept_rows_match_the_dense_product(sparse):
    features, edges, _, generator = random_graph([30, 1, 50], 12)
    kept = torch.tensor([0, 3, 29, 30, 44, 80])
    branch = FeatureBranch(12, 9, 0.0)
    dense = torch.zeros(81, 81)
    dense[edges[0], edges[1]] = 1
    dense += torch.eye(81)
    root = dense.sum(1).rsqrt()
    normal = root[:, None] * dense * root[None, :]
    weights = torch.randn(6, 9, generator=generator)
    results = []
    for product in (
        lambda hidden: kept_rows(hidden, Neighbours.of(edges, 81), kept, sparse),
        lambda hidden: (normal @ hidden)[kept],
    ):
        out = product(branch(features))
        results.append([out, *torch.autograd.grad((out * weights).sum(), list(branch.parameters()))])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("soft", [False, True])
def test_stage_matches_convolution_and_pooling(soft):
    features, edges, subject, generator = random_graph([30, 1, 50, 0, 12], 12)
    branch, convolution = FeatureBranch(12, 16, 0.0), GraphConvolution(16, 8)
    torch.nn.init.normal_(convolution.bias, generator=generator)
    pooling = TopKPooling(8, 0.4, 2, soft)
    parameters = [*branch.parameters(), *convolution.parameters(), *pooling.parameters()]
    fast = pool_convolved(convolution, pooling, branch(features), edges, subject, 5, from_branch=True)
    adjacency = normalised_adjacency(edges, 93, torch.float32)
    plain = pooling(convolution(branch(features), adjacency), edges, subject, 5)
    assert torch.equal(fast.kept, plain.kept)
    assert torch.equal(fast.subject, plain.subject)
    assert torch.equal(fast.edge_index, plain.edge_index)
    torch.testing.assert_close(fast.score, plain.score)
    torch.testing.assert_close(fast.features, plain.features)
    weights = torch.randn(fast.features.shape, generator=generator)
    ours = torch.autograd.grad((fast.features * weights).sum(), parameters)
    expected = torch.autograd.grad((plain.features * weights).sum(), parameters)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_best_nodes_are_the_sorted_ones_even_with_ties():
    generator = torch.Generator().manual_seed(0)
    subject = torch.repeat_interleave(torch.arange(5), torch.tensor([7, 0, 40, 1, 100]))
    for levels in (3, 1000):
        score = torch.randint(levels, (148,), generator=generator).float()
        for ratio in (0.1, 0.5, 1.0):
            found = best_nodes(score, subject, 5, ratio, 2)
            assert torch.equal(found, top_k_nodes(score, subject, 5, ratio, 2))


def test_gated_attention_matches_the_plain_layers():
    layer = GatedAttention(6, 10, 2, 0.0)
    fast_in = torch.randn(15, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    plain = layer.double()(fast_in.double())
    expected = torch.autograd.grad(plain.sum(), [fast_in, *layer.parameters()])
    layer.float()
    output = layer(fast_in)
    torch.testing.assert_close(output, plain.float())
    found = torch.autograd.grad(output.sum(), [fast_in, *layer.parameters()])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs.float(), atol=1e-5, rtol=1e-5)


def test_dropout_of_gated_attention_is_on_both_arms_and_scaled_for_both():
    torch.manual_seed(0)
    layer = GatedAttention(6, 64, 2, 0.25).train()
    features = torch.randn(400, 6, requires_grad=True)
    product = gated_product(features, layer.tanh_arm, layer.sigmoid_arm, 0.25)
    arms = torch.tanh(layer.tanh_arm(features)), torch.sigmoid(layer.sigmoid_arm(features))
    kept = (product != 0).detach()
    assert float(kept.float().mean()) == pytest.approx(0.75**2, abs=0.01)
    expected = kept * arms[0] * arms[1] / 0.75**2
    torch.testing.assert_close(product, expected)
    inputs = [features, *layer.tanh_arm.parameters(), *layer.sigmoid_arm.parameters()]
    ours, plain = (torch.autograd.grad((value**2).sum(), inputs) for value in (product, expected))
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_squared_error_and_its_gradients_match_the_definition():
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, 7, dtype=torch.float64, generator=generator) for n in (5, 0, 8)]
    graph = GraphBatch(parts, torch.zeros((2, 0), dtype=torch.int64), torch.tensor([0] * 5 + [2] * 8), 3)
    kept = torch.tensor([1, 4, 5, 12])
    inputs = [torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((4, 3), (7, 3), (7,))]
    inputs = [value.requires_grad_() for value in inputs]
    hidden, weight, bias = inputs
    expected = ((torch.cat(parts)[kept] - hidden @ weight.T - bias) ** 2).sum()
    found = squared_error(graph, kept, hidden, weight, bias)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found * 3, inputs), torch.autograd.grad(expected * 3, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


UNIT = 2.0**-8  # bfloat16 rounds by at most this share


def test_bias_relu_and_selection_of_bfloat16_equal_torch_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(50, 37, generator=generator).bfloat16()
    bias = torch.randn(37, generator=generator)
    found = values.clone()
    relu_kernels.add_bias_relu_bits(kernels.as_array(found), kernels.as_array(bias))
    assert torch.equal(found, torch.relu(values.float() + bias).bfloat16())
    single = values.float()
    relu_kernels.add_bias_relu(kernels.as_array(single), kernels.as_array(bias))
    assert torch.equal(single, torch.relu(values.float() + bias))
    rows = torch.tensor([0, 3, 49])
    gradient = torch.randn(3, 37, generator=generator).bfloat16()
    for pick, dtype in ((relu_kernels.where_packed_bits, torch.bfloat16), (relu_kernels.where_packed, torch.float32)):
        given, out, sums = gradient.to(dtype), torch.empty(3, 37, dtype=dtype), torch.zeros(37)
        packed = np.full((50, 5), 255, dtype=np.uint8)
        relu_kernels.pack_positive(kernels.as_bits(values.to(dtype)), packed)
        masks = kernels.BIT_MASKS.astype(kernels.as_bits(given).dtype)
        pick(kernels.as_bits(given), packed, rows.numpy(), masks, kernels.as_bits(out), sums.numpy())
        assert torch.equal(out, torch.where(values[rows] > 0, given, 0.0))
        torch.testing.assert_close(sums, out.float().sum(dim=0))


def test_nan_stays_nan():
    values, bias = torch.tensor([[float("nan"), 1.0]]), torch.zeros(2)
    for dtype, kernel in (
        (torch.float32, relu_kernels.add_bias_relu),
        (torch.bfloat16, relu_kernels.add_bias_relu_bits),
    ):
        found = values.to(dtype)
        kernel(kernels.as_array(found), kernels.as_array(bias))
        assert found.isnan().tolist() == [[True, False]]


@pytest.mark.parametrize("kept", [[0, 3, 29, 30, 44, 80], list(range(81))])
def test_bfloat16_branch_and_rows_are_rounded_where_they_should_and_nowhere_else(kept):
    """Against float64 with the same rounded inputs; each result may be off by the roundings on its way."""
    features, edges, _, generator = random_graph([30, 1, 50], 12)
    features, kept = features.bfloat16(), torch.tensor(kept)
    branch = FeatureBranch(12, 40, 0.0)
    weight, bias = branch[0].weight.detach().bfloat16().double(), branch[0].bias.detach().double()
    dense = torch.eye(81, dtype=torch.float64)
    dense[edges[0], edges[1]] = 1
    normal = dense.sum(1).rsqrt()[:, None] * dense * dense.sum(1).rsqrt()[None, :]
    gradient = torch.randn(len(kept), 40, generator=generator).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        hidden = branch(features)
        rows = kept_rows(hidden, Neighbours.of(edges, 81), kept, True)
        found, found_bias = torch.autograd.grad(rows, [branch[0].weight, branch[0].bias], gradient)
    exact = torch.relu(features.double() @ weight.T + bias)
    size = features.double().abs() @ weight.abs().T + bias.abs()
    # The product and the sum with the bias are rounded, each once.
    assert bool(((hidden.double() - exact).abs() <= 2 * UNIT * size).all())
    exact_rows = (normal @ hidden.double())[kept]
    assert bool(((rows.double() - exact_rows).abs() <= 1.01 * UNIT * exact_rows.abs()).all())
    spread = normal[:, kept] @ gradient.double() * (hidden > 0)
    expected = spread.T @ features.double()
    # Rows of the gradient are rounded, and the product's sum.
    bound = spread.abs().T @ features.double().abs() * UNIT + expected.abs() * UNIT
    assert bool(((found.double() - expected).abs() <= 1.01 * bound + 1e-6).all())
    assert bool(((found_bias.double() - spread.sum(0)).abs() <= 1.01 * UNIT * spread.abs().sum(0) + 1e-6).all())


def test_kept_rows_of_bfloat16_are_float32_where_nothing_asks_for_less():
    features, edges, _, _ = random_graph([9], 4)
    assert kept_rows(features.bfloat16(), Neighbours.of(edges, 9), torch.arange(9), False).dtype == torch.float32


@pytest.mark.parametrize("threads", [1, 3])
def test_results_do_not_depend_on_the_threads(threads, monkeypatch):
    for module in ("branch", "reconstruction", "fused"):
        monkeypatch.setattr(f"sparra.models.{module}.PIECE_ROWS", 16)
    monkeypatch.setattr("sparra.models.branch.JOINED_ROWS", 8)
    features, _, subject, _ = random_graph([30, 1, 50], 12)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        branch = FeatureBranch(12, 40, 0.25).train()
        graph = GraphBatch(list(features.split([30, 1, 50])), torch.zeros((2, 0), dtype=torch.int64), subject, 3)
        hidden = branch(graph.parts)
        weight, bias = torch.ones(12, 40) / 40, torch.zeros(12)
        error = squared_error(graph, torch.arange(81), hidden, weight, bias)
        attended = GatedAttention(40, 10, 2, 0.25).train()(hidden)
        result = [attended, hidden, error, *torch.autograd.grad(error, list(branch.parameters()))]
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    torch.manual_seed(0)
    branch = FeatureBranch(12, 40, 0.25).train()
    hidden = branch(graph.parts)
    error = squared_error(graph, torch.arange(81), hidden, weight, bias)
    attended = GatedAttention(40, 10, 2, 0.25).train()(hidden)
    expected = [attended, hidden, error, *torch.autograd.grad(error, list(branch.parameters()))]
    for ours, theirs in zip(result, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_small_work_is_left_one_thread_and_large_work_all():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with small_work_alone(), small_work_alone():
            assert torch.get_num_threads() == 1
            assert n_workers() == 3
        assert torch.get_num_threads() == n_workers() == 3
    finally:
        torch.set_num_threads(before)
