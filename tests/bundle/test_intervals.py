"""Intervals of new patients hold the networks' posterior: against draws made here, from q(s) alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.bundle.test_export import load_part

import sparra.bundle.bundle as bundle_module
from sparra.bundle.bundle import Bundle
from sparra.bundle.export import Choice, export_bundle
from sparra.bundle.member import Member
from sparra.study.settings import StudySettings
from sparra.training.batching import PreparedCohort
from sparra.training.subjects import SubjectData

HORIZONS = [100.0, 400.0]
N = 4000


def drawn_risks(model: torch.nn.Module, cohort: PreparedCohort, rng: np.random.Generator) -> np.ndarray:
    """Risk of one subject at draws of s: gate proportional to beta0 + lambda0 (s - mu0)^2 / 2, modality by modality."""
    graphs = cohort.collate([0], torch.device("cpu"))
    embeddings = []
    for name, size in model.embedding_sizes.items():
        if not graphs[name].n_nodes:
            embeddings.append(np.zeros((N, size)))
            continue
        found = model._posterior(name, graphs[name])
        mu, sd = found.mu.numpy(), np.exp(found.log_variance.numpy() / 2)
        s = mu + sd * rng.standard_normal((N, len(mu)))
        weight = model.prior.beta0 + model.prior.lambda0 * (s - model.prior.mu0) ** 2 / 2
        embeddings.append(weight / weight.sum(axis=1, keepdims=True) @ found.values.numpy())
    predictor = model.predictor
    return np.hstack(embeddings) @ predictor.weight.numpy()[0] + predictor.bias.numpy()[0]


def reference(member: Member, subject: SubjectData) -> tuple[np.ndarray, np.ndarray]:
    """Standardised risks and survival of one subject over the posterior and the models of the ensemble."""
    network, head, rng = member.network, member.head, np.random.default_rng(3)
    cohort = PreparedCohort([subject], network.scalers)
    with torch.inference_mode():
        risks = np.concatenate(
            [(drawn_risks(each.model.eval(), cohort, rng) - each.scale[0]) / each.scale[1] for each in network.members]
        )
    z = (risks - head.preparation.mean[0]) / head.preparation.scale[0]
    step = np.searchsorted(head.times, HORIZONS, side="right") - 1
    baseline = np.where(step < 0, 0.0, head.hazard[np.maximum(step, 0)])
    survival = np.exp(-baseline * np.exp(z * head.hazard_coefficient[0])[:, None])
    return (z - head.cut) / head.spread, survival


@pytest.fixture(scope="module")
def network(finished: StudySettings) -> Bundle:
    return export_bundle(finished, Choice(model="network", replicates=0))


def test_the_interval_of_one_model_is_that_of_its_posterior(
    finished: StudySettings, network: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_module, "POSTERIOR_DRAWS", N)
    subjects = load_part(finished, 0)[:3]
    # A wider posterior and a steeper slope than a small study has, so that there is something to compare.
    member = network.members[0]
    for each in member.network.members:
        for encoder in each.model.encoders.values():
            with torch.no_grad():
                encoder.output.bias[1] = -2.0
    head = replace(member.head, hazard_coefficient=np.array([1.0]))
    alone = replace(network, members=(replace(member, head=head),))
    found = alone.predict_subjects(subjects, HORIZONS)
    for row, subject in enumerate(subjects):
        risks, survival = reference(alone.members[0], subject)
        lower, upper = np.percentile(survival, (2.5, 97.5), axis=0)
        assert (upper - lower).min() > 0.02
        # The 2.5 % point of 4,000 draws is sure to 0.04 of their SD, and the width is 3.9 SD.
        np.testing.assert_allclose(found.lower[row], lower, atol=0.05 * (upper - lower).max())
        np.testing.assert_allclose(found.upper[row], upper, atol=0.05 * (upper - lower).max())
        assert found.risk_sd[row] == pytest.approx(risks.std(), rel=0.05)


def test_posterior_and_bootstrap_join(finished: StudySettings, made: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = load_part(finished, 0)
    whole = made.predict_subjects(subjects, HORIZONS)
    monkeypatch.setattr(Member, "feature_draws", lambda *_: None)
    without = made.predict_subjects(subjects, HORIZONS)
    np.testing.assert_array_equal(whole.survival, without.survival)
    assert (whole.risk_sd > without.risk_sd).all()
    assert (whole.upper - whole.lower).mean() >= (without.upper - without.lower).mean()


def test_draws_and_replicates_are_taken_in_turn(made: Bundle, finished: StudySettings) -> None:
    member = made.members[0]
    features, _ = member.output(load_part(finished, 0))
    head = member.head
    replicates = head.survival_replicates(features, HORIZONS)
    np.testing.assert_allclose(head.survival_draws(features[None], HORIZONS), replicates)
    other = features + 0.1
    drawn = head.survival_draws(np.stack([features, other]), HORIZONS)
    np.testing.assert_allclose(drawn[::2], replicates[::2])
    np.testing.assert_allclose(drawn[1::2], head.survival_replicates(other, HORIZONS)[1::2])
    bare = replace(head, replicate_coefficients=np.empty((0, 0)), replicate_hazards=np.empty((0, len(head.times))))
    np.testing.assert_allclose(bare.survival_draws(other[None], HORIZONS)[0], head.survival(other, HORIZONS).values)
