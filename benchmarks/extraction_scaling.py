"""Extraction by two workers against one: CPU-bound, on simulated CTs and slides, in turns.

Each round extracts the same cohort anew with one worker and with two, after the workers have been started and warmed
up, so that what is compared is the work. In the same rounds plain arithmetic is done in one process and in two that
know nothing of each other: what the machine itself gives at the time, less than 2 where others use it. The last line is
a JSON object with `speedup_2`, the ratio of the shortest times, and `plain_2`, that of the arithmetic.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparra.simulate.cohort import simulate_cohort
from sparra.simulate.settings import SimulationSettings
from sparra.study.layout import StudyLayout
from sparra.study.pool import open_session
from sparra.study.run import check_study
from sparra.study.settings import StudySettings
from sparra.study.stages import extract_bags

SUBJECTS, ROUNDS = 24, 3
ARITHMETIC = """
import numpy as np
values = np.random.default_rng(0).normal(size=(400, 400))
for _ in range(400):
    values = np.sort(values * 1.0001, axis=0) + 1e-9 * (values @ values)
"""


def no_bar(items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    yield from items


def seconds(folder: Path, workers: int) -> float:
    """Return the time that extraction takes, the workers being warm."""
    tables = {"subjects": folder / "cohort" / "subjects.csv", "images": folder / "cohort" / "images.csv"}
    output = folder / f"output-{workers}"
    values = {"cohort": tables | {"time_unit": "days"}, "output": output, "ct": {"stride_mm": 6.144}}
    # The memory limit keeps one worker a process of its own, as two are.
    settings = StudySettings.model_validate({**values, "workers": workers, "memory_gib": 4.0})
    layout = StudyLayout(output)
    output.mkdir(exist_ok=True)
    with open_session(settings, output, print):
        cohort = check_study(settings, no_bar)
        # Warm: workers that have started and imported.
        extract_bags(settings, replace(cohort, images=cohort.images[: 2 * workers]), layout, no_bar)
        shutil.rmtree(output / "features")
        start = time.perf_counter()
        problems = extract_bags(settings, cohort, layout, no_bar)
        taken = time.perf_counter() - start
    assert not problems, problems
    shutil.rmtree(output)
    return taken


def plain_seconds(processes: int) -> float:
    """Return the time that as many processes take for the same arithmetic each, by the process."""
    start = time.perf_counter()
    started = [subprocess.Popen([sys.executable, "-c", ARITHMETIC]) for _ in range(processes)]
    for process in started:
        process.wait()
    return (time.perf_counter() - start) / processes


def main() -> None:
    taken: dict[int, list[float]] = {1: [], 2: []}
    plain: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate_cohort(folder / "cohort", SimulationSettings(subjects=SUBJECTS, seed=1))
        for number in range(ROUNDS):
            for workers in (1, 2) if number % 2 == 0 else (2, 1):
                plain[workers].append(plain_seconds(workers))
                taken[workers].append(seconds(folder, workers))
                print(f"round {number + 1}: {workers} workers: {taken[workers][-1]:.2f} s", flush=True)
    one, two = min(taken[1]), min(taken[2])
    figures = {"subjects": SUBJECTS, "seconds_1": round(one, 3), "seconds_2": round(two, 3)}
    figures |= {"plain_2": round(min(plain[1]) / min(plain[2]), 3), "speedup_2": round(one / two, 3)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
