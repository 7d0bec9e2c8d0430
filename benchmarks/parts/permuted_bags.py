"""Networks on bags of noise, for `benchmarks.permuted_outcomes` and the test of the same name."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparra.graphs.graph import SpatialGraph
from sparra.models.registry import aggregators
from sparra.survival.outcomes import FloatArray, FollowUp, RiskScores
from sparra.training.fit import fit_aggregator
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData

NETWORKS = ("mean", "abmil", "sparra")
N_NODES, N_FEATURES = 8, 24
# A stream of its own: training draws from the bare seed.
STREAM = 103
TRAINING = TrainingSettings(epochs=10, ensemble=1, learning_rate=1e-3)


def noise_bags(follow_up: FollowUp, seed: int) -> list[SubjectData]:
    """Return patients whose graphs, chains of eight nodes, have nothing to do with their follow-up.

    Each patient has an offset of its own in every feature, so that a network can learn patients by heart.
    """
    rng = np.random.default_rng([STREAM, seed])
    chain = np.arange(N_NODES - 1)
    edges = np.hstack([[chain, chain + 1], [chain + 1, chain]])
    edges = edges[:, np.lexsort((edges[1], edges[0]))]
    positions = np.column_stack([256.0 * np.arange(N_NODES), np.zeros(N_NODES)])
    nodes, image = np.arange(N_NODES), np.zeros(N_NODES, dtype=np.int64)
    subjects = []
    for row, (time, event) in enumerate(zip(follow_up.time, follow_up.event, strict=True)):
        features = rng.normal(size=N_FEATURES) + rng.normal(size=(N_NODES, N_FEATURES))
        name = f"{row:03d}"
        graph = SpatialGraph("slide", features.astype(np.float32), positions, edges, nodes, image, (name,))
        subjects.append(SubjectData(name, {"slide": graph}, float(time), bool(event)))
    return subjects


def network_risks(
    name: str, subjects: Sequence[SubjectData], fitted_to: NDArray[np.intp], *asked: NDArray[np.intp]
) -> list[RiskScores]:
    """Fit one network to some of the patients and return the risks of others, one array of rows each."""
    settings = aggregators[name].settings()
    fitted = fit_aggregator(name, settings, TRAINING, [subjects[row] for row in fitted_to], seed=0)
    risks: list[FloatArray] = [fitted.predict([subjects[row] for row in rows]).risk for rows in asked]
    return [RiskScores(risk) for risk in risks]
