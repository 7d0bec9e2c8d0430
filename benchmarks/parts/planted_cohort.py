"""Feature-level cohorts in which a known, contiguous part of every graph carries the hazard.

Fixed before any SPARRA model was tried on it, with seeds of its own (1000 and up): the two amplitudes were set so that
mean pooling and ABMIL reach at 4 % what first trials on another such simulation gave (about 0.65-0.69 and 0.74-0.75,
with the true risk at about 0.80). They came to 0.68 and 0.76 with the true risk at 0.82. Above 4 % the amplitudes are
the same. Below they grow with the inverse root of the share: at 1 %, three nodes, with unchanged amplitudes both rivals
were at chance (0.48 and 0.48), so that nothing could be compared; with doubled ones they came to 0.53 and 0.76.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparra.graphs.edges import nearest_edges
from sparra.graphs.graph import SpatialGraph
from sparra.training.subjects import SubjectData

# A stream of its own: training draws from the bare seed.
STREAM = 31
COLUMNS, ROWS = 20, 15
# Below this share the amplitudes grow.
COMMON_SHARE = 0.04
PITCH_UM = 256.0
# The eight nodes around each node, diagonals included.
LONGEST_EDGE_UM = 1.5 * PITCH_UM


@dataclass(frozen=True)
class PlantedSettings:
    """What is planted.

    Attributes
    ----------
    n_subjects, n_features : int
    presence : float
        Offset of the carrying nodes along a first direction, equal in all patients: the tissue is recognisable.
    expression : float
        Offset along a second direction for each standard deviation of the patient's log hazard.
    shift : float
        Standard deviation, in each feature, of the patient's nuisance shift (scanner, stain).
    log_hazard : float
        Standard deviation of the log hazard over patients.
    censored : float
        Mean share of follow-up times that censoring cuts, as set by the length of the study.
    """

    n_subjects: int = 250
    n_features: int = 64
    presence: float = 2.0
    expression: float = 2.2
    shift: float = 0.05
    log_hazard: float = 1.5
    censored: float = 0.4


@dataclass(frozen=True)
class PlantedCohort:
    """A cohort with its truth.

    Attributes
    ----------
    subjects : list of SubjectData
        With one modality, ``slide``.
    log_hazard : ndarray of float64, shape (n_subjects,)
    carries : list of ndarray of bool, each (300,)
        Which nodes of each subject carry the hazard.
    """

    subjects: list[SubjectData]
    log_hazard: NDArray[np.float64]
    carries: list[NDArray[np.bool_]]


def simulate_planted(share: float, seed: int, settings: PlantedSettings | None = None) -> PlantedCohort:
    r"""Draw a cohort: node i of patient p is :math:`x_{pi} = m_p + \epsilon_{pi} + c_{pi}\,g\,(a\,u + b\,z_p v)`.

    :math:`\epsilon \sim N(0, I)`, the nuisance shift :math:`m_p \sim N(0, s^2 I)`, orthonormal directions u
    and v of the cohort, :math:`z_p \sim N(0, 1)`, log hazard :math:`h z_p`, and :math:`c_{pi} = 1` on a round region
    about a random node of a 20 x 15 grid; g = 1, for shares below 4 %
    :math:`\sqrt{0.04 / share}`. Event times are exponential, censoring uniform.

    Parameters
    ----------
    share : float
        Share of the nodes that carry the hazard, in (0, 1].
    seed : int
    settings : PlantedSettings, optional
    """
    settings = settings or PlantedSettings()
    rng = np.random.default_rng([STREAM, seed, round(1000 * share)])
    positions = PITCH_UM * np.stack(np.divmod(np.arange(COLUMNS * ROWS), COLUMNS), axis=1)[:, ::-1].astype(float)
    edges = nearest_edges(positions, 8, LONGEST_EDGE_UM)
    directions = np.linalg.qr(rng.normal(size=(settings.n_features, 2)))[0].T
    score = rng.normal(size=settings.n_subjects)
    log_hazard = settings.log_hazard * score
    time, event = _follow_up(log_hazard, settings.censored, rng)
    growth = max(1.0, np.sqrt(COMMON_SHARE / share))
    subjects, carries = [], []
    for index in range(settings.n_subjects):
        carrying = _region(positions, share, rng)
        offset = growth * (settings.presence * directions[0] + settings.expression * score[index] * directions[1])
        features = rng.normal(size=(len(positions), settings.n_features))
        features += settings.shift * rng.normal(size=settings.n_features) + carrying[:, None] * offset
        name = f"P{index:03d}"
        graph = _graph(features.astype(np.float32), positions, edges, name)
        subjects.append(SubjectData(name, {"slide": graph}, float(time[index]), bool(event[index])))
        carries.append(carrying)
    return PlantedCohort(subjects, log_hazard, carries)


def _region(positions: NDArray[np.float64], share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose the nodes nearest to a random place within the grid."""
    centre = positions[rng.integers(len(positions))] + rng.uniform(-0.5, 0.5, size=2) * PITCH_UM
    nearest = np.argsort(np.linalg.norm(positions - centre, axis=1), kind="stable")
    carrying = np.zeros(len(positions), dtype=bool)
    carrying[nearest[: max(1, round(share * len(positions)))]] = True
    return carrying


def _follow_up(
    log_hazard: NDArray[np.float64], censored: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Exponential event times, and uniform censoring that ends where the wanted share is cut on average."""
    event_time = rng.exponential(size=len(log_hazard)) * np.exp(-log_hazard)
    ends = np.geomspace(event_time.min(), event_time.max(), 400)
    # P(C < T) for C uniform on (0, end) is min(T / end, 1).
    cut = np.minimum(event_time[:, None] / ends, 1.0).mean(axis=0)
    end = ends[np.argmin(np.abs(cut - censored))]
    censoring = rng.uniform(0, end, size=len(log_hazard))
    return np.minimum(event_time, censoring), event_time <= censoring


def _graph(
    features: NDArray[np.float32], positions: NDArray[np.float64], edges: NDArray[np.int64], name: str
) -> SpatialGraph:
    n_nodes = len(features)
    return SpatialGraph(
        "slide", features, positions, edges, np.arange(n_nodes), np.zeros(n_nodes, dtype=np.int64), (name,), {}
    )
