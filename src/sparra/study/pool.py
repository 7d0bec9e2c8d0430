"""Running one function over many items, in processes, so that one bad item never stops the others."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from sparra.cohort.problems import Problem, problem_of
from sparra.errors import UserError

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


def limit_threads() -> None:
    """Let a worker process use one thread, so that the workers share the machine and results do not vary."""
    import torch

    torch.set_num_threads(1)


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
    """Yield outcomes as they come; items caught in a dying pool are tried again, each in its own."""
    caught: list[int] = []
    with _pool(workers) as pool:
        futures = {pool.submit(function, *item.arguments): i for i, item in enumerate(items)}
        for future in as_completed(futures):
            error = _error_of(future)
            if isinstance(error, BrokenProcessPool):
                caught.append(futures[future])
            else:
                yield futures[future], error
    for index in sorted(caught):
        with _pool(1) as pool:
            yield index, _error_of(pool.submit(function, *items[index].arguments))


def _error_of(future: "Future[None]") -> BaseException | None:
    return future.exception()


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork of a process with running threads (torch, numba) may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=limit_threads)
