"""Items that crash, hang, take all memory or fill the disk cost themselves alone."""

import errno
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sparra.engine import machine
from sparra.engine.children import Child, _all
from sparra.engine.dask import DaskEngine
from sparra.engine.loop import Attempt, Engine
from sparra.engine.machine import default_workers, gpus
from sparra.engine.settings import EngineSettings
from sparra.engine.work import Outcome, Task, perform
from sparra.errors import UserError
from sparra.memory import batch_within_memory
from sparra.study import lock, pool
from sparra.study.lock import OWNER, study_lock
from sparra.study.manifest import NAME, Manifest, read_manifest
from sparra.study.pool import Item, open_session, run_items
from sparra.study.state import study_state


def no_bar(items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    yield from items


def work(folder: Path, number: int, what: str) -> None:
    if what == "hang":
        time.sleep(600)
    if what == "swell" and batch_within_memory(8) == 8:
        hoard = np.ones((2**27,))  # 1 GiB
        time.sleep(600)
        del hoard
    if what == "full":
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "bag.h5"))
    time.sleep(0.1)
    with (folder / "log").open("a") as log:
        log.write(f"{number}\n")


def items(folder: Path, kinds: list[str]) -> list[Item]:
    return [Item(f"S{n}", f"file-{n}", (folder, n, what)) for n, what in enumerate(kinds)]


def run(folder: Path, kinds: list[str], **settings: Any) -> list[Any]:
    with open_session(EngineSettings(**settings), folder, lambda _: None):
        return run_items("extract", work, items(folder, kinds), 2, no_bar)


def done(folder: Path) -> Counter[str]:
    return Counter((folder / "log").read_text().split())


def kill_at_random(until: threading.Event, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    while kills and not until.wait(rng.uniform(0.2, 0.8)):
        alive = [child for child in list(_all) if child.process.poll() is None]
        if alive:
            os.kill(rng.choice(alive).process.pid, signal.SIGKILL)
            kills -= 1


def test_nothing_is_lost_or_done_twice_when_workers_are_killed_at_random(tmp_path: Path) -> None:
    subjects, kills = 40, 8
    ended = threading.Event()
    killer = threading.Thread(target=kill_at_random, args=(ended, kills, subjects))
    killer.start()
    try:
        problems = run(tmp_path, ["work"] * subjects, workers=2, attempts=6)
    finally:
        ended.set()
        killer.join()
    assert problems == []
    assert set(done(tmp_path)) == {str(number) for number in range(subjects)}
    stage = study_state(tmp_path).stages["extract"]
    assert stage.count("done") == stage.planned == subjects
    finals = [e for e in read_manifest(tmp_path) if e["event"] == "ended" and e["status"] == "done"]
    assert len(finals) == subjects


def test_a_hung_item_is_ended_and_recorded_and_the_rest_are_done(tmp_path: Path) -> None:
    problems = run(tmp_path, ["work", "hang", "work", "work"], workers=2, time_limit_minutes=0.03)
    assert [p.subject_id for p in problems] == ["S1"]
    assert "took more than 0.03 minutes" in problems[0].what
    assert done(tmp_path) == Counter("023")


def test_an_item_that_takes_too_much_memory_is_tried_again_in_smaller_batches(tmp_path: Path) -> None:
    assert run(tmp_path, ["work", "swell", "work"], workers=2, memory_gib=0.5) == []
    assert done(tmp_path) == Counter("012")
    item = study_state(tmp_path).stages["extract"].items["S1", "file-1"]
    assert (item.status, item.attempts) == ("done", 2)
    assert 0 < (item.peak_mib or 0) < 512


def test_a_full_disk_elsewhere_costs_its_item_and_the_study_s_own_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = run(tmp_path, ["work", "full", "work"], engine="serial")
    assert [(p.subject_id, p.what) for p in problems] == [("S1", "the disk is full")]
    assert done(tmp_path) == Counter("02")
    monkeypatch.setattr(pool, "LEAST_FREE_BYTES", 2**62)
    with pytest.raises(UserError, match="the disk is full"):
        run(tmp_path, ["full", "work"], engine="serial")
    assert study_state(tmp_path).state == "ended early"


@pytest.mark.parametrize(
    "error", [OSError("h5py: errno = 28, error message = 'No space left on device'"), RuntimeError("(os error 28)")]
)
def test_a_library_s_own_words_for_a_full_disk_are_understood(error: Exception) -> None:
    def write() -> None:
        raise error

    assert perform(Task(write, ())).status == "disk"


def test_a_truncated_file_is_a_failure_of_its_subject() -> None:
    def read() -> None:
        raise UserError("the file is cut off", "ct.nii.gz", "Download it again")

    outcome = perform(Task(read, ()))
    assert (outcome.status, outcome.what, outcome.where) == ("failed", "the file is cut off", "ct.nii.gz")


def test_a_line_that_a_kill_cut_off_is_skipped_and_closed(tmp_path: Path) -> None:
    run(tmp_path, ["work"], engine="serial")
    with (tmp_path / NAME).open("a") as file:
        file.write('{"time": 1, "event": "star')
    with Manifest(tmp_path) as manifest:
        manifest.begin_run("serial")
    assert [entry["event"] for entry in read_manifest(tmp_path)][-2:] == ["end", "run"]
    assert study_state(tmp_path).state == "cut off"


def test_workers_that_go_while_the_last_items_are_at_work_are_missed() -> None:
    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:
        said: list[str] = []
        engine = DaskEngine(client, 1, "a scheduler", 1.5, said.append)
        engine.submit(Task(time.sleep, (0.0,)), Attempt(0))
        with pytest.raises(UserError, match="no worker has been there"):
            [engine.ended() for _ in range(8)]  # All are handed over: the loop asks for nothing but how they ended.
        assert said == ["waiting for workers"]


Edit = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.mark.parametrize(
    ("edit", "age", "refused"),
    [
        (lambda o: {**o, "host": "elsewhere"}, 1, True),
        (lambda o: {**o, "host": "elsewhere"}, 2 * lock.SECONDS_UNTIL_DEAD, False),
        (lambda o: {**o, "started": 1.0}, 1, False),
    ],
    ids=["alive on another host", "silent on another host", "a dead process's number taken by another"],
)
def test_a_run_of_another_host_is_respected_while_it_gives_signs_of_life(
    tmp_path: Path, edit: Edit, age: float, refused: bool
) -> None:
    with study_lock(tmp_path):
        owner = json.loads((tmp_path / OWNER).read_text())
    path = tmp_path / OWNER
    path.write_text(json.dumps(edit({**owner, "token": "other"})))
    os.utime(path, (time.time() - age,) * 2)
    if refused:
        with pytest.raises(UserError, match=r"process .* on elsewhere"), study_lock(tmp_path):
            pass
        assert path.exists()
    else:
        with study_lock(tmp_path):
            pass
        assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"[1]", b"{}", b'{"host": 1}'])
def test_an_owner_s_file_that_a_crash_damaged_is_respected_for_minutes_and_then_set_aside(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / OWNER
    path.write_bytes(content)
    with pytest.raises(UserError, match="another run is at work"), study_lock(tmp_path):
        pass
    os.utime(path, (time.time() - 2 * lock.SECONDS_UNTIL_DEAD,) * 2)
    with study_lock(tmp_path):
        assert lock.owner_of(tmp_path)["pid"] == os.getpid()  # type: ignore[index]
    assert {file.name for file in tmp_path.iterdir()} == {".lock"}


def test_signs_of_life_go_on_when_the_file_server_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SECONDS_BETWEEN_SIGNS", 0.02)
    signs: list[Path] = []

    def sign(path: Path) -> None:
        signs.append(path)
        if len(signs) < 3:
            raise OSError(errno.ESTALE, "Stale file handle")

    with study_lock(tmp_path):
        monkeypatch.setattr(lock.os, "utime", sign)
        time.sleep(0.5)
    assert len(signs) > 3


def test_a_run_lives_though_the_clock_was_set_right(tmp_path: Path) -> None:
    with study_lock(tmp_path):
        owner = lock.owner_of(tmp_path)
        assert owner is not None
        assert lock.is_alive({**owner, "started": owner["started"] + 1})
        assert not lock.is_alive({**owner, "started": owner["started"] - 60})


@pytest.mark.parametrize(
    "settings", [{"engine": "ftp://x:1"}, {"engine": "serial", "memory_gib": 1}, {"engine": "tls://x:1"}]
)
def test_settings_that_cannot_be_kept_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EngineSettings(**settings)


class CountingEngine(Engine):
    """Notes how many items are in flight, and ends them in any order."""

    words = "an engine that counts"
    attempts = 3

    def __init__(self, rng: random.Random, slots: int) -> None:
        self.rng, self.limit = rng, slots
        self.flying: list[Attempt] = []
        self.most = 0

    def slots(self) -> int:
        return self.rng.randint(0, self.limit)  # Workers come and go.

    def submit(self, task: Task, attempt: Attempt) -> None:
        assert not any(other.alone for other in self.flying)
        assert not (attempt.alone and self.flying)
        self.flying.append(attempt)
        self.most = max(self.most, len(self.flying))

    def ended(self) -> list[tuple[Attempt, Outcome]]:
        self.rng.shuffle(self.flying)
        some = [self.flying.pop() for _ in range(self.rng.randint(0, len(self.flying)))]
        return [(attempt, Outcome(self.rng.choice(["done", "died", "memory", "failed"]))) for attempt in some]


@given(st.integers(0, 40), st.integers(1, 5), st.integers(0, 2**16))
def test_never_more_items_are_in_flight_than_there_are_slots_and_each_ends_once(n: int, slots: int, seed: int) -> None:
    engine = CountingEngine(random.Random(seed), slots)
    started: Counter[int] = Counter()
    endings = list(engine.run([Task(work, ())] * n, lambda attempt: started.update([attempt.index])))
    assert engine.most <= slots
    assert sorted(ended.attempt.index for ended in endings if ended.final) == list(range(n))
    assert Counter(ended.attempt.index for ended in endings) == started
    assert all(1 <= number <= engine.attempts for number in started.values())


def test_neither_the_scheduler_nor_its_workers_ever_hold_more_items_than_can_be_worked_on(tmp_path: Path) -> None:
    held: list[int] = []
    with open_session(EngineSettings(workers=3), tmp_path, lambda _: None) as session:
        assert isinstance(session.engine, DaskEngine)
        scheduler = session.engine.client.cluster.scheduler

        def bar(endings: Iterable[Any], label: str, total: int) -> Iterator[Any]:
            for ending in endings:
                held.append(sum(name.startswith("work-") for name in list(scheduler.tasks)))
                yield ending

        assert run_items("extract", work, items(tmp_path, ["work"] * 30), 3, bar) == []
    running = 0
    for entry in read_manifest(tmp_path):
        running += {"started": 1, "ended": -1}.get(entry["event"], 0)
        assert running <= 3
    assert len(held) == 30
    # Those in flight, and what has just ended, which is let go in the next moment.
    assert max(held) <= 2 * 3


def test_each_worker_process_is_given_one_gpu_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert gpus() == ["GPU-a", "GPU-b"]
    monkeypatch.setattr(machine, "processors", lambda: 64)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 2**40)
    assert default_workers() == 2 * machine.WORKERS_PER_GPU
    children = [Child(number) for number in range(3)]
    try:
        seen = [child.call(Task(os.getenv, ("CUDA_VISIBLE_DEVICES",)), 2**40).value for child in children]
    finally:
        for child in children:
            child.end()
    assert seen == ["GPU-a", "GPU-b", "GPU-a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == []
    assert default_workers() == 64
