"""The engine that hands tasks to a Dask scheduler."""

import time
import uuid
from collections.abc import Callable

from distributed import Client, Future, KilledWorker, wait

from sparra.engine.children import run_task
from sparra.engine.loop import Attempt, Engine
from sparra.engine.work import Outcome, Task, told
from sparra.errors import UserError

SECONDS_BETWEEN_LOOKS = 1.0
# How long a scheduler that is not ours to fill with workers may have none.
SECONDS_WITHOUT_WORKERS = 600.0


class DaskEngine(Engine):
    """Hands tasks to a Dask scheduler and collects how they ended.

    Parameters
    ----------
    client : distributed.Client
    attempts : int
    words : str
    patience : float or None
        Seconds to wait while there is no worker; None waits without end, as for a job in a queue.
    say : callable
        Prints a line.

    Attributes
    ----------
    run_name : str
        By which workers know whose tasks are whose.
    """

    def __init__(
        self, client: Client, attempts: int, words: str, patience: float | None, say: Callable[[str], None]
    ) -> None:
        self.client, self.attempts, self.words, self.patience, self.say = client, attempts, words, patience, say
        self.run_name = uuid.uuid4().hex
        self._running: dict[Future, Attempt] = {}
        self._slots, self._looked, self._lonely_since = 0, 0.0, 0.0

    def slots(self) -> int:
        """Return the threads of all workers that are there now; they may come and go."""
        now = time.monotonic()
        if now - self._looked > SECONDS_BETWEEN_LOOKS:
            self._slots, self._looked = self._count(), now
        return self._slots

    def _count(self) -> int:
        try:
            number = sum(self.client.nthreads().values())
        except (OSError, TimeoutError) as error:
            raise self._gone(error) from None
        if number:
            self._lonely_since = 0.0
        elif not self._lonely_since:
            self._lonely_since = time.monotonic()
            self.say("waiting for workers")
        elif self.patience is not None and time.monotonic() - self._lonely_since > self.patience:
            what = f"no worker has been there for {self.patience / 60:g} minutes"
            raise UserError(what, self.words, "Start workers and run again: what is done is not done again")
        return int(number)

    def _gone(self, error: BaseException) -> UserError:
        what = f"the scheduler no longer answers ({type(error).__name__})"
        return UserError(what, self.words, "Start it and run again: what is done is not done again")

    def submit(self, task: Task, attempt: Attempt) -> None:
        """Hand a task to the scheduler."""
        # A name of its own: Dask takes two calls of one name for the same call.
        key = f"{task.function.__name__}-{uuid.uuid4().hex}"
        future = self.client.submit(run_task, task, self.run_name, key=key, pure=False)
        self._running[future] = attempt

    def ended(self) -> list[tuple[Attempt, Outcome]]:
        """Wait at most a second for futures to be finished and return how they ended."""
        if not self._running:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            return []
        try:
            finished = wait(list(self._running), SECONDS_BETWEEN_LOOKS, "FIRST_COMPLETED").done
        except TimeoutError:
            self.slots()  # Where nothing waits to be handed over, nobody else would see that the workers are gone.
            return []
        return [(self._running.pop(future), self._outcome(future)) for future in finished]

    def _outcome(self, future: Future) -> Outcome:
        if future.cancelled():
            raise self._gone(ConnectionError())
        error = future.exception()
        if error is None:
            outcome: Outcome = future.result()
            return outcome
        if isinstance(error, KilledWorker):
            return Outcome("died", "the Dask worker that ran it died", "", "Look at the worker's log")
        status, words = told(error)
        return Outcome(status, *words)
