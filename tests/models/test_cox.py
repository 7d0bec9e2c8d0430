import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from sparra.models.cox import negative_log_partial_likelihood


def brute_force(risk, time, event, ties):
    """Straight from the definition, with loops, over distinct event times."""
    total = 0.0
    for moment in sorted({t for t, e in zip(time, event, strict=True) if e}):
        at_risk = [math.exp(r) for r, t in zip(risk, time, strict=True) if t >= moment]
        dead = [r for r, t, e in zip(risk, time, event, strict=True) if e and t == moment]
        tied = sum(math.exp(r) for r in dead)
        for rank, value in enumerate(dead):
            share = rank / len(dead) if ties == "efron" else 0.0
            total += math.log(sum(at_risk) - share * tied) - value
    return total


def draw(n, seed, levels=6):
    generator = np.random.default_rng(seed)
    return generator.normal(size=n), generator.integers(1, levels, n).astype(float), generator.random(n) < 0.6


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 25), ties=st.sampled_from(["breslow", "efron"]))
def test_matches_brute_force_with_ties(seed, n, ties):
    risk, time, event = draw(n, seed)
    ours = negative_log_partial_likelihood(*map(torch.tensor, (risk, time, event)), ties)
    assert float(ours) == pytest.approx(brute_force(risk, time, event, ties), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_gradient_by_finite_differences(ties):
    risk, time, event = draw(15, 3)
    values = torch.tensor(risk, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda r: negative_log_partial_likelihood(r, torch.tensor(time), torch.tensor(event), ties), values
    )


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_gradient_vanishes_at_scikit_survivals_optimum(ties):
    generator = np.random.default_rng(1)
    covariates = generator.normal(size=(120, 3))
    time = np.ceil(generator.exponential(np.exp(-covariates[:, 0])) * 5)
    event = generator.random(120) < 0.7
    model = CoxPHSurvivalAnalysis(ties=ties, tol=1e-12).fit(covariates, Surv.from_arrays(event, time))
    beta = torch.tensor(model.coef_, requires_grad=True)
    loss = negative_log_partial_likelihood(
        torch.tensor(covariates) @ beta, torch.tensor(time), torch.tensor(event), ties
    )
    loss.backward()
    assert float(beta.grad.abs().max()) < 1e-5


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 1000.0, -1000.0])
def test_finite_for_any_risk(ties, dtype, offset):
    time = torch.tensor([5.0, 5.0, 4.0, 4.0, 3.0, 2.0, 2.0, 1.0])
    event = torch.tensor([1, 1, 1, 0, 1, 1, 1, 1], dtype=torch.bool)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])
    risk = (1000.0 * signs + offset).to(dtype).requires_grad_()
    loss = negative_log_partial_likelihood(risk, time, event, ties)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(risk.grad).all()
    assert float(risk.grad.sum()) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_a_shift_of_all_risks_changes_nothing(ties):
    risk, time, event = map(torch.tensor, draw(30, 5))
    first = negative_log_partial_likelihood(risk, time, event, ties)
    torch.testing.assert_close(first, negative_log_partial_likelihood(risk + 300.0, time, event, ties))


def test_no_event_gives_zero_with_a_zero_gradient():
    risk = torch.randn(6, requires_grad=True)
    loss = negative_log_partial_likelihood(risk, torch.arange(6.0), torch.zeros(6, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(risk.grad, torch.zeros(6))


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_strata_are_separate_risk_sets(ties):
    risk, time, event = map(torch.tensor, draw(40, 7))
    strata = torch.arange(40) % 3
    together = negative_log_partial_likelihood(risk, time, event, ties, strata)
    apart = sum(
        negative_log_partial_likelihood(risk[strata == k], time[strata == k], event[strata == k], ties)
        for k in range(3)
    )
    torch.testing.assert_close(together, apart)
    assert float(together) < float(negative_log_partial_likelihood(risk, time, event, ties))


def test_order_of_subjects_does_not_matter():
    risk, time, event = map(torch.tensor, draw(30, 9))
    shuffled = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        negative_log_partial_likelihood(risk, time, event),
        negative_log_partial_likelihood(risk[shuffled], time[shuffled], event[shuffled]),
    )
