from dataclasses import replace

import pytest
import torch

from sparra.models.batch import GraphBatch
from sparra.models.importance import importance_of_all_nodes, neighbourhood_mean, smoothed_over_neighbours
from sparra.models.layers import PooledNodes, centred
from sparra.models.registry import aggregators
from sparra.models.settings import SparraSettings
from sparra.models.sparra import PoolingModule

DIMS = {"ct": 6, "slide": 9}
CONFIGURATIONS = [
    ("mean", {}),
    ("abmil", {}),
    ("sparra", {"preset": "default"}),
    ("sparra", {"preset": "paper"}),
    ("sparra", {"preset": "released"}),
]


def batch(n_features, sizes, seed=0):
    """Chains of nodes, one a subject."""
    generator = torch.Generator().manual_seed(seed)
    subject = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    n = len(subject)
    forward = torch.stack([torch.arange(n - 1), torch.arange(1, n)]) if n else torch.zeros((2, 0), dtype=torch.long)
    forward = forward[:, subject[forward[0]] == subject[forward[1]]]
    edges = torch.cat([forward, forward.flip(0)], dim=1)
    edges = edges[:, torch.argsort(edges[0] * n + edges[1])]
    return GraphBatch(torch.randn(n, n_features, generator=generator), edges, subject, len(sizes))


def build(name, values, dims=DIMS, seed=0):
    torch.manual_seed(seed)
    entry = aggregators[name]
    return entry.build(dims, entry.settings(**values)).eval()


def subset(graphs, index):
    """The graphs of one subject alone."""
    chosen = {}
    for modality, graph in graphs.items():
        nodes = (graph.subject == index).nonzero().squeeze(1)
        inside = torch.isin(graph.edge_index, nodes).all(dim=0)
        start = int(nodes[0]) if len(nodes) else 0
        chosen[modality] = GraphBatch(
            graph.features[nodes],
            graph.edge_index[:, inside] - start,
            torch.zeros(len(nodes), dtype=torch.int64),
            1,
        )
    return chosen


@pytest.mark.parametrize(("name", "values"), CONFIGURATIONS)
def test_contract(name, values):
    graphs = {"ct": batch(6, [7, 0, 1, 30]), "slide": batch(9, [12, 5, 0, 90], seed=1)}
    model = build(name, values)
    output = model(graphs)
    width = sum(model.embedding_sizes.values())
    assert output.embedding.shape == (4, width)
    assert output.risk.shape == (4,)
    ct_width = model.embedding_sizes["ct"]
    assert not output.embedding[1, :ct_width].any()
    assert not output.embedding[2, ct_width:].any()
    for modality, graph in graphs.items():
        sums = torch.zeros(4).index_add(0, graph.subject, output.importance[modality])
        owned = torch.bincount(graph.subject, minlength=4) > 0
        torch.testing.assert_close(sums, owned.float())
        assert (output.importance[modality] > 0).all()


@pytest.mark.parametrize(("name", "values"), CONFIGURATIONS)
def test_subjects_of_a_batch_do_not_touch_one_another(name, values):
    graphs = {"ct": batch(6, [7, 0, 20]), "slide": batch(9, [12, 5, 70], seed=1)}
    model = build(name, values)
    together = model(graphs)
    for index in range(3):
        alone = model(subset(graphs, index))
        torch.testing.assert_close(alone.embedding[0], together.embedding[index], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.risk[0], together.risk[index], atol=1e-5, rtol=1e-4)
        for modality in graphs:
            inside = graphs[modality].subject == index
            torch.testing.assert_close(
                alone.importance[modality], together.importance[modality][inside], atol=1e-5, rtol=1e-4
            )


@pytest.mark.parametrize(("name", "values"), CONFIGURATIONS)
def test_a_batch_in_which_nobody_has_a_modality(name, values):
    graphs = {"ct": batch(6, [7, 4]), "slide": batch(9, [0, 0])}
    model = build(name, values).train()
    output = model(graphs)
    total = output.risk.sum() + sum(output.penalties.values())
    total.backward()
    assert torch.isfinite(total)
    assert len(output.importance["slide"]) == 0


def test_mean_embedding_is_the_mean():
    graphs = {"ct": batch(6, [3, 5])}
    output = build("mean", {}, {"ct": 6})(graphs)
    features = graphs["ct"].features
    torch.testing.assert_close(output.embedding, torch.stack([features[:3].mean(0), features[3:].mean(0)]))


def test_abmil_weights_the_hidden_features_by_its_importance():
    graphs = {"ct": batch(6, [5])}
    model = build("abmil", {}, {"ct": 6})
    output = model(graphs)
    hidden = model.branches["ct"](graphs["ct"].features)
    torch.testing.assert_close(output.embedding[0], output.importance["ct"] @ hidden)
    torch.testing.assert_close(output.importance["ct"], model.attentions["ct"](hidden).squeeze(1).softmax(dim=0))


@pytest.mark.parametrize(
    ("dims", "sparra", "abmil"),
    [
        ({"ct": 768}, 675_459, 526_338 - 197_376),
        ({"slide": 1024}, 806_787, 657_666 - 263_168),
        ({"ct": 768, "slide": 1024}, 1_250_819, 1_184_003 - 460_544),
    ],
)
def test_released_sizes(dims, sparra, abmil):
    """Parameters of the released classes as counted on them (without ABMIL's unused decoder)."""
    for name, values, expected in [("sparra", {"preset": "released"}, sparra), ("abmil", {}, abmil)]:
        assert sum(parameter.numel() for parameter in build(name, values, dims).parameters()) == expected


def test_released_numbers_of_kept_nodes():
    graphs = {"ct": batch(6, [100]), "slide": batch(9, [100])}
    model = build("sparra", {"preset": "released"})
    posteriors = {name: model._posterior(name, graphs[name]) for name in graphs}
    assert {name: len(item.kept) for name, item in posteriors.items()} == {"ct": 49, "slide": 4}


def test_joint_gate_is_shared_by_the_modalities_and_the_default_is_not():
    graphs = {"ct": batch(6, [200]), "slide": batch(9, [50])}
    for gate, totals in [("joint", 1.0), ("per_modality", 2.0)]:
        model = build("sparra", {"preset": "released", "gate": gate})
        posteriors = {name: model._posterior(name, graphs[name]) for name in graphs}
        gates = model._gates(posteriors, graphs)
        assert float(sum(value.detach().sum() for value in gates.values())) == pytest.approx(totals, abs=1e-5)
    joint = build("sparra", {"preset": "released"})
    share = joint._gates({n: joint._posterior(n, graphs[n]) for n in graphs}, graphs)["ct"].sum()
    assert share > 0.9


@pytest.mark.parametrize(("preset", "reaches"), [("paper", True), ("released", False)])
def test_reconstruction_reaches_the_encoder_only_when_reparameterised(preset, reaches):
    model = build("sparra", {"preset": preset}).train()
    graphs = {"ct": batch(6, [30, 20]), "slide": batch(9, [60, 40])}
    model(graphs).penalties["reconstruction"].backward()
    encoder = [p.grad for key, p in model.named_parameters() if key.startswith(("encoders", "branches"))]
    assert any(gradient is not None and bool(gradient.any()) for gradient in encoder) == reaches
    assert all(p.grad is not None for key, p in model.named_parameters() if key.startswith("decoder"))


def test_sum_reduction_counts_nodes_and_mean_reduction_does_not():
    one = {"ct": batch(6, [1])}
    features = one["ct"].features.repeat(20, 1)
    many = {"ct": GraphBatch(features, one["ct"].edge_index, torch.zeros(20, dtype=torch.int64), 1)}
    values = {"dropout": 0.0, "encoder_dropout": 0.0, "minimum_nodes": 64, "kl_weight": 1.0}
    for reduction, ratio in [("sum", 20.0), ("mean", 1.0)]:
        model = build("sparra", {**values, "reduction": reduction}, {"ct": 6}).train()
        first, second = (float(model(graphs).penalties["kl"].detach()) for graphs in (one, many))
        assert second / first == pytest.approx(ratio, rel=1e-4)


def test_importance_ranks_kept_over_dropped_nodes_by_their_scores():
    graphs = {"ct": batch(6, [100, 60])}
    model = build("sparra", {"preset": "paper"}, {"ct": 6})
    importance = model(graphs).importance["ct"]
    posterior = model._posterior("ct", graphs["ct"])
    first, _ = posterior.stages
    for subject in range(2):
        inside = graphs["ct"].subject == subject
        tier = torch.zeros(160)
        tier[first.kept] = 1
        tier[posterior.kept] = 2
        values = [importance[inside & (tier == level)] for level in range(3)]
        assert values[0].max() < values[1].min() < values[1].max() < values[2].min()
        assert float(values[0].sum() + values[1].sum()) <= 0.0101
        dropped = inside & (tier == 0)
        assert torch.equal(importance[dropped].argsort(), first.score[dropped].argsort())


def test_a_dropped_node_stays_below_the_lowest_gate_however_low_that_is():
    gate, nodes = torch.tensor([1e-6, 1.0 - 1e-6]), torch.zeros(3, dtype=torch.int64)
    graph = GraphBatch(torch.zeros(3, 1), torch.zeros((2, 0), dtype=torch.int64), nodes, 1)
    scores = torch.tensor([0.0, 0.0, 1.0])
    stages = [
        PooledNodes(torch.zeros(0), graph.edge_index, nodes[:2], torch.tensor([0, 1]), s) for s in (scores, scores[:2])
    ]
    importance = importance_of_all_nodes(gate, torch.tensor([0, 1]), tuple(stages), graph)
    assert 0 < importance[2] < importance[0] < importance[1]


@pytest.mark.parametrize("gate", ["per_modality", "joint"])
def test_dropped_nodes_share_a_hundredth_of_their_modality_whoever_shares_the_gate(gate):
    """A joint gate gives a modality of few nodes little, and that is what its dropped nodes are held against."""
    graphs = {"ct": batch(6, [800]), "slide": batch(9, [40], seed=1)}
    model = build("sparra", {"preset": "released", "gate": gate})
    with torch.no_grad():
        importance = model(graphs).importance["slide"]
        kept = model._posterior("slide", graphs["slide"]).kept
    dropped = torch.ones(40, dtype=torch.bool)
    dropped[kept] = False
    assert importance.sum() == pytest.approx(1, abs=1e-6)
    assert 0 < importance[dropped].sum() <= 0.01
    assert importance[dropped].max() < importance[kept].min()


def test_presets_are_overridden_by_keys_beside_them():
    settings = SparraSettings.model_validate({"preset": "released", "kl_weight": 0.5, "pool_ratio": {"ct": 0.4}})
    assert (settings.kl_weight, settings.pool_ratio.ct, settings.pool_ratio.slide) == (0.5, 0.4, 0.2)
    assert settings.gate == "joint"
    assert SparraSettings.model_validate(settings.model_dump()) == settings


def test_default_embeds_the_gated_mean_of_the_branch_with_a_gate_of_the_squared_posterior_mean():
    graphs = {"ct": batch(6, [7, 4])}
    model = build("sparra", {}, {"ct": 6})
    graph = graphs["ct"]
    output = model(graphs)
    hidden = model.branches["ct"](graph.features)
    _, second = model.poolings["ct"](hidden, graph)
    seen = torch.cat([second.features, hidden], dim=1)
    seen = torch.cat([part - part.mean(dim=0) for part in (seen[:7], seen[7:])])
    answer = model.encoders["ct"](seen)[:, 0]
    closed = torch.eye(11)
    closed[graph.edge_index[0], graph.edge_index[1]] = 1.0
    square = torch.sinh(closed @ answer / closed.sum(dim=1)) ** 2
    rate = 0.01 + 0.5 * (square / (1 + square / 16) + torch.exp(model.encoders["ct"].output.bias[1]))
    for subject in range(2):
        inside = graph.subject == subject
        gate = rate[inside] / rate[inside].sum()
        torch.testing.assert_close(output.embedding[subject], gate @ hidden[inside])


def test_default_keeps_small_graphs_whole_and_stays_finite_for_any_encoder_output():
    graphs = {"ct": batch(6, [300, 5])}
    model = build("sparra", {}, {"ct": 6})
    with torch.no_grad():
        model.encoders["ct"].output.weight.mul_(1e6)
    output = model(graphs)
    assert len(model._posterior("ct", graphs["ct"]).kept) == 305
    assert torch.isfinite(output.embedding).all()
    assert torch.isfinite(output.importance["ct"]).all()


def test_smoothed_importance_is_the_mean_over_the_closed_neighbourhood():
    graph = batch(6, [4, 3])
    importance = torch.tensor([0.7, 0.1, 0.1, 0.1, 0.2, 0.3, 0.5])
    smoothed = smoothed_over_neighbours(importance, graph)
    # Chains: end nodes average over two nodes, inner nodes over three.
    first = torch.tensor([0.8 / 2, 0.9 / 3, 0.3 / 3, 0.2 / 2])
    second = torch.tensor([0.5 / 2, 1.0 / 3, 0.8 / 2])
    torch.testing.assert_close(smoothed, torch.cat([first / first.sum(), second / second.sum()]))


def test_published_presets_have_none_of_the_departures():
    for preset in ("paper", "released"):
        settings = SparraSettings(preset=preset)
        assert (settings.link, settings.gate_sees, settings.smooth_importance) == ("linear", "graph", False)
        assert (settings.posterior_mean_limit, settings.smooth_posterior, settings.ensemble) == (None, False, 1)
        assert not settings.centred_gate


def test_published_presets_have_the_published_numbers():
    for preset, reduction, kl, reconstruction in (("paper", "sum", 1.0, 1.0), ("released", "mean", 0.1, 0.2)):
        settings = SparraSettings(preset=preset)
        assert (settings.reduction, settings.kl_weight, settings.reconstruction_weight) == (
            reduction,
            kl,
            reconstruction,
        )
        assert (settings.aggregate, settings.node_variance, settings.soft_scores) == ("pooled", True, False)
        assert (settings.mu0, settings.lambda0, settings.alpha0, settings.beta0) == (0.0, 1.0, 2.0, 0.01)
        assert (settings.minimum_nodes, settings.encoder, settings.encoder_dropout) == (1, 256, 0.25)


def test_neighbourhood_mean_is_that_of_the_dense_matrix():
    graph = batch(6, [5, 1, 7])
    n = graph.n_nodes
    closed = torch.eye(n, dtype=torch.float64)
    closed[graph.edge_index[0], graph.edge_index[1]] = 1.0
    values = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(neighbourhood_mean(values, graph.edge_index), closed @ values / closed.sum(dim=1))


def test_posterior_mean_is_smoothed_then_levels_off():
    graphs = {"slide": batch(9, [12, 5], seed=1)}
    model = build("sparra", {"posterior_mean_limit": 2.5}, {"slide": 9})
    output = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0])
    alone = torch.zeros((2, 0), dtype=torch.int64)
    sinh = torch.sinh(output.double())
    expected = sinh / torch.sqrt(1 + (sinh / 2.5) ** 2)
    torch.testing.assert_close(model._mean(output, alone).double(), expected, rtol=1e-5, atol=1e-6)
    assert model._mean(output, alone).abs().max() <= 2.5
    edges = graphs["slide"].edge_index
    output = torch.randn(17, generator=torch.Generator().manual_seed(3))
    averaged = neighbourhood_mean(output, edges)
    torch.testing.assert_close(model._mean(output, edges), model._mean(averaged, edges[:, :0]))


def test_a_log_variance_beyond_what_float32_can_follow_is_cut_off():
    graphs = {"ct": batch(6, [5])}
    for initial, limit in ((1e3, 20.0), (-1e3, -20.0)):
        model = build("sparra", {"initial_posterior": (1.0, initial)}, {"ct": 6})
        assert model._posterior("ct", graphs["ct"]).log_variance.tolist() == [limit] * 5


def test_small_posterior_mean_is_left_as_it_is():
    model = build("sparra", {"link": "linear", "smooth_posterior": False}, {"slide": 9})
    output = torch.tensor([-1e-3, 2e-3])
    torch.testing.assert_close(model._mean(output, torch.zeros((2, 0), dtype=torch.int64)), output)


def test_centred_gate_does_not_see_what_all_nodes_of_a_subject_share(monkeypatch):
    """A constant added to what the pooling gives for one subject changes no gate."""
    graphs = {"slide": batch(9, [12, 5], seed=4)}
    graph = graphs["slide"]
    shift = torch.where(graph.subject == 0, 3.0, 0.0).unsqueeze(1)
    plain = PoolingModule.forward

    def moved(self, hidden, batch_of_graphs):
        first, second = plain(self, hidden, batch_of_graphs)
        return first, replace(second, features=second.features + shift)

    for settings, same in (({}, True), ({"centred_gate": False}, False)):
        model = build("sparra", settings, {"slide": 9})
        before = model(graphs).importance["slide"]
        with monkeypatch.context() as patched:
            patched.setattr(PoolingModule, "forward", moved)
            after = model(graphs).importance["slide"]
        assert torch.allclose(after, before, rtol=1e-4, atol=1e-6) is same


def test_centred_is_the_dense_projection():
    segment = torch.tensor([0, 0, 0, 2, 2])
    values = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    same = (segment[:, None] == segment).double()
    expected = values - same @ values / same.sum(1, keepdim=True)
    torch.testing.assert_close(centred(values, segment, 3), expected, rtol=1e-6, atol=1e-6)
