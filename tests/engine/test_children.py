"""How the loss of a worker process is told."""

import os
import signal
import sys
import threading
import time

import pytest

from sparra.engine import children
from sparra.engine.children import Child, _all, _death, end_children, run_task
from sparra.engine.work import Outcome, Task

GIB = 2**30


def lose(how: str) -> None:
    if how == "pipe":
        os.close(int(sys.argv[1]))
        time.sleep(600)
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), int(how))
    time.sleep(600)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("pipe", "the connection to the worker process broke (EOFError)"),
        ("exit", "the worker process ended with exit code 3"),
        ("9", "the worker process died (by signal SIGKILL), most likely out of memory"),
        ("40", "the worker process died (by signal 40)"),
    ],
)
def test_a_lost_worker_is_told_as_it_was_lost(monkeypatch: pytest.MonkeyPatch, how: str, told: str) -> None:
    monkeypatch.setattr(children, "SECONDS_TO_END", 2.0, raising=False)
    child = Child(0)
    outcome = child.call(Task(lose, (how,)), 64 * GIB)
    assert (outcome.status, outcome.what) == ("died", told)
    assert child.process.poll() is not None


def test_only_what_lack_of_memory_does_is_called_so() -> None:
    blamed = [
        code
        for code in (None, 0, 1, *(-signal.Signals(s) for s in range(1, 16)))
        if "memory" in _death(code, EOFError())
    ]
    assert blamed == [-signal.SIGABRT, -signal.SIGKILL]
    assert _death(None, OSError("bad message length")).endswith("(OSError: bad message length)")


def test_the_end_of_one_run_leaves_the_workers_of_another_on_the_same_scheduler_alone() -> None:
    found: dict[str, Outcome] = {}

    def work(run: str, seconds: float) -> None:
        found[run] = run_task(Task(time.sleep, (seconds,)), run)

    threads = [threading.Thread(target=work, args=pair) for pair in (("ends", 600.0), ("goes on", 4.0))]
    for thread in threads:
        thread.start()
    while {child.run for child in list(_all)} != {"ends", "goes on"}:
        time.sleep(0.05)
    end_children("ends")
    for thread in threads:
        thread.join()
    assert {run: outcome.status for run, outcome in found.items()} == {"ends": "died", "goes on": "done"}
    end_children("goes on")
    assert not _all


def test_ctrl_c_in_a_terminal_is_left_to_the_process_that_gave_the_work() -> None:
    child = Child(0)
    try:
        assert child.call(Task(os.getpid, ()), 64 * GIB).value == child.process.pid
        child.process.send_signal(signal.SIGINT)
        assert child.call(Task(os.getpid, ()), 64 * GIB).status == "done"
    finally:
        child.end()
