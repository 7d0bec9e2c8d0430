"""Working through many tasks: as many at a time as there are workers, each tried a bounded number of times."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sparra.engine.work import Outcome, Task, limit_threads, perform

# What another attempt may mend: a worker that died, and, once, with all memory its own, one that ran out of it.
AGAIN = ("died", "memory")


@dataclass(frozen=True)
class Attempt:
    """One attempt at a task.

    Attributes
    ----------
    index : int
        Place of the task in the sequence.
    number : int
        From 1.
    alone : bool
        Whether nothing else runs beside it.
    """

    index: int
    number: int = 1
    alone: bool = False


@dataclass(frozen=True)
class Ended:
    """How an attempt ended.

    Attributes
    ----------
    attempt : Attempt
    outcome : Outcome
    final : bool
        False if it is tried again.
    """

    attempt: Attempt
    outcome: Outcome
    final: bool


Started = Callable[[Attempt], None]


class Engine(ABC):
    """Runs tasks.

    Attributes
    ----------
    words : str
        What it is, for a log.
    attempts : int
        How often a task is tried whose worker died.
    """

    words: str
    attempts: int = 1

    @abstractmethod
    def slots(self) -> int:
        """Return how many tasks can be under way."""

    @abstractmethod
    def submit(self, task: Task, attempt: Attempt) -> None:
        """Start a task; what comes of it is told by `ended`."""

    @abstractmethod
    def ended(self) -> list[tuple[Attempt, Outcome]]:
        """Wait a moment for tasks to end and return those that did."""

    def run(self, tasks: Sequence[Task], started: Started) -> Iterator[Ended]:
        """Yield how each attempt at each task ended, as they end.

        No more tasks are handed over than can be worked on, so that neither the scheduler nor a worker's queue
        grows with the cohort, and a worker that dies takes one task a slot with it.

        Parameters
        ----------
        tasks : sequence of Task
        started : callable
            Told of each attempt when it is handed over.
        """
        waiting, by_themselves = deque(Attempt(index) for index in range(len(tasks))), deque[Attempt]()
        running = 0
        while waiting or by_themselves or running:
            while waiting and running < self.slots():
                self._start(tasks, waiting.popleft(), started)
                running += 1
            if not running and not waiting and by_themselves:
                self._start(tasks, by_themselves.popleft(), started)
                running = 1
            for attempt, outcome in self.ended():
                running -= 1
                again = self._next(attempt, outcome)
                if again is not None:
                    (by_themselves if again.alone else waiting).append(again)
                yield Ended(attempt, outcome, again is None)

    def _start(self, tasks: Sequence[Task], attempt: Attempt, started: Started) -> None:
        started(attempt)
        self.submit(replace(tasks[attempt.index], alone=attempt.alone), attempt)

    def _next(self, attempt: Attempt, outcome: Outcome) -> Attempt | None:
        """Return the next attempt, or None if this was the last."""
        if outcome.status not in AGAIN or attempt.number >= self.attempts or attempt.alone:
            return None
        number = attempt.number + 1
        return Attempt(attempt.index, number, alone=outcome.status == "memory" or number == self.attempts)


class SerialEngine(Engine):
    """Works in this process, one task after another; a task that runs out of memory is tried once more."""

    words = "this process"
    attempts = 2

    def __init__(self) -> None:
        self._last: list[tuple[Attempt, Outcome]] = []
        limit_threads()

    def slots(self) -> int:
        """Return 1."""
        return 1

    def submit(self, task: Task, attempt: Attempt) -> None:
        """Do the task at once."""
        self._last.append((attempt, perform(task)))

    def ended(self) -> list[tuple[Attempt, Outcome]]:
        """Return what was done last."""
        last, self._last = self._last, []
        return last
