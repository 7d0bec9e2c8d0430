"""The synthetic cohort with a study file, ready to run."""

from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from sparra.engine.machine import processors
from sparra.files import read_json, write_text
from sparra.simulate.cohort import simulate_cohort
from sparra.simulate.settings import SimulationSettings
from sparra.study.progress import ProgressBars


def write_simulation(folder: Path, options: dict[str, Any], console: Console) -> Path:
    """Simulate a cohort into ``folder/cohort`` and write ``folder/study.yaml``.

    Returns
    -------
    Path
        The study file.

    Raises
    ------
    UserError
        If an option is out of range.
    """
    settings = SimulationSettings.from_mapping(options, "simulate")
    if not _is_complete(folder / "cohort", settings):
        bars = ProgressBars(console)
        workers = processors()
        simulate_cohort(folder / "cohort", settings, workers, lambda items: bars(items, "simulate", settings.subjects))
    study = {
        "name": f"Synthetic cohort of {settings.subjects} patients",
        "cohort": {"subjects": "cohort/subjects.csv", "images": "cohort/images.csv", "time_unit": "days"},
        "output": "output",
        "seed": settings.seed,
    }
    path = folder / "study.yaml"
    # A study file that its user has changed stays.
    if not path.exists():
        write_text(path, "# Written by `sparra simulate`.\n" + yaml.safe_dump(study, sort_keys=False))
    return path


def _is_complete(cohort: Path, settings: SimulationSettings) -> bool:
    """Tell whether just this cohort lies there; the table of subjects is written last."""
    truth = cohort / "truth" / "truth.json"
    if not (truth.exists() and (cohort / "subjects.csv").exists()):
        return False
    return bool(read_json(truth)["settings"] == settings.model_dump(mode="json"))


def write_demo(folder: Path, subjects: int, seed: int, console: Console) -> Path:
    """Write the demo's study, keeping a cohort that is already there and complete."""
    return write_simulation(folder, {"subjects": subjects, "seed": seed}, console)
