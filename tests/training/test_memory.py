"""Memory of training does not grow with the cohort, and how much is held changes no result."""

import gc
import os
import tracemalloc

import numpy as np
import pytest
import torch

from sparra.errors import UserError
from sparra.graphs.store import GraphFiles, write_graph
from sparra.memory import DEFAULT_HELD_BYTES, SMALLER_BY, held_bytes, memory_use
from sparra.models.registry import aggregators
from sparra.training.batching import PreparedCohort
from sparra.training.crossfit import cross_fitted_embeddings
from sparra.training.fit import fit_aggregator
from sparra.training.scaling import FeatureScaler
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData

GIB = 2**30
SMALL = {
    "mean": {"hidden": 4},
    "abmil": {"hidden": 4, "attention": 4},
    "sparra": {"hidden": 8, "pooled": 4, "encoder": 4, "ensemble": 1},
}


@pytest.fixture(scope="module")
def stored(cohort_maker, tmp_path_factory):
    """120 subjects whose graphs lie on disk, each with 100 nodes of 64 further features."""
    folder = tmp_path_factory.mktemp("graphs")
    subjects, _ = cohort_maker(120, seed=5, n_nodes=(100, 101))
    generator = np.random.default_rng(0)
    found = []
    for subject in subjects:
        paths = {}
        for modality, graph in subject.graphs.items():
            noise = generator.normal(size=(len(graph), 64))
            wide = type(graph)(**{**vars(graph), "features": np.hstack([graph.features, noise])})
            paths[modality] = folder / f"{subject.subject_id}-{modality}.safetensors"
            write_graph(paths[modality], wide)
        found.append(SubjectData(subject.subject_id, GraphFiles(paths), subject.time, subject.event))
    return found


def training(memory_gib, **values):
    return TrainingSettings(epochs=1, batch_size=5, device="cpu", memory_gib=memory_gib, **values)


def peak(work):
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def cross_fit(name, subjects, memory_gib):
    settings = aggregators[name].settings(**SMALL[name])
    fitted = fit_aggregator(name, settings, training(memory_gib), subjects, 0)
    cross_fitted_embeddings(name, settings, training(memory_gib), subjects, 0, 2, fitted)


@pytest.fixture
def small_chunks(monkeypatch):
    """Predict five at a time, so that the smaller cohort fills a chunk as well."""
    for module in ("fitted", "prediction"):
        monkeypatch.setattr(f"sparra.training.{module}.PREDICTION_BATCH", 5)


@pytest.mark.parametrize("name", ["mean", "abmil", "sparra"])
def test_memory_is_flat_from_40_to_120_subjects(name, stored, small_chunks):
    """A subject's prepared graphs take about 40 kB; a quarter of that is for rows of numbers and for stray batches."""
    cross_fit(name, stored[:20], 0)  # Compiles, imports.
    few, many = (peak(lambda n=n: cross_fit(name, stored[:n], 0)) for n in (40, 120))
    assert many - few < 80 * 10_000


def test_the_measurement_sees_what_is_held(stored, small_chunks):
    few, many = (peak(lambda n=n: cross_fit("mean", stored[:n], 1)) for n in (40, 120))
    assert many - few > 80 * 20_000


@pytest.mark.parametrize("name", ["mean", "abmil", "sparra"])
def test_what_is_held_changes_no_weight(name, stored):
    settings = aggregators[name].settings(**SMALL[name])
    some = 5 * 40_000 / GIB
    for values in ({}, {"risk_set": "cohort"}, {"precision": "bfloat16"}):
        fits = [fit_aggregator(name, settings, training(gib, **values), stored[:25], 3) for gib in (0, some, 1)]
        first, *others = [list(fit.tensors().values()) for fit in fits]
        assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def test_no_more_is_held_than_the_budget_and_all_of_it_where_it_fits(stored):
    scalers = {"slide": FeatureScaler(np.zeros(72), np.ones(72)), "ct": FeatureScaler(np.zeros(70), np.ones(70))}
    budget = 300_000
    cohort, whole = (PreparedCohort(stored[:20], scalers, budget=size) for size in (budget, GIB))
    for _ in range(2):
        for index in range(20):
            first, second = cohort.graph("slide", index), whole.graph("slide", index)
            assert torch.equal(first.features, second.features)
            assert torch.equal(first.edge_index, second.edge_index)
        assert budget - first.n_bytes < cohort.held <= budget
        assert whole.held == 20 * first.n_bytes


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files under Linux")
def test_no_file_stays_open(stored, monkeypatch):
    counts = []
    read = GraphFiles.__getitem__

    def counted(self, modality):
        counts.append(len(os.listdir("/proc/self/fd")))
        return read(self, modality)

    monkeypatch.setattr(GraphFiles, "__getitem__", counted)
    cross_fit("mean", stored[:60], 1)
    assert len(counts) > 500
    assert max(counts) - counts[0] <= 3


def test_predictions_without_importance_are_the_same(stored):
    settings = aggregators["sparra"].settings(**{**SMALL["sparra"], "ensemble": 2})
    fitted = fit_aggregator("sparra", settings, training(0), stored[:20], 0)
    full, bare = (fitted.predict(stored[:70], 2, with_importance=wanted) for wanted in (True, False))
    for name in ("embedding", "present", "risk", "risk_sd"):
        np.testing.assert_array_equal(getattr(full, name), getattr(bare, name))
    assert [set(nodes) for nodes in full.importance] == [{"slide", "ct"}] * 70
    assert not any(bare.importance)


def test_a_damaged_graph_is_told_by_name(stored, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(stored[0].graphs.paths["slide"].read_bytes()[:-10])
    bad = SubjectData("bad", GraphFiles({"slide": broken}), 1.0, True)
    with pytest.raises(UserError, match="broken"):
        fit_aggregator("mean", aggregators["mean"].settings(), training(0), [*stored[:5], bad], 0)


def test_the_setting_is_no_part_of_what_a_model_is_made_from():
    assert TrainingSettings(memory_gib=1).model_dump() == TrainingSettings().model_dump()


def test_after_memory_ran_out_less_is_held():
    assert held_bytes() == DEFAULT_HELD_BYTES
    with memory_use(smaller=True, held=800):
        assert held_bytes() == 800 // SMALLER_BY
        assert held_bytes(1600) == 1600 // SMALLER_BY
