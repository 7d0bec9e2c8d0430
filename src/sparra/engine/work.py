"""One item's work, and how it ended."""

import contextlib
import errno
import math
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from threadpoolctl import threadpool_limits

from sparra.errors import UserError
from sparra.memory import DEFAULT_HELD_BYTES, chain_of, is_out_of_memory, memory_use

Status = Literal["done", "failed", "disk", "memory", "died", "time"]
# What a child says once it has a task, and its imports are done: the time limit is the work's alone.
BEGUN = "begun"
# Libraries tell of a full disk in their own exceptions, with the system's words in the text.
DISK_WORDS = ("no space left on device", "os error 28", "disk quota exceeded", "os error 122")
DISK_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
DISK = "the disk is full"
DISK_MEND = "Free space and run again: what is done is not done again"


@dataclass(frozen=True)
class Task:
    """What a worker is given.

    Attributes
    ----------
    function : callable
        A module-level function.
    arguments : tuple
    seconds : float or None
        Time limit.
    memory : int or None
        Bytes that it may take; None shares what the worker has.
    alone : bool
        Whether it is the only one at work, so that all memory is its own, and works in smaller batches.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    seconds: float | None = None
    memory: int | None = None
    alone: bool = False


@dataclass(frozen=True)
class Outcome:
    """How one attempt at an item ended.

    Attributes
    ----------
    status : {"done", "failed", "disk", "memory", "died", "time"}
    what, where, mend : str
        As in `UserError`; empty if done.
    seconds : float
        Wall time.
    peak_mib : float
        Highest memory of the process in MiB while it worked; NaN where the system does not tell.
    host : str
    value : object
        What the function returned.
    """

    status: Status
    what: str = ""
    where: str = ""
    mend: str = ""
    seconds: float = math.nan
    peak_mib: float = math.nan
    host: str = ""
    value: Any = None


def perform(task: Task) -> Outcome:
    """Do the work in this process; every exception becomes an outcome."""
    forget_peak()
    start = time.perf_counter()
    held = DEFAULT_HELD_BYTES if task.memory is None else task.memory // 4
    value, status, words = None, "done", ("", "", "")
    with memory_use(task.alone, held):
        try:
            value = task.function(*task.arguments)
        except Exception as error:  # Everything is recorded under its subject: rule 4.
            status, words = told(error)
    spent = time.perf_counter() - start
    return Outcome(status, *words, spent, peak_mib(), socket.gethostname(), value)  # type: ignore[arg-type]


def told(error: BaseException) -> tuple[Status, tuple[str, str, str]]:
    """Return what an exception means: its status, and what, where and mend."""
    if is_disk_full(error):
        return "disk", (DISK, str(getattr(error, "filename", "") or ""), DISK_MEND)
    memory = is_out_of_memory(error)
    if isinstance(error, UserError):  # What a reader made of a lack of memory is tried again all the same.
        return "memory" if memory else "failed", (error.what, error.where or "", error.mend or "")
    if memory:
        return "memory", ("it needs more memory than there is", "", "Free memory or give it a larger machine")
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" in {os.path.basename(last[0].filename)}, line {last[0].lineno}" if last else ""
    what = f"unexpected {type(error).__name__}{place}: {error}"
    mend = "This is a bug in sparra or a file like none it has met; please report it with this line"
    return "failed", (what, "", mend)


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an exception, or one that led to it, says that there was no space to write to."""
    for link in chain_of(error):
        if isinstance(link, OSError) and link.errno in DISK_NUMBERS:
            return True
        if not isinstance(link, UserError) and any(words in str(link).lower() for words in DISK_WORDS):
            return True
    return False


def limit_threads() -> None:
    """Let torch and the linear algebra under NumPy use one thread in this process."""
    import torch

    torch.set_num_threads(1)
    threadpool_limits(limits=1)


def forget_peak() -> None:
    """Let the system count the peak of this process's memory anew, where it can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Return the highest memory of this process in MiB since it was last forgotten, or since its start."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        scale = 2**20 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
