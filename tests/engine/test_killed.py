"""Workers are killed while a whole study runs: nothing is lost, nothing is there twice."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from benchmarks.engines import differences
from benchmarks.parts.clusters import dask_cluster
from tests.engine.conftest import BagStudy

from sparra.errors import UserError
from sparra.study.manifest import read_manifest
from sparra.study.state import study_state

SUBJECTS = 200
# How many workers are killed in each stage.
KILLS = {"check": 1, "extract": 3, "graph": 3, "train": 1, "evaluate": 1}


def events(study: BagStudy) -> list[dict[str, Any]]:
    try:
        return list(read_manifest(study.output))
    except UserError:
        return []


def workers_of(pid: int) -> list[psutil.Process]:
    try:
        below = psutil.Process(pid).children(recursive=True)
        return [child for child in below if "sparra.engine.child" in child.cmdline()]
    except psutil.Error:
        return []


def moments(rng: random.Random, items: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Yield after how many items of which stage a worker dies."""
    for stage, kills in KILLS.items():
        for done in sorted(rng.sample(range(max(1, items[stage] - 1)), kills)):
            yield stage, done


def kill_workers(study: BagStudy, pid: int, items: dict[str, int], seed: int) -> int:
    """Kill a worker, drawn at random, at moments drawn at random; return how many were killed."""
    rng, killed = random.Random(seed), 0
    for stage, done in moments(rng, items):
        while True:
            now = [entry for entry in events(study) if entry.get("stage") == stage]
            if sum(e["event"] == "ended" for e in now) >= done and any(e["event"] == "started" for e in now):
                break
            if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return killed
            time.sleep(0.02)
        patience = time.monotonic() + 10  # A worker that was just killed is being replaced.
        while not (alive := workers_of(pid)) and psutil.pid_exists(pid) and time.monotonic() < patience:
            time.sleep(0.02)
        if alive:
            rng.choice(alive).kill()
            killed += 1
    return killed


def check_nothing_is_lost_or_there_twice(study: BagStudy) -> None:
    ended = [entry for entry in events(study) if entry["event"] == "ended"]
    started = [entry for entry in events(study) if entry["event"] == "started"]
    attempts = [
        Counter((e["stage"], e["subject_id"], e["where"], e["attempt"]) for e in each) for each in (started, ended)
    ]
    assert attempts[0] == attempts[1]
    assert set(attempts[0].values()) == {1}
    finals = Counter((e["stage"], e["subject_id"], e["where"]) for e in ended if e["status"] == "done")
    assert set(finals.values()) == {1}
    for stage in study_state(study.output).stages.values():
        assert stage.count("done") == stage.planned == len(stage.items)
    bags = sorted((study.output / "features" / "slide").glob("*.h5"))
    graphs = sorted((study.output / "graphs" / "slide").glob("*.safetensors"))
    assert len(bags) == len(graphs) == study.subjects
    predictions = pd.read_csv(study.output / "evaluation" / "predictions.csv")
    everybody = Counter({study.id(number): 1 for number in range(study.subjects)})
    for _, of_model in predictions.groupby(["aggregator", "model"]):
        assert Counter(of_model["subject_id"]) == everybody
    assert len(pd.read_csv(study.output / "failures.csv")) == 0
    assert not list(study.output.rglob(".partial-*"))


@pytest.mark.slow
def test_200_subjects_with_workers_killed_at_random_end_complete(tmp_path: Path) -> None:
    undisturbed = BagStudy(tmp_path / "undisturbed", SUBJECTS)
    study = undisturbed.again(tmp_path / "killed")
    code, told = undisturbed.run("--engine", "serial")
    assert code == 0, told
    process = study.start()
    items = {"check": SUBJECTS, "extract": SUBJECTS, "graph": SUBJECTS, "train": 2, "evaluate": 2}
    killed = kill_workers(study, process.pid, items, seed=3)
    told, _ = process.communicate()
    assert process.returncode == 0, told
    again = sum(entry.get("status") == "again" for entry in events(study))
    print(f"{killed} workers killed, {again} attempts lost by it")
    assert killed >= sum(KILLS.values()) - 2  # Training and evaluation are two items each, and may be over too soon.
    assert again >= killed // 2  # The others were idle just then.
    check_nothing_is_lost_or_there_twice(study)
    assert differences(undisturbed.contents, study.contents) == []


@pytest.mark.slow
def test_a_dask_worker_that_is_killed_with_its_items_costs_nothing(undisturbed: BagStudy, tmp_path: Path) -> None:
    study = undisturbed.again(tmp_path / "study")
    with dask_cluster(tmp_path, workers=2) as (address, workers):
        process = study.start("--engine", address)
        while not any(e["event"] == "ended" and e["stage"] == "extract" for e in events(study)):
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(workers[0].pid, signal.SIGKILL)
        told, _ = process.communicate()
    assert process.returncode == 0, told
    check_nothing_is_lost_or_there_twice(study)
    assert differences(undisturbed.contents, study.contents) == []
