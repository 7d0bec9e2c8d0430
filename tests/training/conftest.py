import numpy as np
import pytest

from sparra.graphs.graph import SpatialGraph
from sparra.training.subjects import SubjectData


def chain_graph(features, modality="slide"):
    n = len(features)
    left = np.arange(n - 1)
    edges = np.concatenate([np.stack([left, left + 1]), np.stack([left + 1, left])], axis=1)
    edges = edges[:, np.lexsort((edges[1], edges[0]))]
    return SpatialGraph(
        modality, features, None, edges, np.arange(n), np.zeros(n, dtype=np.int64), (f"{modality}-image",)
    )


def make_cohort(n_subjects, seed=0, missing=False, strength=2.0, n_nodes=(20, 40), share=0.2):
    """Subjects whose hazard is written into a contiguous share of the slide's nodes along one direction."""
    generator = np.random.default_rng(seed)
    subjects, planted = [], []
    for index in range(n_subjects):
        hazard = generator.normal()
        n = int(generator.integers(*n_nodes))
        slide = generator.normal(size=(n, 8))
        length = max(1, round(share * n))
        start = int(generator.integers(n - length + 1))
        marked = np.zeros(n, dtype=bool)
        marked[start : start + length] = True
        slide[marked, 0] += strength * hazard
        slide[marked, 1] += 3.0
        ct = generator.normal(size=(int(generator.integers(5, 15)), 6)) * 50 + 7
        graphs = {"slide": chain_graph(slide), "ct": chain_graph(ct, "ct")}
        if missing and index % 5 == 0:
            del graphs["ct" if index % 2 else "slide"]
        death, censoring = generator.exponential(np.exp(-1.5 * hazard)), generator.exponential(3.0)
        time = float(min(death, censoring))
        subjects.append(SubjectData(f"s{index:03d}", graphs, time, bool(death <= censoring)))
        planted.append(marked)
    return subjects, planted


@pytest.fixture(scope="session")
def cohort_maker():
    return make_cohort
