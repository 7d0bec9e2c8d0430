import numpy as np
import pytest
import torch

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
    return Objective(model, PreparedCohort.of(subjects, SCALERS, dtype), time, event, "efron", dtype)


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


@pytest.mark.parametrize(("name", "values"), CASES)
def test_bfloat16_gradient_points_where_float32s_does(name, values, cohort_maker, monkeypatch):
    monkeypatch.setattr("sparra.models.sparra.sample_importance", lambda mu, log_variance: mu)
    subjects, _ = cohort_maker(30)
    still = dict.fromkeys(("dropout", "attention_dropout", "encoder_dropout"), 0.0)
    fields = aggregators[name].settings.model_fields
    # All nodes are kept, since rounded scores may choose others.
    whole = {"minimum_nodes": 256} if name == "sparra" else {}
    values = {**values, **whole, **{key: value for key, value in still.items() if key in fields}}
    losses, expected = gradients(objective(name, values, subjects), range(30), 30)
    low_losses, found = gradients(objective(name, values, subjects, torch.bfloat16), range(30), 30)
    assert found.dtype == torch.float32
    # In the mean's network one of 480 ReLUs falls on the other side, which alone is an angle of 0.9988.
    assert float(torch.cosine_similarity(found, expected, dim=0)) > 0.998
    assert low_losses["cox"] == pytest.approx(losses["cox"], rel=0.01)
    assert not torch.equal(found, expected)
