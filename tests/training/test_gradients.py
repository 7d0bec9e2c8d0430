import copy
import dataclasses

import numpy as np
import pytest
import torch

from sparra.models.cox import negative_log_partial_likelihood
from sparra.models.registry import aggregators
from sparra.training.batching import PreparedCohort
from sparra.training.gradients import Objective, accumulate_gradients
from sparra.training.scaling import FeatureScaler

SCALERS = {"ct": FeatureScaler(np.full(6, 7.0), np.full(6, 50.0)), "slide": FeatureScaler(np.zeros(8), np.ones(8))}
CASES = [
    ("mean", {"hidden": 16}),
    ("abmil", {"hidden": 16, "attention": 8}),
    ("sparra", {"hidden": 16, "pooled": 8, "encoder": 8}),
    ("sparra", {"hidden": 16, "pooled": 8, "encoder": 8, "preset": "paper"}),
    ("sparra", {"hidden": 16, "pooled": 8, "encoder": 8, "preset": "released"}),
]


def objective(name, values, subjects, dtype=torch.float32):
    torch.manual_seed(0)
    entry = aggregators[name]
    model = entry.build({"ct": 6, "slide": 8}, entry.settings(**values)).train()
    time = torch.tensor([subject.time for subject in subjects], dtype=torch.float64)
    event = torch.tensor([subject.event for subject in subjects])
    return Objective(model, PreparedCohort(subjects, SCALERS, dtype), time, event, "efron", dtype)


def gradients(target, batch, chunk_size, seed=0):
    torch.manual_seed(seed)
    target.model.zero_grad()
    losses = accumulate_gradients(target, batch, chunk_size)
    return losses, torch.cat([p.grad.flatten() for p in target.model.parameters() if p.grad is not None])


@pytest.mark.parametrize(("name", "values"), CASES)
@pytest.mark.parametrize("chunk_size", [1, 7])
def test_chunks_give_the_whole_batchs_gradient(name, values, chunk_size, cohort_maker, monkeypatch):
    monkeypatch.setattr("sparra.models.sparra.sample_importance", lambda mu, log_variance: mu)
    subjects, _ = cohort_maker(30, missing=True)
    still = dict.fromkeys(("dropout", "attention_dropout", "encoder_dropout"), 0.0)
    fields = aggregators[name].settings.model_fields
    target = objective(name, {**values, **{k: v for k, v in still.items() if k in fields}}, subjects)
    expected_losses, expected = gradients(target, range(30), 30)
    losses, found = gradients(target, range(30), chunk_size)
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    assert losses == pytest.approx(expected_losses, rel=1e-5)


@pytest.mark.parametrize(("name", "values"), CASES)
def test_chunks_see_the_dropout_of_the_first_pass(name, values, cohort_maker):
    """With dropout on, the gradient is that of one function: the loss at the masks of the first pass."""
    subjects, _ = cohort_maker(12)
    target = objective(name, values, subjects)
    seen = []
    original = Objective.forward

    def spy(self, indices, batch):
        output = original(self, indices, batch)
        seen.append(output.risk.detach().clone())
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "forward", spy)
        gradients(target, range(12), 5)
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(seen[0], gradients_free_risk(target, seed=1))


@pytest.mark.parametrize("chunk_size", [5, 12])
def test_the_cox_term_is_a_mean_over_the_subjects_of_the_batch(chunk_size, cohort_maker):
    subjects, _ = cohort_maker(12)
    target = objective("mean", {"hidden": 16, "dropout": 0.0}, subjects)
    losses, _ = gradients(target, range(12), chunk_size)
    with torch.no_grad():
        risk = target.forward(range(12), range(12)).risk
    whole = negative_log_partial_likelihood(risk, target.time, target.event, "efron")
    assert losses["cox"] == pytest.approx(float(whole) / 12, rel=1e-5)


def gradients_free_risk(target, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        return target.forward(range(5), range(12)).risk


def test_a_batch_without_events_has_a_zero_cox_gradient(cohort_maker):
    subjects, _ = cohort_maker(20)
    censored = [index for index, subject in enumerate(subjects) if not subject.event]
    assert len(censored) >= 4
    target = objective(*CASES[1], subjects)
    for chunk_size in (2, 20):
        losses, found = gradients(target, censored, chunk_size)
        assert losses["cox"] == 0
        assert not found.any()


class Changed(PreparedCohort):
    """A cohort whose features went through a function, once."""

    def __init__(self, cohort, function):
        self.__dict__.update(cohort.__dict__)
        kept = {
            (name, index): cohort.graph(name, index) for name in cohort.counts for index in range(cohort.n_subjects)
        }
        self.changed = {key: dataclasses.replace(g, features=function(g.features)) for key, g in kept.items()}

    def graph(self, modality, index):
        return self.changed[modality, index]


def rounded(target, generator, size):
    """The objective with features and weights each off by up to `size` of themselves."""

    def off(values):
        return values * (1 + size * (2 * torch.rand(values.shape, generator=generator) - 1))

    model = copy.deepcopy(target.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(off(parameter))
    return dataclasses.replace(target, model=model, cohort=Changed(target.cohort, off))


def quiet(name, values, whole):
    """Settings without dropout; `whole` keeps all nodes, since rounded scores may choose others."""
    fields = aggregators[name].settings.model_fields
    still = {key: 0.0 for key in ("dropout", "attention_dropout", "encoder_dropout") if key in fields}
    return {**values, **still, **({"minimum_nodes": 256} if whole and name == "sparra" else {})}


@pytest.mark.parametrize(("name", "values"), CASES)
def test_bfloat16_is_no_further_off_than_inputs_rounded_to_it(name, values, cohort_maker, monkeypatch):
    """Backward error (Higham 2002, ch. 1): what bfloat16 gives is what float32 gives for inputs off by its roundoff.

    A layer rounds its input, its weight and its output, each by at most u = 2^-8 of itself. So features and weights
    are moved by up to 3 u at random: the gradient in bfloat16 lies no further from that in float32 than the farthest
    of these, units of ReLU that fall on the other side included.
    """
    monkeypatch.setattr("sparra.models.sparra.sample_importance", lambda mu, log_variance: mu)
    subjects, _ = cohort_maker(30)
    values = quiet(name, values, whole=True)
    target = objective(name, values, subjects)
    losses, expected = gradients(target, range(30), 30)
    low_losses, found = gradients(objective(name, values, subjects, torch.bfloat16), range(30), 30)
    generator = torch.Generator().manual_seed(0)
    moved = [gradients(rounded(target, generator, 3 * 2**-8), range(30), 30) for _ in range(10)]
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert (found - expected).norm() <= max((gradient - expected).norm() for _, gradient in moved)
    off = max(abs(low["cox"] - losses["cox"]) for low, _ in moved)
    assert abs(low_losses["cox"] - losses["cox"]) <= off


def test_bfloat16_of_the_mean_rounds_its_features_and_nothing_else(cohort_maker):
    subjects, _ = cohort_maker(30)
    values = quiet(*CASES[0], whole=True)
    target = objective(CASES[0][0], values, subjects)
    exact = dataclasses.replace(target, cohort=Changed(target.cohort, lambda values: values.bfloat16().float()))
    _, expected = gradients(exact, range(30), 30)
    _, found = gradients(objective(CASES[0][0], values, subjects, torch.bfloat16), range(30), 30)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
