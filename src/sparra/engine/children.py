"""Worker processes of one Dask worker: kept warm, watched, ended when they overstep, replaced when they die.

Items do not run in the Dask worker itself. So an item that crashes, hangs, holds the interpreter or takes all memory
costs its own process, is known by name whatever the scheduler, and Dask only ever sees results.
"""

import os
import signal
import socket
import subprocess
import threading
import time
from multiprocessing.connection import Connection

import psutil

from sparra.engine.machine import GIB, gpus, memory_bytes
from sparra.engine.work import Outcome, Status, Task
from sparra.processes import environment, module_command

SECONDS_BETWEEN_LOOKS = 0.5
# What a process may take beyond an item's time limit to start and to import: minutes from a busy file server.
SECONDS_TO_START = 900.0
# What a process may take to be gone once its pipe has closed.
SECONDS_TO_END = 5.0
# Shares of the memory: what the children may fill of it, and what has to be left on the machine.
FULL, LEAST_LEFT = 0.9, 0.03

_lock = threading.Lock()
_idle: "list[Child]" = []
_all: "set[Child]" = set()


class Child:
    """One worker process.

    Parameters
    ----------
    number : int
        Place among the children here, from 0; decides its GPU.

    Attributes
    ----------
    run : str
        Name of the run that it last worked for.
    """

    def __init__(self, number: int) -> None:
        self.number, self.run = number, ""
        here, there = socket.socketpair()
        variables = environment()
        devices = gpus()
        if devices:
            variables["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
        command = module_command("sparra.engine.child", str(there.fileno()), str(os.getpid()))
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=variables, pass_fds=[there.fileno()])
        there.close()
        self.connection: Connection[Task, Outcome | str] = Connection(here.detach())

    def call(self, task: Task, budget: int) -> Outcome:
        """Do `task` there; `budget` are the bytes that all children here may take."""
        start, given = time.perf_counter(), SECONDS_TO_START
        try:
            self.connection.send(task)
            while True:
                if self.connection.poll(SECONDS_BETWEEN_LOOKS):
                    message = self.connection.recv()
                    if isinstance(message, Outcome):
                        return message
                    start, given = time.perf_counter(), 0.0  # It has begun.
                overstep = self._overstep(task, time.perf_counter() - start - given, budget)
                if overstep is not None:
                    self.end()
                    return Outcome(*overstep, seconds=time.perf_counter() - start, host=socket.gethostname())
        except (EOFError, OSError) as error:
            code = self._ended_with()
            self.end()
            what = _death(code, error)
            words = (what, "", "Free memory or set workers: 1" if "memory" in what else "Run again")
            return Outcome("died", *words, seconds=time.perf_counter() - start, host=socket.gethostname())

    def _ended_with(self) -> int | None:
        """Return the code with which the process ended by itself; None if it lives on behind a broken pipe."""
        try:
            return self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            return None

    def _overstep(self, task: Task, seconds: float, budget: int) -> tuple[Status, str, str, str] | None:
        if task.seconds is not None and seconds > task.seconds:
            what = f"it took more than {task.seconds / 60:g} minutes and was ended"
            return "time", what, "", "Look at the file and its disk, or raise time_limit_minutes"
        taken = self.memory()
        if task.memory is not None and not task.alone:
            over = taken > task.memory
        else:
            over = _crowded(budget) and taken >= max(child.memory() for child in list(_all))
        if over:
            return "memory", f"it took {taken / GIB:.1f} GiB of memory and was ended", "", "Give it a larger machine"
        return None

    def memory(self) -> int:
        """Return the bytes that it holds; not those of files mapped into it, which the system can drop."""
        try:
            info = psutil.Process(self.process.pid).memory_info()
        except psutil.Error:
            return 0
        return int(info.rss - getattr(info, "shared", 0))

    def end(self) -> None:
        """End the process and forget it."""
        with _lock:
            _all.discard(self)
        self.process.kill()
        self.process.wait()
        self.connection.close()


def _death(code: int | None, error: EOFError | OSError) -> str:
    """Say how a process was lost; the system's ending of one that takes too much is SIGKILL, a library's SIGABRT."""
    if code is None:
        reason = " ".join(str(error).split())
        return f"the connection to the worker process broke ({type(error).__name__}{': ' if reason else ''}{reason})"
    if code >= 0:
        return f"the worker process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # Most real-time signals have no name.
        name = str(-code)
    cause = ", most likely out of memory" if name in ("SIGKILL", "SIGABRT") else ""
    return f"the worker process died (by signal {name}){cause}"


def _crowded(budget: int) -> bool:
    memory = psutil.virtual_memory()
    held = sum(child.memory() for child in list(_all))
    return held > FULL * budget or memory.available < LEAST_LEFT * memory.total


def run_task(task: Task, run: str) -> Outcome:
    """Run a task in a child of this process: what a Dask worker is asked to do by the run of that name."""
    child = _take(run)
    outcome = child.call(task, _budget())
    with _lock:
        if child in _all:
            _idle.append(child)
    return outcome


def _take(run: str) -> Child:
    with _lock:
        child = _living_idle()
        if child is None:
            used = {other.number for other in _all}
            child = Child(next(number for number in range(len(used) + 1) if number not in used))
            _all.add(child)
        child.run = run
        return child


def _living_idle() -> Child | None:
    while _idle:
        child = _idle.pop()
        if child.process.poll() is None:
            return child
        _all.discard(child)
    return None


def _budget() -> int:
    """Return the bytes that the children of this Dask worker may take together."""
    from distributed import get_worker

    try:
        limit = get_worker().memory_manager.memory_limit
    except ValueError:  # No Dask worker: called directly.
        limit = None
    return min(limit or memory_bytes(), memory_bytes())


def end_children(run: str) -> None:
    """End the children of this process that work for a run, and those that work for none.

    A scheduler may serve several runs at a time. A thread that waits for a child learns its end from the pipe.
    """
    with _lock:
        idle = list(_idle)
        _idle.clear()
        busy = [child for child in _all if child.run == run and child not in idle]
    for child in busy:
        child.process.kill()
    for child in idle:
        child.end()
