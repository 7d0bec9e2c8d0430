from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import ortho_group
from sksurv.metrics import concordance_index_censored

from sparra.errors import UserError
from sparra.models.registry import aggregators
from sparra.training import crossfit
from sparra.training.crossfit import cross_fitted_embeddings, procrustes_rotation
from sparra.training.fit import fit_aggregator
from sparra.training.prediction import Predictions
from sparra.training.settings import TrainingSettings

TRAINING = TrainingSettings(epochs=8, batch_size=32, learning_rate=2e-3)
SMALL = {"abmil": {"hidden": 64, "attention": 32}, "sparra": {"hidden": 64, "pooled": 32, "encoder": 32}}


def test_rotation_is_recovered():
    generator = np.random.default_rng(0)
    source = generator.normal(size=(60, 8))
    rotation = ortho_group.rvs(8, random_state=0)
    np.testing.assert_allclose(procrustes_rotation(source, source @ rotation), rotation, atol=5e-3)


def test_rotation_is_the_identity_where_the_subjects_do_not_determine_it():
    generator = np.random.default_rng(0)
    source = generator.normal(size=(5, 20))
    np.testing.assert_allclose(procrustes_rotation(source, source), np.eye(20), atol=1e-6)
    np.testing.assert_allclose(procrustes_rotation(source * 0, source * 0), np.eye(20), atol=1e-6)


@pytest.mark.parametrize("name", ["abmil", "sparra"])
def test_cross_fitted_embeddings_live_in_the_outer_models_space(name, cohort_maker):
    subjects, _ = cohort_maker(90, seed=2, missing=True, share=0.4)
    settings = aggregators[name].settings(**SMALL[name])
    outer = fit_aggregator(name, settings, TRAINING, subjects, 0)
    cross = cross_fitted_embeddings(name, settings, TRAINING, subjects, 0, outer=outer)
    target = outer.predict(subjects)
    np.testing.assert_array_equal(cross.present, target.present)
    assert not cross.embedding[~cross.present].any()
    centred_a = np.where(cross.present, cross.embedding - cross.embedding.mean(0), 0)
    centred_b = np.where(cross.present, target.embedding - target.embedding.mean(0), 0)
    assert np.corrcoef(centred_a.ravel(), centred_b.ravel())[0, 1] > 0.5
    event, time = [s.event for s in subjects], [s.time for s in subjects]
    honest = concordance_index_censored(event, time, cross.risk)[0]
    fitted = concordance_index_censored(event, time, target.risk)[0]
    assert 0.5 < honest < fitted


def test_a_turned_and_shifted_space_is_brought_back_onto_the_outer_models():
    """By the subjects that both learnt from; a modality that the inner model lacks is unknown."""
    generator = np.random.default_rng(1)
    target = generator.normal(size=(30, 6)).astype(np.float32) + 5
    rotation = ortho_group.rvs(4, random_state=1)
    guess = (target[:, 2:] @ rotation.T + 3).astype(np.float32)
    present = np.ones((30, 6), dtype=bool)
    present[25] = False
    inner, outer = (
        SimpleNamespace(model=SimpleNamespace(embedding_sizes=sizes)) for sizes in ({"slide": 4}, {"ct": 2, "slide": 4})
    )
    of_inner, of_outer = (
        Predictions(guess, present[:, 2:], np.zeros(30), []),
        Predictions(target, present, np.zeros(30), []),
    )
    learnt, held_out = np.arange(20), np.arange(20, 30)
    moved, there = crossfit._aligned(of_inner, of_outer, learnt, held_out, inner, outer)
    known = np.arange(10) != 5
    np.testing.assert_allclose(moved[known, 2:], target[held_out[known], 2:], atol=0.05)
    np.testing.assert_array_equal(there[:, 2:], np.repeat(known[:, None], 4, axis=1))
    assert not there[:, :2].any()
    assert not moved[~there].any()


def test_risks_are_brought_to_the_outer_models_scale_over_the_subjects_both_learnt_from():
    risk = np.random.default_rng(2).normal(size=20)
    reference = np.where(np.arange(20) < 15, 3 * risk + 2, 99.0)
    np.testing.assert_allclose(crossfit._on_scale_of(risk, reference, np.arange(15)), 3 * risk + 2)


def test_embedding_without_parameters_is_the_outer_models_and_its_risk_is_cross_fitted(cohort_maker):
    subjects, _ = cohort_maker(30, seed=4)
    settings = aggregators["mean"].settings()
    cross = cross_fitted_embeddings("mean", settings, TRAINING, subjects, 0)
    outer = fit_aggregator("mean", settings, TRAINING, subjects, 0)
    np.testing.assert_array_equal(cross.embedding, outer.predict(subjects).embedding)
    assert not np.allclose(cross.risk, outer.predict(subjects).risk)


def test_no_inner_model_sees_the_subjects_that_it_embeds(cohort_maker, monkeypatch):
    subjects, _ = cohort_maker(40, seed=4)
    seen = []

    def spy(name, settings, training, chosen, seed, checkpoint=None):
        seen.append({subject.subject_id for subject in chosen})
        return fit_aggregator(name, settings, training, chosen, seed)

    monkeypatch.setattr(crossfit, "fit_aggregator", spy)
    settings = aggregators["abmil"].settings(**SMALL["abmil"])
    cross_fitted_embeddings("abmil", settings, TRAINING.model_copy(update={"epochs": 1}), subjects, 0)
    everyone = {subject.subject_id for subject in subjects}
    outer, *inner = seen
    assert outer == everyone
    left_out = [everyone - part for part in inner]
    assert len(left_out) == 3
    assert set.union(*left_out) == everyone
    assert sum(map(len, left_out)) == len(everyone)


def test_too_few_events_for_the_folds(cohort_maker):
    subjects, _ = cohort_maker(6, seed=0)
    with pytest.raises(UserError, match="inner folds"):
        cross_fitted_embeddings("mean", aggregators["mean"].settings(), TRAINING, subjects, 0, inner_folds=6)


def test_a_small_cohort_of_many_combinations_of_images_is_cross_fitted(cohort_maker):
    subjects, _ = cohort_maker(8, seed=3)
    modalities = [("ct", "slide"), ("ct",)] * 4
    subjects = [
        replace(subject, event=index < 4, graphs={name: subject.graphs[name] for name in modalities[index]})
        for index, subject in enumerate(subjects)
    ]
    assert set(Counter(crossfit._strata(subjects, 2)).values()) == {2}
    cross = cross_fitted_embeddings("mean", aggregators["mean"].settings(), TRAINING, subjects, 0, 3)
    assert np.isfinite(cross.risk).all()


def test_a_modality_that_few_have_costs_nobody_the_other(cohort_maker):
    subjects, _ = cohort_maker(24, seed=4)
    rare = [
        replace(s, graphs=dict(s.graphs) if index == 5 else {"slide": s.graphs["slide"]})
        for index, s in enumerate(subjects)
    ]
    only_ct = replace(subjects[7], graphs={"ct": subjects[7].graphs["ct"]})
    rare[7] = only_ct
    settings = aggregators["abmil"].settings(**SMALL["abmil"])
    training = TRAINING.model_copy(update={"epochs": 2})
    cross = cross_fitted_embeddings("abmil", settings, training, rare, 0)
    slide = slice(64, 128)
    has_slide = np.array(["slide" in s.graphs for s in rare])
    np.testing.assert_array_equal(cross.present[:, slide].all(axis=1), has_slide)
    assert np.isfinite(cross.risk).all()
    assert np.isfinite(cross.embedding).all()
    assert not cross.embedding[~cross.present].any()


def test_graphs_without_nodes_are_cross_fitted_as_absent_ones(cohort_maker):
    subjects, _ = cohort_maker(24, seed=4)
    none = np.zeros(0, np.int64)
    empty = replace(
        subjects[0].graphs["ct"],
        features=np.zeros((0, 6)),
        edge_index=np.zeros((2, 0), np.int64),
        node_of_patch=none,
        image_of_node=none,
    )
    settings, training = aggregators["abmil"].settings(**SMALL["abmil"]), TRAINING.model_copy(update={"epochs": 1})
    found = []
    for others in ({"ct": empty}, {}):
        cohort = [
            s if i == 5 else replace(s, graphs={"slide": s.graphs["slide"], **others}) for i, s in enumerate(subjects)
        ]
        found.append(cross_fitted_embeddings("abmil", settings, training, cohort, 0))
    np.testing.assert_array_equal(found[0].risk, found[1].risk)
    np.testing.assert_array_equal(found[0].present, found[1].present)
