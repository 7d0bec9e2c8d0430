"""Running one function over many items, in processes, so that one bad item never stops the others."""

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from sparra.cohort.problems import Problem, problem_of
from sparra.errors import UserError

POOLS_BEFORE_ISOLATION = 2
SECONDS_BETWEEN_LOOKS = 0.5

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]


@dataclass(frozen=True)
class Item:
    """One piece of work.

    Attributes
    ----------
    subject_id : str
        Subject it belongs to, empty for work on the whole cohort.
    where : str
        File or fold that a failure is reported under.
    arguments : tuple
        Arguments of the function; they must be picklable.
    """

    subject_id: str
    where: str
    arguments: tuple[Any, ...]


def prepare_worker(parent: int) -> None:
    """Set up a worker process: one thread, and an end when the parent ends, however that is killed.

    One thread, so that the workers share the machine and results do not vary. Without the watch, workers of a
    killed run would go on writing beside the next run.
    """
    limit_threads()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def limit_threads() -> None:
    """Let torch and the linear algebra under NumPy use one thread in this process."""
    import torch

    torch.set_num_threads(1)
    threadpool_limits(limits=1)


def run_items(
    stage: str, function: Callable[..., None], items: Sequence[Item], workers: int, track: Track
) -> list[Problem]:
    """Call `function` on the arguments of every item.

    Parameters
    ----------
    stage : str
        Name for the progress bar and for failures.
    function : callable
        A module-level function; it writes its result itself.
    items : sequence of Item
    workers : int
        Number of processes; 1 works in this process.
    track : callable
        ``track(iterable, label, total)`` draws progress.

    Returns
    -------
    list of Problem
        What failed, in the order of `items`.
    """
    outcomes: dict[int, Problem] = {}
    results = _serially(function, items) if workers == 1 else _in_processes(function, items, workers)
    for index, error in track(results, stage, len(items)):
        if error is not None:
            outcomes[index] = _problem(stage, items[index], error)
    return [outcomes[index] for index in sorted(outcomes)]


def _problem(stage: str, item: Item, error: BaseException) -> Problem:
    if isinstance(error, UserError):
        return problem_of(error, stage, item.subject_id, item.where)
    if isinstance(error, BrokenProcessPool | MemoryError):
        what, mend = "the worker process died, most likely out of memory", "Free memory or set workers: 1"
    else:
        last = traceback.extract_tb(error.__traceback__)[-1:]
        place = f" in {os.path.basename(last[0].filename)}, line {last[0].lineno}" if last else ""
        what = f"unexpected {type(error).__name__}{place}: {error}"
        mend = "This is a bug in sparra or a file like none it has met; please report it with this line"
    return Problem(what, item.where, mend, item.subject_id, stage=stage)


def _serially(function: Callable[..., None], items: Sequence[Item]) -> Iterator[tuple[int, BaseException | None]]:
    limit_threads()
    for index, item in enumerate(items):
        yield index, _outcome(function, item)


def _outcome(function: Callable[..., None], item: Item) -> BaseException | None:
    try:
        function(*item.arguments)
    except Exception as error:  # Everything is recorded under its subject: rule 4.
        return error
    return None


def _in_processes(
    function: Callable[..., None], items: Sequence[Item], workers: int
) -> Iterator[tuple[int, BaseException | None]]:
    """Yield outcomes as they come; items caught in a dying pool are tried again, at last each in its own."""
    left = list(range(len(items)))
    for _ in range(POOLS_BEFORE_ISOLATION):
        caught = []
        with _pool(workers) as pool:
            futures = {pool.submit(function, *items[index].arguments): index for index in left}
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    caught.append(futures[future])
                else:
                    yield futures[future], error
        left = sorted(caught)
        if not left:
            return
    for index in left:
        with _pool(1) as pool:
            yield index, pool.submit(function, *items[index].arguments).exception()


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork of a process with running threads (torch, numba) may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_worker, initargs=(os.getpid(),))
