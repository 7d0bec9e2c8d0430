import numpy as np
import pytest
import torch
from scipy import integrate, stats

from sparra.models.batch import GraphBatch
from sparra.models.objective import NormalGammaPrior
from sparra.models.registry import aggregators
from sparra.models.uncertainty import sampled_gate, spread_over_draws

PRIOR = NormalGammaPrior()


def chain(n_nodes, n_features, n_subjects=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    left = torch.arange(n_nodes - 1)
    one = torch.cat([torch.stack([left, left + 1]), torch.stack([left + 1, left])], dim=1)
    one = one[:, torch.argsort(one[0] * n_nodes + one[1])]
    edges = torch.cat([one + index * n_nodes for index in range(n_subjects)], dim=1)
    features = torch.randn(n_nodes * n_subjects, n_features, generator=generator)
    return GraphBatch(features, edges, torch.arange(n_subjects).repeat_interleave(n_nodes), n_subjects)


def gate_spread(mu, log_variance, n_draws, seed=0):
    generator = torch.Generator().manual_seed(seed)
    segment = torch.zeros(len(mu), dtype=torch.int64)

    def draw():
        return {"gate": sampled_gate(mu, log_variance, PRIOR, segment, 1, generator)}, torch.zeros(1)

    return spread_over_draws(draw, n_draws).importance["gate"]


def test_spread_of_two_nodes_matches_numerical_integration():
    mu, deviation = np.array([0.3, 0.6]), np.array([0.15, 0.3])

    def moment(power):
        def integrand(second, first):
            rates = PRIOR.beta0 + 0.5 * np.array([first, second]) ** 2
            density = stats.norm.pdf(first, mu[0], deviation[0]) * stats.norm.pdf(second, mu[1], deviation[1])
            return density * (rates[0] / rates.sum()) ** power

        bounds = [(m - 6 * d, m + 6 * d) for m, d in zip(mu, deviation, strict=True)]
        return integrate.dblquad(integrand, *bounds[0], *bounds[1], epsabs=1e-6)[0]

    expected = np.sqrt(moment(2) - moment(1) ** 2)
    log_variance = torch.tensor(2 * np.log(deviation))
    spread = gate_spread(torch.tensor(mu), log_variance, 20_000)
    np.testing.assert_allclose(spread.numpy(), [expected, expected], rtol=0.03)


def test_spread_is_the_standard_deviation_of_a_sample():
    values = iter([2.0, 3.0, 7.0])
    spread = spread_over_draws(lambda: ({"gate": torch.tensor([1.0])}, torch.tensor([next(values)])), 3)
    assert float(spread.risk) == pytest.approx(np.std([2.0, 3.0, 7.0], ddof=1))
    assert float(spread.importance["gate"]) == 0.0


def test_sampled_gate_is_measured_from_the_prior_mean():
    prior = NormalGammaPrior(mu0=0.7)
    certain = torch.full((2,), -60.0)
    gate = sampled_gate(
        torch.tensor([0.7, 1.7]), certain, prior, torch.zeros(2, dtype=torch.int64), 1, torch.Generator()
    )
    rate = torch.tensor([prior.beta0, prior.beta0 + 0.5])
    torch.testing.assert_close(gate, rate / rate.sum())


def test_spread_of_many_nodes_matches_the_delta_method():
    generator = torch.Generator().manual_seed(1)
    mu = torch.rand(400, generator=generator, dtype=torch.float64) + 0.2
    variance = torch.full_like(mu, 0.01)
    rate = PRIOR.beta0 + 0.5 * (mu**2 + variance)
    rate_variance = 0.25 * (2 * variance**2 + 4 * mu**2 * variance)
    gate = rate / rate.sum()
    others = rate_variance.sum() - rate_variance
    expected = torch.sqrt((1 - gate) ** 2 * rate_variance + gate**2 * others) / rate.sum()
    spread = gate_spread(mu, variance.log(), 4000)
    torch.testing.assert_close(spread, expected, rtol=0.1, atol=0)
    assert float((spread / expected).mean()) == pytest.approx(1, abs=0.02)


def sparra(**values):
    torch.manual_seed(0)
    entry = aggregators["sparra"]
    return entry.build({"slide": 9}, entry.settings(hidden=16, pooled=8, encoder=8, **values)).eval()


def test_risk_spread_follows_from_the_gates_and_a_certain_posterior_has_none():
    graphs = {"slide": chain(40, 9)}
    wide = sparra(initial_posterior=(0.5, -2.0), smooth_importance=False)
    with torch.no_grad():
        spread = wide.spread(graphs, torch.Generator().manual_seed(0), 3000)
        posterior = wide._posterior("slide", graphs["slide"])
        generator = np.random.default_rng(5)
        noise = generator.normal(size=(3000, 40))
        draws = posterior.mu.numpy() + np.exp(0.5 * posterior.log_variance.numpy()) * noise
        rates = PRIOR.beta0 + 0.5 * draws**2
        gates = rates / rates.sum(axis=1, keepdims=True)
        risks = wide.predictor(torch.tensor(gates, dtype=torch.float32) @ posterior.values).squeeze(1)
    assert float(spread.risk[0]) == pytest.approx(float(risks.std()), rel=0.06)
    np.testing.assert_allclose(spread.importance["slide"].numpy(), gates.std(axis=0), rtol=0.12)
    with torch.no_grad():
        none = sparra(initial_posterior=(0.5, -19.0)).spread(graphs, torch.Generator().manual_seed(0), 50)
    assert float(none.risk[0]) < 0.01 * float(spread.risk[0])


def test_every_node_has_a_spread_and_a_single_node_has_none():
    model = sparra(minimum_nodes=1, initial_posterior=(0.5, -2.0))
    with torch.no_grad():
        many = model.spread({"slide": chain(40, 9)}, torch.Generator().manual_seed(0), 50)
        alone = model.spread({"slide": chain(1, 9)}, torch.Generator().manual_seed(0), 50)
    assert (many.importance["slide"] > 0).all()
    assert float(alone.importance["slide"]) == pytest.approx(0, abs=1e-6)
    assert float(alone.risk) == pytest.approx(0, abs=1e-6)


def test_equal_generators_give_equal_spreads_and_models_without_posterior_none():
    graphs = {"slide": chain(12, 9)}
    model = sparra()
    first, second = (model.spread(graphs, torch.Generator().manual_seed(3), 20) for _ in range(2))
    assert torch.equal(first.risk, second.risk)
    entry = aggregators["abmil"]
    assert entry.build({"slide": 9}, entry.settings()).spread(graphs, torch.Generator(), 20) is None
