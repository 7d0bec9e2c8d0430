"""Memory and time of a study of 200 and of 2,000 patients: `python -m benchmarks.cohort_scaling [--summary]`.

Simulated bags (`parts/scaled_cohort.py`) go through import, graphs, training (mean, ABMIL and SPARRA on both
modalities, cross-fitted) and evaluation (forest, ridge Cox, clinic, added value, bootstrap) with two workers. Training
may hold `HELD_MIB` of prepared graphs, less than the smaller cohort needs, so that both sizes read most graphs anew in
each epoch. `peak_mb_N` is the highest resident memory, in 10⁶ bytes, of the whole tree of processes (this one and the
workers), looked at five times a second and summed, shared libraries counted once a process; `check_mb_N` is that of the
first stage, in which workers load and look at the bags, `greatest_process_mb_N` the peak of the greatest process. Each
size runs in a process of its own. With `--folder` the studies are kept, and a run that was cut off goes on: peaks and
seconds of the stages before are noted as they end.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import psutil

from benchmarks.parts.scaled_cohort import write_cohort
from sparra.files import read_json, write_json, write_text

RESULTS = Path(__file__).parent / "results"
TABLE, FIGURES = RESULTS / "cohort_scaling.csv", RESULTS / "cohort_scaling.json"
SIZES = (200, 2000)
SEED = 1
HELD_MIB = 2.0
SECONDS_BETWEEN_LOOKS = 0.2
MB = 1e6
STUDY: dict[str, Any] = {
    "methods": {
        "aggregators": ["mean", "abmil", "sparra"],
        "modalities": ["joint"],
        "cross_fit_folds": 2,
        "options": {
            "mean": {"hidden": 32},
            "abmil": {"hidden": 32, "attention": 32},
            "sparra": {"hidden": 32, "pooled": 16, "encoder": 16, "ensemble": 2},
        },
    },
    "training": {"epochs": 2, "device": "cpu", "memory_gib": HELD_MIB / 1024},
    "evaluation": {"folds": 2, "inner_folds": 2, "survival_models": ["RSF", "CoxPH"]},
    "workers": 2,
    # A limit on time keeps the work in processes of its own, as in any study.
    "time_limit_minutes": 60,
}


class Watch:
    """Looks at the memory of this process and all below it, and keeps the highest of each stage."""

    def __init__(self, peaks: dict[str, float], greatest: float) -> None:
        self.stage = "start"
        self.peaks, self.greatest = peaks, greatest
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        own = psutil.Process()
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            sizes = [_resident(process) for process in [own, *own.children(recursive=True)]]
            self.peaks[self.stage] = max(self.peaks.get(self.stage, 0.0), sum(sizes) / MB)
            self.greatest = max(self.greatest, max(sizes) / MB)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


class Stages:
    """Tells the watch which stage runs, and notes what each took in a file, so that a run may be cut off."""

    def __init__(self, watch: Watch, seconds: dict[str, float], notes: Path) -> None:
        self.watch, self.seconds, self.notes = watch, seconds, notes
        self._begun = perf_counter()

    def begin(self, stage: str) -> None:
        """Note the time of the stage before, and that `stage` runs now."""
        now = perf_counter()
        self.seconds[self.watch.stage] = self.seconds.get(self.watch.stage, 0.0) + now - self._begun
        self.watch.stage, self._begun = stage, now
        watch = {"peaks_mb": dict(self.watch.peaks), "greatest_mb": self.watch.greatest}
        write_json(self.notes, {**watch, "seconds": self.seconds})

    def __call__(self, items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
        """Pass on the items of a stage, whose work is done as they are taken."""
        self.begin(label)
        print(f"{label}: {total}", flush=True)
        yield from items


def run_size(n_subjects: int, folder: Path, output: Path) -> None:
    """Run one study in this process and its workers, and write what it took."""
    from sparra.study.run import run_study
    from sparra.study.settings import StudySettings

    place = folder / str(n_subjects)
    notes = output.with_suffix(".partial.json")
    known = read_json(notes) if notes.exists() else {"peaks_mb": {}, "greatest_mb": 0.0, "seconds": {}}
    with Watch(known["peaks_mb"], known["greatest_mb"]) as watch:
        stages = Stages(watch, known["seconds"], notes)
        stages.begin("simulate")
        write_cohort(place / "cohort", n_subjects, SEED)
        tables = {name: place / "cohort" / f"{name}.csv" for name in ("subjects", "images")}
        cohort = {"cohort": {**tables, "time_unit": "days"}, "output": place / "study"}
        stages.begin("check")
        settings = StudySettings.model_validate({**STUDY, **cohort})
        outcome = run_study(settings, stages, until="evaluate", say=print)
        stages.begin("end")
    assert not outcome.problems, outcome.problems[0]
    metrics = pd.read_csv(outcome.layout.metrics)
    c_index = metrics[(metrics["metric"] == "c_index") & (metrics["model"] == "CoxPH")].groupby("aggregator")["value"]
    result = {
        "subjects": n_subjects,
        "peaks_mb": watch.peaks,
        "greatest_mb": watch.greatest,
        "seconds": stages.seconds,
        "c_index": c_index.mean().to_dict(),
    }
    write_json(output, result)


def measure(n_subjects: int, folder: Path) -> dict[str, Any]:
    """Run one size in a process of its own; return what it took."""
    output = folder / f"{n_subjects}.json"
    if not output.exists():
        arguments = [sys.executable, "-m", "benchmarks.cohort_scaling", "--one", str(n_subjects)]
        subprocess.run([*arguments, "--folder", str(folder)], check=True)
    content: dict[str, Any] = read_json(output)
    return content


def summarise(results: list[dict[str, Any]]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return a row a size and stage, and the figures."""
    rows, figures = [], {}
    for result in results:
        n = result["subjects"]
        rows += [
            {"subjects": n, "stage": stage, "peak_mb": round(peak, 1), "seconds": round(result["seconds"][stage], 1)}
            for stage, peak in result["peaks_mb"].items()
            if stage in result["seconds"]
        ]
        figures[f"peak_mb_{n}"] = round(max(result["peaks_mb"].values()), 1)
        figures[f"check_mb_{n}"] = round(result["peaks_mb"]["check"], 1)
        figures[f"greatest_process_mb_{n}"] = round(result["greatest_mb"], 1)
        figures[f"seconds_{n}"] = round(sum(result["seconds"].values()), 1)
        figures |= {f"c_index_{name}_{n}": round(value, 3) for name, value in result["c_index"].items()}
    small, large = SIZES
    if f"peak_mb_{large}" in figures and f"peak_mb_{small}" in figures:
        figures["memory_growth"] = round(figures[f"peak_mb_{large}"] / figures[f"peak_mb_{small}"], 3)
        figures["growth_mb"] = round(figures[f"peak_mb_{large}"] - figures[f"peak_mb_{small}"], 1)
    return pd.DataFrame(rows), figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where studies and what they took are kept; a temporary one else")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--summary", action="store_true", help="print what is saved")
    arguments = parser.parse_args()
    if arguments.one:
        run_size(arguments.one, arguments.folder, arguments.folder / f"{arguments.one}.json")
        return
    if not arguments.summary:
        with tempfile.TemporaryDirectory() as temporary:
            folder = arguments.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            table, figures = summarise([measure(n, folder) for n in arguments.sizes])
        if set(arguments.sizes) == set(SIZES):
            write_text(TABLE, table.to_csv(index=False))
            write_json(FIGURES, figures)
        else:
            print(table.to_string(index=False))
            print(json.dumps(figures))
            return
    if not FIGURES.exists():
        raise SystemExit("nothing is saved yet: run it without --summary")
    print(TABLE.read_text())
    print(json.dumps(read_json(FIGURES)))


if __name__ == "__main__":
    main()
