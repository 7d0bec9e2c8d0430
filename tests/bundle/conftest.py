"""A finished study on small ready bags, made once, and a bundle of it."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sparra.bags import Bag, write_bag
from sparra.bundle.bundle import Bundle
from sparra.bundle.export import Choice, export_bundle
from sparra.bundle.store import write_bundle
from sparra.study.run import run_study
from sparra.study.settings import StudySettings, read_study

N_TRAIN = 30
NAMES = {"ct": tuple(f"ct_{k}" for k in range(6)), "slide": ()}

SLIDE = {"mpp_x": 0.25, "mpp_y": 0.25, "level_dimensions": [[4096, 4096]]}


def quietly(items: Iterable[Any], label: str, total: int) -> Iterable[Any]:
    return items


def make_bag(
    modality: str, generator: np.random.Generator, hazard: float = 0.0, offset: float = 0.0, **provenance: Any
) -> Bag:
    n, width = int(generator.integers(12, 25)), 6 if modality == "ct" else 8
    features = generator.normal(size=(n, width)) + offset
    features[:, 0] += 1.5 * hazard
    side = 12.0 if modality == "ct" else 128.0
    positions = generator.integers(0, 6, size=(n, 3 if modality == "ct" else 2)) * side
    own: dict[str, Any] = (
        {"scan_spacing_mm": [0.8, 0.8, 2.5]}
        if modality == "ct"
        else {
            "slide": {"mpp_x": 0.25, "mpp_y": 0.25, "level_dimensions": [[4096, 4096]]},
            "grid": {"tile_um": 128.0, "tile_px": 256},
        }
    )
    encoder = {"encoder": {"name": f"tiny-{modality}"}, "weights": {"sha256": "ab" * 32}}
    return Bag(
        modality,  # type: ignore[arg-type]
        features.astype(np.float32),
        positions + generator.normal(size=positions.shape) * 1e-3,
        (side,) * positions.shape[1],
        NAMES[modality],
        provenance={**encoder, **own, **provenance},
    )


def make_cohort(folder: Path, n: int, seed: int, prefix: str = "P", **changes: Any) -> Path:
    """Write bags and both tables; every seventh subject lacks a CT."""
    generator = np.random.default_rng(seed)
    images, subjects = [], []
    for index in range(n):
        name, hazard = f"{prefix}{index:03d}", generator.normal()
        for modality in ("slide",) if index % 7 == 3 else ("ct", "slide"):
            path = folder / f"{name}-{modality}.h5"
            write_bag(path, make_bag(modality, generator, hazard, **changes))
            images.append([name, modality, path.name])
        death, censored = 500 * generator.exponential(np.exp(-hazard)), 1500 * generator.exponential()
        subjects.append([name, max(1.0, min(death, censored)), int(death <= censored), 50 + generator.integers(30)])
    write_rows(folder / "images.csv", [["subject_id", "modality", "path"], *images])
    write_rows(folder / "subjects.csv", [["subject_id", "time", "event", "age"], *subjects])
    return folder / "images.csv"


def write_rows(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> StudySettings:
    folder = tmp_path_factory.mktemp("finished")
    make_cohort(folder, N_TRAIN, seed=1)
    content = {
        "name": "Small | study",
        "cohort": {"subjects": "subjects.csv", "images": "images.csv", "time_unit": "days"},
        "workers": 1,
        "methods": {
            "aggregators": ["sparra"],
            "modalities": ["joint"],
            "options": {"sparra": {"hidden": 16, "pooled": 8, "encoder": 8, "ensemble": 2}},
            "cross_fit_folds": 2,
        },
        "training": {"epochs": 4},
        "evaluation": {"folds": 2, "inner_folds": 2, "survival_models": ["CoxPH", "RSF"]},
        "report": {},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    settings = read_study(folder / "study.yaml")
    outcome = run_study(settings, quietly, "evaluate")
    assert not outcome.problems
    return settings


@pytest.fixture(scope="session")
def made(finished: StudySettings) -> Bundle:
    return export_bundle(finished, Choice(replicates=20))


@pytest.fixture(scope="session")
def written(made: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "small.bundle"
    write_bundle(made, folder)
    return folder
