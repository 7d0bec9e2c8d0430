"""Work on the CPU spread over threads of Python: compiled loops and matrix products let go of its lock."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import torch

# Fewer rows than this are not worth a second thread.
ROWS_PER_THREAD = 2048
# Graphs are multiplied in pieces of up to so many rows: small ones joined, which copies them, large ones cut.
PIECE_ROWS = 4096
JOINED_ROWS = 1024
# Sums over many products are taken in so many groups, whatever the number of threads, so that this does not show.
N_GROUPS = 8


# Threads for the work of this module while torch's own operations have one, see `small_work_alone`.
_workers: int | None = None


def n_workers() -> int:
    """Return the number of threads that large work is spread over."""
    return torch.get_num_threads() if _workers is None else _workers


@contextmanager
def small_work_alone() -> Iterator[None]:
    """Leave torch's own operations one thread, and the large work spread by this module as many as torch had.

    A step has hundreds of small operations. Split over threads, each waits for the slowest, and the others spin
    meanwhile: on a machine with other work beside it that costs more than it gains.
    """
    global _workers
    before, threads = _workers, torch.get_num_threads()
    _workers = n_workers()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _workers = before
        torch.set_num_threads(threads)


def in_threads(kernel: Callable[..., object], n_rows: int, *arguments: object) -> None:
    """Run ``kernel(first, last, *arguments)`` over [0, n_rows), split over `n_workers` threads."""
    n_threads = max(1, min(n_workers(), n_rows // ROWS_PER_THREAD))
    if n_threads == 1:
        kernel(0, n_rows, *arguments)
        return
    bounds = [n_rows * index // n_threads for index in range(n_threads + 1)]
    with ThreadPoolExecutor(n_threads) as pool:
        tasks = [pool.submit(kernel, *pair, *arguments) for pair in pairwise(bounds)]
        for task in tasks:
            task.result()


def consecutive(sizes: Sequence[int], limit: int) -> list[range]:
    """Split the indices of `sizes` into ranges whose sizes add up to at most `limit`, or that hold one alone."""
    bounds, total = [0], 0
    for index, size in enumerate(sizes):
        if index > bounds[-1] and total + size > limit:
            bounds.append(index)
            total = 0
        total += size
    return [range(*pair) for pair in pairwise([*bounds, len(sizes)]) if pair[0] < pair[1]]


def in_groups(n_items: int) -> list[range]:
    """Split [0, n_items) into at most `N_GROUPS` ranges, none of them empty."""
    n_groups = min(N_GROUPS, n_items)
    return [range(*pair) for pair in pairwise(n_items * index // max(n_groups, 1) for index in range(n_groups + 1))]


def on_every_thread(task: Callable[[int], None], n_tasks: int) -> None:
    """Run ``task(index)`` for every index below `n_tasks`, `n_workers` at a time.

    Each task has one thread of torch's to itself, so a thread that another process holds up is not waited for after
    every product, and what a task has just written is still in its core's cache. A task keeps no gradient. Tasks
    must write to places of their own.
    """
    n_threads = min(n_workers(), n_tasks)
    if n_threads < 2:
        for index in range(n_tasks):
            task(index)
        return
    whole, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()
    with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        tasks = [pool.submit(_without_gradient, task, index, inference) for index in range(n_tasks)]
        try:
            for one in tasks:
                one.result()
        finally:
            # torch's setting is a thread's own, but the last one set is what new threads start with.
            torch.set_num_threads(whole)


def _without_gradient(task: Callable[[int], None], index: int, inference: bool) -> None:
    # Inference mode is a thread's own, and what was made in it must not be written to out of it.
    with torch.inference_mode(inference), torch.no_grad():
        task(index)
