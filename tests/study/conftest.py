"""A tiny synthetic study, made once, copied for every test that breaks it."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sparra.cli import main
from sparra.simulate.cohort import simulate_cohort
from sparra.simulate.settings import SimulationSettings

N_SUBJECTS = 14
QUICK = {
    "name": "tiny",
    "cohort": {"subjects": "cohort/subjects.csv", "images": "cohort/images.csv", "time_unit": "days"},
    "output": "output",
    "workers": 1,
    "ct": {"stride_mm": 12.288},
    "methods": {"aggregators": ["mean", "sparra"], "modalities": ["joint"]},
    "training": {"epochs": 2},
    "evaluation": {"folds": 2, "inner_folds": 2, "survival_models": ["CoxPH"]},
    "report": {"patients_per_extreme": 0},
}


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "cohort"
    simulate_cohort(folder, SimulationSettings(subjects=N_SUBJECTS, slide_um=512, censoring=0.3, seed=4))
    return folder


class Study:
    """A study folder whose parts a test may change.

    Parameters
    ----------
    folder : Path
        Holds ``cohort/`` and ``study.yaml``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "study.yaml"
        self.output = folder / "output"
        self.write(QUICK)

    def write(self, content: dict[str, object]) -> None:
        self.file.write_text(yaml.safe_dump(content))

    def change(self, section: str, **values: object) -> None:
        content = yaml.safe_load(self.file.read_text())
        content[section] = {**content.get(section, {}), **values}
        self.write(content)

    def rows(self, table: str) -> list[dict[str, str]]:
        with (self.folder / "cohort" / table).open(newline="") as handle:
            return list(csv.DictReader(handle))

    def write_rows(self, table: str, rows: list[dict[str, str]]) -> None:
        with (self.folder / "cohort" / table).open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def edit(self, table: str, row: int, **cells: str) -> None:
        rows = self.rows(table)
        rows[row].update(cells)
        self.write_rows(table, rows)

    def image(self, modality: str, number: int = 0) -> dict[str, str]:
        return [row for row in self.rows("images.csv") if row["modality"] == modality][number]

    def path(self, cell: str) -> Path:
        return self.folder / "cohort" / cell


@pytest.fixture
def study(simulated: Path, tmp_path: Path) -> Study:
    shutil.copytree(simulated, tmp_path / "study" / "cohort")
    return Study(tmp_path / "study")


Sparra = Callable[..., tuple[int, str]]


@pytest.fixture
def sparra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sparra:
    """Call the command line in this process; give its exit code and what it printed."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["sparra", *(str(argument) for argument in arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return call
