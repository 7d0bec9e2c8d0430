import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sksurv.metrics import concordance_index_censored

from sparra.errors import UserError
from sparra.models.registry import aggregators
from sparra.training import fit as fit_module
from sparra.training.checkpoint import Checkpoint, FitState
from sparra.training.fit import fit_aggregator
from sparra.training.fitted import FittedAggregator
from sparra.training.gradients import Objective
from sparra.training.settings import TrainingSettings

SMALL = {"hidden": 16, "pooled": 8, "encoder": 8}
FAST = TrainingSettings(epochs=4, batch_size=8, learning_rate=2e-3, ensemble=1)


def fit(subjects, training=FAST, seed=0, checkpoint=None, name="sparra", **values):
    settings = aggregators[name].settings(**{**(SMALL if name == "sparra" else {}), **values})
    return fit_aggregator(name, settings, training, subjects, seed, checkpoint)


def weights(fitted):
    return torch.cat([parameter.detach().flatten() for parameter in fitted.model.parameters()])


def changed(**values):
    return TrainingSettings(**{**FAST.model_dump(), **values})


class Killed(Exception):
    pass


@pytest.mark.parametrize("values", [{}, {"risk_set": "cohort"}, {"validation_share": 0.3, "patience": 10}])
def test_a_fit_killed_and_resumed_equals_the_undisturbed_one(values, cohort_maker, tmp_path, monkeypatch):
    subjects, _ = cohort_maker(24)
    training = changed(**values)
    undisturbed = fit(subjects, training)
    save = FitState.save

    def save_and_die(self, folder, key):
        save(self, folder, key)
        if len(self.rows) == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(FitState, "save", save_and_die)
        with pytest.raises(Killed):
            fit(subjects, training, checkpoint=Checkpoint(tmp_path))
    torch.manual_seed(99)
    epochs = []
    train_epoch = fit_module._train_epoch
    monkeypatch.setattr(fit_module, "_train_epoch", lambda *items: epochs.append(0) or train_epoch(*items))
    resumed = fit(subjects, training, checkpoint=Checkpoint(tmp_path))
    assert len(epochs) == 2
    assert torch.equal(weights(resumed), weights(undisturbed))
    pd.testing.assert_frame_equal(resumed.curve, undisturbed.curve, check_exact=True)
    assert [path.name for path in (tmp_path / "member-0").iterdir()] == ["state.safetensors"]


def test_states_are_kept_no_more_often_than_asked(cohort_maker, tmp_path, monkeypatch):
    subjects, _ = cohort_maker(16)
    saved, clock = [], iter([0.0, 4.0, 11.0, 11.0, 15.0, 22.0, 22.0])  # Start, epochs; after a state once more.
    monkeypatch.setattr(FitState, "save", lambda self, folder, key: saved.append(len(self.rows)))
    monkeypatch.setattr(fit_module, "perf_counter", lambda: next(clock))
    fit(subjects, checkpoint=Checkpoint(tmp_path, seconds=10.0))
    assert saved == [2, 4]


def test_a_given_key_tells_fits_apart_instead_of_their_subjects(cohort_maker, tmp_path):
    subjects, _ = cohort_maker(16)
    fit(subjects, checkpoint=Checkpoint(tmp_path, key="one"))
    fit(cohort_maker(16, seed=5)[0], checkpoint=Checkpoint(tmp_path, key="one"))
    with pytest.raises(UserError, match="another fit"):
        fit(subjects, checkpoint=Checkpoint(tmp_path, key="two"))


def test_a_resumed_fit_remembers_the_best_epoch_of_before(cohort_maker, tmp_path, monkeypatch):
    subjects, _ = cohort_maker(24)
    training = changed(epochs=8, validation_share=0.3, patience=3, learning_rate=0.2)
    undisturbed = fit(subjects, training)
    best = int(undisturbed.curve["validation"].idxmin())
    save = FitState.save

    def save_and_die(self, folder, key):
        save(self, folder, key)
        if len(self.rows) == best + 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(FitState, "save", save_and_die)
        with pytest.raises(Killed):
            fit(subjects, training, checkpoint=Checkpoint(tmp_path))
    resumed = fit(subjects, training, checkpoint=Checkpoint(tmp_path))
    assert len(resumed.curve) == len(undisturbed.curve) == best + 1 + 3 < 8
    assert torch.equal(weights(resumed), weights(undisturbed))


def test_a_clipped_gradient_moves_the_weights_less(cohort_maker):
    """Adam divides by the gradient's size, but adds 1e-8 to it."""
    subjects, _ = cohort_maker(16)
    still = changed(weight_decay=0.0, learning_rate=1e-30, minimum_learning_rate=0.0)
    start = weights(fit(subjects, still))
    free, clipped = (weights(fit(subjects, changed(weight_decay=0.0, gradient_clip=clip))) for clip in (None, 1e-12))
    assert (clipped - start).norm() < 1e-3 * (free - start).norm()


def test_ties_and_precision_reach_the_loss(cohort_maker, monkeypatch):
    subjects, _ = cohort_maker(16)
    tied = [dataclasses.replace(subject, time=1.0 + index % 3) for index, subject in enumerate(subjects)]
    efron, breslow = (fit(tied, changed(ties=ties, epochs=1)) for ties in ("efron", "breslow"))
    assert efron.curve["cox"][0] < breslow.curve["cox"][0]
    seen, forward = set(), Objective.forward

    def spy(self, indices, batch):
        seen.add(self.precision)
        return forward(self, indices, batch)

    monkeypatch.setattr(Objective, "forward", spy)
    fit(subjects, changed(epochs=1, precision="bfloat16"))
    assert seen == {torch.bfloat16}


def test_draws_of_an_ensemble_are_its_models_in_turn(cohort_maker):
    subjects, _ = cohort_maker(12, missing=True)
    assert fit(subjects, name="abmil").posterior_draws(subjects, 4) is None
    fitted = fit(subjects, changed(ensemble=2), initial_posterior=(0.5, -2.0))
    embedding, risk = fitted.posterior_draws(subjects, 6)
    assert embedding.shape == (6, *fitted.predict(subjects).embedding.shape)
    for index, member in enumerate(fitted.members):
        alone = dataclasses.replace(fitted, model=member.model, scale=member.scale, others=())
        own_embedding, own = alone.posterior_draws(subjects, 6)
        mean, spread = member.scale
        np.testing.assert_allclose(risk[index::2], ((own - mean) / spread)[index::2])
        if index == 0:
            np.testing.assert_array_equal(embedding, own_embedding)
    few = subjects[1:4]
    many = fitted.posterior_draws(few, 600)[1]
    np.testing.assert_allclose(many.std(axis=0), fitted.predict(few, 300).risk_sd, rtol=0.15)


def test_no_draw_is_refused(cohort_maker):
    subjects, _ = cohort_maker(12)
    with pytest.raises(UserError, match="0 draws"):
        fit(subjects, changed(epochs=1)).posterior_draws(subjects, 0)


def test_a_state_of_another_network_under_the_same_key_is_told(cohort_maker, tmp_path):
    """As an edit of another package's aggregator leaves it."""
    subjects, _ = cohort_maker(16)
    fit(subjects, checkpoint=Checkpoint(tmp_path, key="one"))
    with pytest.raises(UserError, match="of another network"):
        fit(subjects, checkpoint=Checkpoint(tmp_path, key="one"), hidden=8)


def test_a_learning_rate_that_would_rise_is_refused():
    with pytest.raises(ValueError, match="minimum_learning_rate is above"):
        TrainingSettings(learning_rate=1e-7)
    assert TrainingSettings(learning_rate=1e-7, minimum_learning_rate=0).learning_rate == 1e-7


def test_variances_of_an_ensemble_add(cohort_maker):
    subjects, _ = cohort_maker(12, missing=True)
    fitted = fit(subjects, changed(ensemble=2), initial_posterior=(0.5, -2.0))
    found = fitted.predict(subjects, 8)
    alone = [dataclasses.replace(fitted, model=m.model, scale=m.scale, others=()) for m in fitted.members]
    parts = [member.predict(subjects, 8) for member in alone]
    spreads = np.array([m.scale[1] for m in fitted.members])[:, None]
    means = np.stack([(part.risk - m.scale[0]) / m.scale[1] for part, m in zip(parts, fitted.members, strict=True)])
    posterior = np.stack([part.risk_sd for part in parts]) / spreads
    np.testing.assert_allclose(found.risk_sd**2, (posterior**2).mean(axis=0) + means.var(axis=0), rtol=1e-6)
    for row, nodes in enumerate(found.importance_sd):
        for name, values in nodes.items():
            within = np.mean([part.importance_sd[row][name] ** 2 for part in parts], axis=0)
            between = np.var([part.importance[row][name] for part in parts], axis=0)
            np.testing.assert_allclose(values**2, within + between, rtol=1e-4, atol=1e-10)


def test_a_checkpoint_of_another_fit_or_a_damaged_one_is_refused(cohort_maker, tmp_path):
    subjects, _ = cohort_maker(16)
    fit(subjects, checkpoint=Checkpoint(tmp_path))
    with pytest.raises(UserError, match="another fit"):
        fit(subjects, checkpoint=Checkpoint(tmp_path), seed=1)
    other = [dataclasses.replace(subjects[0], event=not subjects[0].event), *subjects[1:]]
    with pytest.raises(UserError, match="another fit"):
        fit(other, checkpoint=Checkpoint(tmp_path))
    graph = subjects[0].graphs["slide"]
    nodes = np.random.default_rng(0).permutation(len(graph))
    rewired = {**subjects[0].graphs, "slide": dataclasses.replace(graph, edge_index=nodes[graph.edge_index])}
    with pytest.raises(UserError, match="another fit"):  # As many edges, between other nodes.
        fit([dataclasses.replace(subjects[0], graphs=rewired), *subjects[1:]], checkpoint=Checkpoint(tmp_path))
    # Two nodes change places: every mean and every size stays.
    features = graph.features[[1, 0, *range(2, len(graph))]]
    moved = {**subjects[0].graphs, "slide": dataclasses.replace(graph, features=features)}
    with pytest.raises(UserError, match="another fit"):
        fit([dataclasses.replace(subjects[0], graphs=moved), *subjects[1:]], checkpoint=Checkpoint(tmp_path))
    path = tmp_path / "member-0" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="cannot be read"):
        fit(subjects, checkpoint=Checkpoint(tmp_path))


def test_cohort_risk_sets_do_not_depend_on_the_chunks(cohort_maker):
    subjects, _ = cohort_maker(24, missing=True)
    still = {"dropout": 0.0, "encoder_dropout": 0.0}
    one, many = (fit(subjects, changed(risk_set="cohort", batch_size=24, chunk_size=size), **still) for size in (24, 5))
    torch.testing.assert_close(weights(one), weights(many), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(weights(one), weights(fit(subjects, **still)), atol=1e-4)


def test_early_stopping_keeps_the_best_epoch_of_the_part_kept_back(cohort_maker):
    subjects, _ = cohort_maker(40)
    training = changed(epochs=30, validation_share=0.3, patience=2, learning_rate=0.02)
    fitted = fit(subjects, training)
    curve = fitted.curve
    best = int(curve["validation"].idxmin())
    assert len(curve) == min(30, best + 1 + 2) < 30
    shorter = fit_until(subjects, training, best + 1)
    assert torch.equal(weights(fitted), weights(shorter))


def fit_until(subjects, training, n_epochs):
    """The same fit, cut after some epochs, and the weights it then has."""
    train_epoch, rows = fit_module._has_waited, n_epochs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "_has_waited", lambda state, patience: len(state.rows) >= rows)
        patch.setattr(fit_module, "_judge_epoch", keep_last)
        assert train_epoch is not fit_module._has_waited
        return fit(subjects, training)


def keep_last(state, objective, settings, kept_back):
    state.best = {name: value.detach().clone() for name, value in state.model.state_dict().items()}


def test_subjects_kept_back_are_not_learned_from(cohort_maker, monkeypatch):
    subjects, _ = cohort_maker(40)
    learned = set()
    accumulate = fit_module.accumulate_gradients

    def spy(objective, batch, chunk_size):
        learned.update(batch)
        return accumulate(objective, batch, chunk_size)

    monkeypatch.setattr(fit_module, "accumulate_gradients", spy)
    fit(subjects, changed(validation_share=0.25))
    assert len(learned) == 30
    with pytest.raises(UserError, match="kept back"):
        fit(subjects, changed(validation_share=0.01))
    with pytest.raises(ValueError, match="validation_share"):
        TrainingSettings(patience=3)


def test_ensemble_averages_standardised_risks_and_importance(cohort_maker, tmp_path):
    subjects, _ = cohort_maker(40, missing=True)
    together = fit(subjects, changed(ensemble=3), initial_posterior=(0.5, -2.0))
    alone = fit(subjects, initial_posterior=(0.5, -2.0))
    assert torch.equal(weights(together), weights(alone))
    members = [dataclasses.replace(together, model=m.model, scale=m.scale, others=()) for m in together.members]
    parts = [member.predict(subjects) for member in members]
    assert len({part.risk.tobytes() for part in parts}) == 3
    predicted = together.predict(subjects, uncertainty_draws=8)
    standardised = [(part.risk - part.risk.mean()) / part.risk.std() for part in parts]
    np.testing.assert_allclose(predicted.risk, np.mean(standardised, axis=0), atol=1e-5)
    np.testing.assert_array_equal(together.predict(subjects).risk, predicted.risk)
    np.testing.assert_array_equal(predicted.embedding, parts[0].embedding)
    for row in range(40):
        for name, values in predicted.importance[row].items():
            np.testing.assert_allclose(values, np.mean([p.importance[row][name] for p in parts], axis=0), rtol=1e-5)
            assert values.sum() == pytest.approx(1, abs=1e-5)
    assert (predicted.risk_sd >= np.std(standardised, axis=0) - 1e-5).all()
    together.save(tmp_path)
    loaded = FittedAggregator.load(tmp_path).predict(subjects, uncertainty_draws=8)
    np.testing.assert_array_equal(loaded.risk, predicted.risk)
    np.testing.assert_array_equal(loaded.risk_sd, predicted.risk_sd)
    alone.save(tmp_path)
    assert [path.name for path in tmp_path.glob("curve*")] == ["curve.csv"]


def test_how_many_models_is_the_aggregators_choice_unless_the_training_has_one(cohort_maker):
    subjects, _ = cohort_maker(16)
    unsaid = changed(ensemble=None, epochs=1)
    assert len(fit(subjects, unsaid).members) == 3
    assert len(fit(subjects, unsaid, preset="paper").members) == 1
    assert len(fit(subjects, unsaid, name="abmil").members) == 1
    assert len(fit(subjects, unsaid, name="abmil", ensemble=2).members) == 2
    assert len(fit(subjects, changed(ensemble=2, epochs=1), preset="paper").members) == 2


def test_uncertainty_belongs_to_the_subject_and_is_left_out_unless_asked_for(cohort_maker):
    subjects, _ = cohort_maker(12, missing=True)
    fitted = fit(subjects, initial_posterior=(0.5, -2.0))
    plain = fitted.predict(subjects)
    assert plain.risk_sd is None
    assert plain.importance_sd is None
    together, alone = fitted.predict(subjects, 20), fitted.predict(subjects[7:8], 20)
    np.testing.assert_array_equal(plain.risk, together.risk)
    np.testing.assert_allclose(alone.risk_sd[0], together.risk_sd[7], rtol=1e-5)
    assert (together.risk_sd > 0).all()
    for subject, deviations in zip(subjects, together.importance_sd, strict=True):
        assert {name: len(values) for name, values in deviations.items()} == {
            name: len(graph) for name, graph in subject.graphs.items()
        }
    with pytest.raises(UserError, match="at least 2"):
        fitted.predict(subjects, 1)
    with pytest.raises(UserError, match="no posterior"):
        fit(subjects, name="abmil").predict(subjects, 5)


def test_bfloat16_learns_as_well(cohort_maker):
    subjects, _ = cohort_maker(160, seed=1, share=0.4)
    training = TrainingSettings(epochs=15, batch_size=32, learning_rate=2e-3, precision="bfloat16")
    risk = fit(subjects[:110], training, hidden=64, pooled=32, encoder=32).predict(subjects[110:]).risk
    event, time = [s.event for s in subjects[110:]], [s.time for s in subjects[110:]]
    assert concordance_index_censored(event, time, risk)[0] > 0.65
