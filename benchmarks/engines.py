"""The same study by every engine: this process, local workers, a Dask scheduler on loopback, a Slurm of one node.

    python -m benchmarks.engines [ENGINE...]

Each runs `sparra run` anew on one simulated cohort, and every file of its output is compared, byte for byte, with that
of `serial`. Left out are only those that say when, where and how a run went. Slurm needs root, slurm-wlm and munge. The
last line is a JSON object: the number of tables, and of each engine how many of them and of all files are equal.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from benchmarks.parts.clusters import by_slurm, dask_cluster, why_no_slurm
from sparra.simulate.cohort import simulate_cohort
from sparra.simulate.settings import SimulationSettings

ENGINES = ("serial", "local", "scheduler", "slurm")
SUBJECTS = 10
STUDY: dict[str, Any] = {
    "name": "engines",
    "cohort": {"subjects": "cohort/subjects.csv", "images": "cohort/images.csv", "time_unit": "days"},
    "workers": 2,
    "ct": {"stride_mm": 12.288},
    "methods": {"aggregators": ["mean", "sparra"], "modalities": ["joint"]},
    "training": {"epochs": 2},
    "evaluation": {"folds": 2, "inner_folds": 2, "survival_models": ["CoxPH"]},
    "report": {"patients_per_extreme": 0},
    "slurm": {"jobs": 2, "cores": 1, "memory_gib": 2.0, "walltime": "2:00:00", "interface": "lo"},
}
# What says when, where and how a run went, Slurm's logs and keys, sidecars, which hold paths and times of files, and
# drawings as SVG, in which Matplotlib writes the time and names of parts drawn by chance.
OF_THE_RUN = ("manifest.jsonl", "summary.md", "settings.json", ".lock", "slurm/*", "*.done.json", "report/*")


def make_study(folder: Path, subjects: int = SUBJECTS) -> None:
    """Write a cohort of simulated CTs and slides."""
    settings = SimulationSettings(subjects=subjects, slide_um=512, censoring=0.3, seed=4)
    simulate_cohort(folder / "cohort", settings)


def run_by(engine: str, folder: Path, until: str = "run") -> Path:
    """Run the study of `folder` by an engine and return its output.

    Raises
    ------
    RuntimeError
        If the run did not end well, with the last that it said.
    """
    file, output, log = (folder / f"{engine}{ending}" for ending in (".yaml", "", ".log"))
    file.write_text(yaml.safe_dump({**STUDY, "output": output.name}))
    command = [sys.executable, "-m", "sparra", until, str(file), "--engine"]
    if engine == "scheduler":
        with dask_cluster(folder) as (address, _):
            code = _told([*command, address], log)
    elif engine == "slurm":
        code = by_slurm([*command, engine], log)
    else:
        code = _told([*command, engine], log)
    if code:
        raise RuntimeError(f"{engine} ended with {code}: {log.read_text()[-4000:]}")
    return output


def _told(command: Sequence[str], log: Path) -> int:
    with log.open("wb") as file:
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode


def contents(output: Path) -> dict[str, bytes]:
    """Return every file of a study's output that a run's results consist of."""
    files = {path.relative_to(output).as_posix(): path for path in sorted(output.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if not any(fnmatch(name, pattern) for pattern in OF_THE_RUN)
    }


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Return the names of files that only one has, or that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def main(engines: Sequence[str]) -> None:
    figures: dict[str, Any] = {"subjects": SUBJECTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_study(folder)
        expected = contents(run_by("serial", folder))
        tables = {name for name in expected if name.endswith(".csv")}
        figures |= {"tables": len(tables), "files": len(expected)}
        for engine in engines:
            why_not = why_no_slurm() if engine == "slurm" else None
            if why_not is not None:
                print(f"slurm: {why_not}")
                figures["slurm"] = why_not
                continue
            odd = differences(expected, contents(run_by(engine, folder)))
            figures[f"equal_tables_{engine}"] = len(tables - set(odd))
            figures[f"equal_files_{engine}"] = len(expected.keys() - set(odd))
            print(f"{engine}: {len(odd)} files differ {odd[:10]}", flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:] or ENGINES[1:])
