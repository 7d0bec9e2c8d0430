"""The cost model against what the code does: passes through a patient's graphs, bytes on disk, memory held."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparra.bags.bag import Bag
from sparra.bags.store import write_bag
from sparra.graphs.build import build_graph, merge_graphs
from sparra.graphs.settings import GraphSettings
from sparra.graphs.store import write_graph
from sparra.models.registry import aggregators
from sparra.study.cost import GB, Rates, StudySize, stage_costs
from sparra.training.crossfit import cross_fitted_embeddings
from sparra.training.fit import fit_aggregator
from sparra.training.gradients import Objective
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData

SMALL = StudySize(subjects=24, tiles=60, slide_features=5, ct_patches=40, ct_features=4, folds=3, epochs=2, ensemble=2)


def test_patient_epochs_are_the_passes_of_training(monkeypatch):
    rng = np.random.default_rng(0)
    bag = Bag("slide", rng.normal(size=(9, 5)), 128.0 * np.argwhere(np.ones((3, 3))).astype(float))
    graph = build_graph(bag, GraphSettings(), "image")
    subjects = [SubjectData(str(i), {"slide": graph}, float(i + 1), i % 2 == 0) for i in range(24)]
    passes = {True: 0, False: 0}
    forward = Objective.forward

    def counted(self, indices, batch):
        passes[self.model.training] += len(indices)
        return forward(self, indices, batch)

    monkeypatch.setattr(Objective, "forward", counted)
    training = TrainingSettings(epochs=SMALL.epochs, batch_size=4, ensemble=SMALL.ensemble, device="cpu")
    settings = aggregators["mean"].settings(hidden=2)
    for part in range(SMALL.folds):
        train = [subject for index, subject in enumerate(subjects) if index % SMALL.folds != part]
        fitted = fit_aggregator("mean", settings, training, train, 0)
        cross_fitted_embeddings("mean", settings, training, train, 0, SMALL.inner_folds, fitted)
    # A last batch of one has no risk set and is left out, here of the inner parts of 10 or 11.
    assert SMALL.patient_epochs * 0.95 <= passes[True] <= SMALL.patient_epochs
    inside = (SMALL.folds - 1) * SMALL.subjects * (SMALL.ensemble + SMALL.inner_folds - 1)
    assert passes[False] == inside


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_disk_is_what_files_take(tmp_path: Path, dtype):
    rng = np.random.default_rng(1)
    slide = Bag("slide", rng.normal(size=(4000, 64)), 128.0 * np.argwhere(np.ones((80, 50))).astype(float))
    ct = Bag("ct", rng.normal(size=(1000, 48)), 6.0 * np.argwhere(np.ones((10, 10, 10))).astype(float))
    bags = graphs = nodes = 0
    for bag in (slide, ct):
        path, stored = tmp_path / f"{bag.modality}.h5", tmp_path / f"{bag.modality}.safetensors"
        write_bag(path, bag, dtype=dtype)
        graph = merge_graphs([build_graph(bag, GraphSettings(), "image")])
        write_graph(stored, graph, dtype)
        bags, graphs, nodes = bags + path.stat().st_size, graphs + stored.stat().st_size, nodes + len(graph)
    size = StudySize(
        1, 4000, 64, 100, 1000, 48, tokens_per_node=5000 / nodes, bytes_per_value=2 if dtype == "float16" else 4
    )
    costs = stage_costs(size)
    written = (costs["extract slides"].written_gb + costs["extract CT"].written_gb) * GB
    assert written == pytest.approx(bags, rel=0.05)
    assert costs["graph"].written_gb * GB == pytest.approx(graphs, rel=0.35)


def test_time_and_disk_grow_with_the_patients_and_memory_does_not():
    small, large = (stage_costs(StudySize(subjects=n)) for n in (2_000, 20_000))
    for stage in ("extract slides", "extract CT", "graph"):
        assert large[stage].core_hours == pytest.approx(10 * small[stage].core_hours)
        assert large[stage].written_gb == pytest.approx(10 * small[stage].written_gb)
        assert large[stage].worker_gb == small[stage].worker_gb
    # 8 bytes a node of the test part and a row of the embedding a patient.
    assert large["train"].worker_gb - small["train"].worker_gb < 0.4
    assert large["train"].core_hours == pytest.approx(10 * small["train"].core_hours, rel=0.02)
    exponent = math.log10(large["evaluate"].core_hours / small["evaluate"].core_hours)
    assert exponent == pytest.approx(Rates().evaluation_exponent)


def test_what_fits_is_not_read_again():
    held = replace(SMALL, held_bytes=10**9)
    assert stage_costs(held)["train"].read_gb == 0
    assert stage_costs(replace(SMALL, held_bytes=0))["train"].read_gb > 0
