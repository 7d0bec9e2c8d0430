import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.distributions import Gamma, Normal, kl_divergence

from sparra.models.objective import (
    NormalGammaPrior,
    alternating_divergence,
    collapsed_divergence,
    expected_precision,
    gaussian_log_likelihood,
    importance_divergence,
    normalised_inverse_precision,
    precision_divergence,
    precision_posterior,
    sample_importance,
    second_moment,
)

PRIORS = [NormalGammaPrior(), NormalGammaPrior(mu0=0.3, lambda0=1.7, alpha0=1.2, beta0=0.4)]
MU = torch.tensor([0.0, 0.4, -1.3, 2.5], dtype=torch.float64)
LOG_VARIANCE = torch.tensor([-5.0, -1.0, 0.2, 1.0], dtype=torch.float64)


def posterior(prior: NormalGammaPrior) -> tuple[torch.Tensor, torch.Tensor]:
    return precision_posterior(second_moment(MU, LOG_VARIANCE, prior), prior)


@pytest.mark.parametrize("prior", PRIORS)
def test_second_moment_is_that_of_the_normal(prior):
    expected = [
        stats.norm(mu, math.exp(0.5 * lv)).expect(lambda s: (s - prior.mu0) ** 2)
        for mu, lv in zip(MU.tolist(), LOG_VARIANCE.tolist(), strict=True)
    ]
    np.testing.assert_allclose(second_moment(MU, LOG_VARIANCE, prior), expected, rtol=1e-8)


@pytest.mark.parametrize("prior", PRIORS)
def test_expected_precision_and_log_precision_match_the_gamma(prior):
    shape, rate = posterior(prior)
    moment = second_moment(MU, LOG_VARIANCE, prior)
    torch.testing.assert_close(expected_precision(moment, prior), Gamma(shape, rate).mean)


@pytest.mark.parametrize("prior", PRIORS)
def test_papers_doubled_gamma_has_the_same_mean_and_half_the_variance(prior):
    moment = second_moment(MU, LOG_VARIANCE, prior)
    paper = Gamma(
        torch.full_like(moment, 2 * prior.alpha0 + 1),
        2 * prior.beta0 + prior.lambda0 * ((MU - prior.mu0) ** 2 + LOG_VARIANCE.exp()),
    )
    ours = Gamma(*precision_posterior(moment, prior))
    torch.testing.assert_close(paper.mean, ours.mean)
    torch.testing.assert_close(paper.variance, ours.variance / 2)


@pytest.mark.parametrize("prior", PRIORS)
def test_importance_divergence_matches_integration_over_the_precision(prior):
    shape, rate = posterior(prior)
    ours = importance_divergence(MU, LOG_VARIANCE, shape, rate, prior)
    for index in range(len(MU)):
        q_v = stats.gamma(float(shape[index]), scale=1 / float(rate[index]))

        def integrand(v, index=index, q_v=q_v):
            q_s = Normal(MU[index], torch.exp(0.5 * LOG_VARIANCE[index]))
            p_s = Normal(torch.tensor(prior.mu0), torch.tensor((prior.lambda0 * v) ** -0.5))
            return q_v.pdf(v) * float(kl_divergence(q_s, p_s))

        value, _ = integrate.quad(integrand, q_v.ppf(1e-12), q_v.ppf(1 - 1e-12), limit=200)
        assert float(ours[index]) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("prior", PRIORS)
def test_precision_divergence_matches_torch(prior):
    shape, rate = posterior(prior)
    reference = kl_divergence(
        Gamma(shape, rate), Gamma(torch.full_like(shape, prior.alpha0), torch.full_like(rate, prior.beta0))
    )
    torch.testing.assert_close(precision_divergence(shape, rate, prior), reference)


@pytest.mark.parametrize("prior", PRIORS)
def test_collapsed_form_is_the_sum_of_both_divergences_at_their_minimum(prior):
    shape, rate = posterior(prior)

    def total(a, b):
        return importance_divergence(MU, LOG_VARIANCE, a, b, prior) + precision_divergence(a, b, prior)

    torch.testing.assert_close(collapsed_divergence(MU, LOG_VARIANCE, prior), total(shape, rate))
    for factor_a, factor_b in [(1.05, 1.0), (0.95, 1.0), (1.0, 1.05), (1.0, 0.95), (2.0, 2.0)]:
        assert (total(shape * factor_a, rate * factor_b) > total(shape, rate)).all()


def test_papers_doubled_gamma_costs_a_constant_more():
    prior = NormalGammaPrior()
    shape, rate = posterior(prior)
    doubled = importance_divergence(MU, LOG_VARIANCE, 2 * shape, 2 * rate, prior)
    doubled = doubled + precision_divergence(2 * shape, 2 * rate, prior)
    excess = doubled - collapsed_divergence(MU, LOG_VARIANCE, prior)
    torch.testing.assert_close(excess, torch.full_like(excess, 0.1048), atol=5e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(
    mu=st.floats(-5, 5),
    log_variance=st.floats(-8, 4),
    lambda0=st.floats(0.1, 5),
    alpha0=st.floats(0.2, 5),
    beta0=st.floats(1e-3, 2),
)
def test_collapsed_and_alternating_forms_have_the_same_gradient(mu, log_variance, lambda0, alpha0, beta0):
    prior = NormalGammaPrior(0.2, lambda0, alpha0, beta0)
    gradients = []
    for form in (collapsed_divergence, alternating_divergence):
        parameters = torch.tensor([mu, log_variance], dtype=torch.float64, requires_grad=True)
        form(parameters[0], parameters[1], prior).backward()
        gradients.append(parameters.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-12)


def test_fixed_point_of_the_divergence_alone():
    prior = NormalGammaPrior()
    mu = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    log_variance = torch.tensor([math.log(prior.beta0 / prior.alpha0)], dtype=torch.float64, requires_grad=True)
    collapsed_divergence(mu, log_variance, prior).sum().backward()
    assert float(mu.grad) == pytest.approx(0, abs=1e-12)
    assert float(log_variance.grad) == pytest.approx(0, abs=1e-12)
    assert float(expected_precision(second_moment(mu, log_variance, prior), prior).detach()) == pytest.approx(200)


def test_marginal_prior_is_student_t_by_monte_carlo():
    prior = NormalGammaPrior(alpha0=2.0, beta0=0.5)
    generator = np.random.default_rng(0)
    v = generator.gamma(prior.alpha0, 1 / prior.beta0, 200_000)
    s = generator.normal(prior.mu0, 1 / np.sqrt(prior.lambda0 * v))
    scale = math.sqrt(prior.beta0 / (prior.lambda0 * prior.alpha0))
    assert stats.kstest(s, stats.t(2 * prior.alpha0, prior.mu0, scale).cdf).pvalue > 1e-3


def test_sample_has_the_right_moments_and_gradient():
    generator = torch.Generator().manual_seed(0)
    mu = torch.full((200_000,), 0.7, dtype=torch.float64, requires_grad=True)
    log_variance = torch.full((200_000,), -1.0, dtype=torch.float64, requires_grad=True)
    sample = sample_importance(mu, log_variance, generator)
    assert float(sample.mean()) == pytest.approx(0.7, abs=0.01)
    assert float(sample.var()) == pytest.approx(math.exp(-1.0), rel=0.02)
    (sample**2).mean().backward()
    # d/dmu E[s^2] = 2 mu and d/dlogvar E[s^2] = sigma^2.
    assert float(mu.grad.sum()) == pytest.approx(1.4, abs=0.02)
    assert float(log_variance.grad.sum()) == pytest.approx(math.exp(-1.0), rel=0.02)


def test_sample_is_repeated_by_its_generator():
    mu, log_variance = torch.zeros(5), torch.zeros(5)
    first = sample_importance(mu, log_variance, torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        first, sample_importance(mu, log_variance, torch.Generator().manual_seed(3)), rtol=0, atol=0
    )


def test_gate_sums_to_one_and_follows_its_closed_form():
    prior = NormalGammaPrior()
    moment = torch.tensor([0.005, 1.005, 0.005, 4.0, 2.0], dtype=torch.float64)
    segment = torch.tensor([0, 0, 0, 2, 2])
    gate = normalised_inverse_precision(moment, prior, segment, 3)
    weights = 2 * prior.beta0 + moment
    expected = torch.cat([weights[:3] / weights[:3].sum(), weights[3:] / weights[3:].sum()])
    torch.testing.assert_close(gate, expected)
    assert float(gate[1] / gate[0]) == pytest.approx(41.0)


def test_gaussian_log_likelihood_matches_torch():
    values = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    reference = Normal(mean, 1e-3**-0.5).log_prob(values).sum(dim=1)
    torch.testing.assert_close(gaussian_log_likelihood(values, mean, 1e-3), reference)


def test_bound_lies_below_the_exact_log_evidence_of_a_conjugate_model():
    """One node, x | s ~ N(s, 1 / tau): the evidence is the Student-t prior convolved with the noise."""
    prior, tau, observed = NormalGammaPrior(beta0=0.5), 4.0, 1.1
    scale = math.sqrt(prior.beta0 / (prior.lambda0 * prior.alpha0))
    evidence, _ = integrate.quad(
        lambda s: stats.t.pdf(s, 2 * prior.alpha0, prior.mu0, scale) * stats.norm.pdf(observed, s, tau**-0.5),
        -30,
        30,
        points=[0.0, observed],
    )
    parameters = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def negative_bound(mu, log_variance):
        at_mean = gaussian_log_likelihood(torch.tensor([[observed]], dtype=mu.dtype), mu.reshape(1, 1), tau)
        expected_likelihood = at_mean.squeeze() - 0.5 * tau * log_variance.exp()
        return collapsed_divergence(mu, log_variance, prior) - expected_likelihood

    def closure():
        optimiser.zero_grad()
        loss = negative_bound(parameters[0], parameters[1])
        loss.backward()
        return loss

    grid = torch.cartesian_prod(torch.linspace(-2, 3, 11), torch.linspace(-5, 2, 11)).double()
    assert all(-float(negative_bound(mu, lv)) < math.log(evidence) for mu, lv in grid)
    optimiser.step(closure)
    best = -float(negative_bound(parameters[0], parameters[1]))
    assert math.log(evidence) - 0.2 < best < math.log(evidence)


@pytest.mark.parametrize("field", ["lambda0", "alpha0", "beta0"])
def test_prior_refuses_what_is_not_positive(field):
    with pytest.raises(ValueError, match="positive"):
        NormalGammaPrior(**{field: 0.0})
