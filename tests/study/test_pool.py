import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparra.errors import UserError
from sparra.study.pool import Item, run_items


def no_bar(items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    yield from items


def work(folder: Path, number: int) -> None:
    if number == 1:
        raise UserError("the mask is empty", "mask-1.nii.gz", "Draw it")
    if number == 2:
        raise ZeroDivisionError("a bug")
    if number == 3 and folder.name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / str(number)).write_text("done")


def items(folder: Path) -> list[Item]:
    return [Item(f"S{n}", f"file-{n}", (folder, n)) for n in range(6)]


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_items_are_recorded_in_order_and_the_rest_are_done(tmp_path: Path, workers: int) -> None:
    problems = run_items("extract", work, items(tmp_path), workers, no_bar)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "3", "4", "5"]
    assert [(p.subject_id, p.where) for p in problems] == [("S1", "mask-1.nii.gz"), ("S2", "file-2")]
    assert problems[0].what == "the mask is empty"
    assert "ZeroDivisionError" in problems[1].what
    assert all(p.stage == "extract" and p.mend for p in problems)


def test_a_worker_that_is_killed_costs_only_its_own_item(tmp_path: Path) -> None:
    folder = tmp_path / "deadly"
    folder.mkdir()
    problems = run_items("extract", work, items(folder), 2, no_bar)
    assert sorted(p.name for p in folder.iterdir()) == ["0", "4", "5"]
    assert [p.subject_id for p in problems] == ["S1", "S2", "S3"]
    assert "worker process died" in problems[2].what


def slow_work(folder: Path, number: int) -> None:
    time.sleep(1.0)
    (folder / str(number)).write_text("done")


def run_slowly(folder: Path) -> None:
    run_items("extract", slow_work, [Item("S", "file", (folder, n)) for n in range(60)], 2, no_bar)


def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    run = multiprocessing.get_context("spawn").Process(target=run_slowly, args=(tmp_path,))
    run.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)  # the run alone, not its workers
    run.join()
    time.sleep(2.5)
    finished = len(list(tmp_path.iterdir()))
    time.sleep(2.5)
    assert len(list(tmp_path.iterdir())) == finished < 60
