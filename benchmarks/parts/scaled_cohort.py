"""Cohorts of bags as large as one likes, with a planted hazard, written one patient after the other.

A patient has a slide of 300 patches on a grid of 256 µm and a CT of 150 on one of 6 mm, 64 features each. A round
region of a tenth of the patches carries the hazard along one direction and is marked along another; everything else is
noise. The log hazard is that of slide and CT together.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparra.bags.bag import Bag
from sparra.bags.store import write_bag
from sparra.files import write_text
from sparra.modality import Modality

# A stream of its own: training draws from the bare seed.
STREAM = 41
N_FEATURES = 64
GRIDS: dict[Modality, tuple[tuple[int, ...], float]] = {"slide": ((20, 15), 256.0), "ct": ((5, 5, 6), 6.0)}
CARRYING_SHARE = 0.1
PRESENCE, EXPRESSION, LOG_HAZARD = 3.0, 2.0, 1.2
YEAR = 365.25


def write_cohort(folder: Path, n_subjects: int, seed: int) -> None:
    """Write ``subjects.csv``, ``images.csv`` and the bags; a cohort that is there stays, its table is written last."""
    if (folder / "subjects.csv").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    subjects, images = [], []
    for index in range(n_subjects):
        name = f"P{index:05d}"
        rng = np.random.default_rng([STREAM, seed, index])
        score = rng.normal()
        for modality in GRIDS:
            path = folder / f"{name}-{modality}.h5"
            write_bag(path, _bag(modality, score, rng))
            images.append({"subject_id": name, "modality": modality, "path": path.name})
        death = rng.exponential() * 3 * YEAR * np.exp(-LOG_HAZARD * score)
        censoring = rng.uniform(1.0, 8.0) * YEAR
        age = round(float(rng.normal(62, 10) + 4 * score), 1)
        time = round(float(min(death, censoring)) + 1.0, 1)
        subjects.append({"subject_id": name, "time": time, "event": int(death <= censoring), "age": age})
    write_text(folder / "images.csv", pd.DataFrame(images).to_csv(index=False))
    write_text(folder / "subjects.csv", pd.DataFrame(subjects).to_csv(index=False))


def _bag(modality: Modality, score: float, rng: np.random.Generator) -> Bag:
    shape, pitch = GRIDS[modality]
    positions = pitch * np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1).astype(np.float64)
    carrying = _region(positions, rng)
    directions = np.eye(N_FEATURES)[:2]
    features = rng.normal(size=(len(positions), N_FEATURES))
    features += carrying[:, None] * (PRESENCE * directions[0] + EXPRESSION * score * directions[1])
    return Bag(
        modality,
        features.astype(np.float32),
        positions,
        patch_size=(pitch,) * positions.shape[1],
        provenance={"encoder": {"name": "simulated"}},
    )


def _region(positions: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    centre = positions[rng.integers(len(positions))]
    order = np.argsort(np.linalg.norm(positions - centre, axis=1), kind="stable")
    carrying = np.zeros(len(positions), dtype=bool)
    carrying[order[: round(CARRYING_SHARE * len(positions))]] = True
    return carrying
