"""A study of ready bags: every stage runs, in seconds."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from benchmarks.engines import contents

STUDY: dict[str, Any] = {
    "name": "bags",
    "output": "output",
    "workers": 2,
    "methods": {"aggregators": ["mean"], "modalities": ["slide"]},
    "training": {"epochs": 1},
    "evaluation": {"folds": 2, "inner_folds": 2, "survival_models": ["CoxPH"]},
}


class BagStudy:
    """A study of bags of 30 tiles with 8 features.

    Parameters
    ----------
    folder : Path
    subjects : int
    cohort : Path, optional
        Folder of a study whose bags are taken; a bag's provenance names its source.
    """

    def __init__(self, folder: Path, subjects: int, cohort: Path | None = None) -> None:
        self.folder, self.subjects, self.cohort = folder, subjects, cohort or folder
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.file, self.output = folder / "study.yaml", folder / "output"
        folder.mkdir(parents=True)
        if cohort is None:
            self._make()
        self.change()

    def _make(self) -> None:
        subjects = self.subjects
        rng = np.random.default_rng(subjects)
        risk = rng.normal(size=subjects)
        for number in range(subjects):
            features = rng.normal(risk[number] / 2, 1, (30, 8)).astype(np.float32)
            positions = rng.permutation(100)[:30, None] // [10, 1] % 10 * 256.0
            np.savez(self.bag(number), features=features, positions_um=positions)
        time = np.round(rng.exponential(1000 * np.exp(-risk)) + 1, 1)
        self._write("subjects.csv", [[self.id(n), time[n], int(n % 3 > 0)] for n in range(subjects)], "time", "event")
        rows = [[self.id(n), "slide", self.bag(n).name] for n in range(subjects)]
        self._write("images.csv", rows, "modality", "path")

    def again(self, folder: Path) -> "BagStudy":
        """The same study of the same bags with another output."""
        return BagStudy(folder, self.subjects, self.cohort)

    def id(self, number: int) -> str:
        return f"P{number:03d}"

    def bag(self, number: int) -> Path:
        return self.cohort / f"P{number:03d}.npz"

    def _write(self, name: str, rows: list[list[Any]], *columns: str) -> None:
        with (self.cohort / name).open("w", newline="") as file:
            csv.writer(file).writerows([["subject_id", *columns], *rows])

    def change(self, **values: Any) -> None:
        tables = {name: str(self.cohort / f"{name}.csv") for name in ("subjects", "images")}
        self.file.write_text(yaml.safe_dump({**STUDY, "cohort": {**tables, "time_unit": "days"}, **values}))

    def start(self, *options: str) -> "subprocess.Popen[str]":
        arguments = [sys.executable, "-m", "sparra", "evaluate", str(self.file), *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(arguments, env=self.environment, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload,no-any-return]

    def run(self, *options: str) -> tuple[int, str]:
        """Run up to the last table; the report holds no further ones."""
        process = self.start(*options)
        told, _ = process.communicate()
        return process.returncode, told

    @property
    def contents(self) -> dict[str, bytes]:
        return contents(self.output)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> BagStudy:
    """Twelve subjects, run by one process."""
    study = BagStudy(tmp_path_factory.mktemp("undisturbed") / "study", 12)
    code, told = study.run("--engine", "serial")
    assert code == 0, told
    return study
