"""Running one function over many items, so that one bad item never stops the others."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparra.cohort.problems import Problem
from sparra.engine.loop import Attempt, Ended, Engine
from sparra.engine.machine import GIB
from sparra.engine.settings import DEFAULT_TIME_LIMIT_MINUTES, EngineSettings
from sparra.engine.start import open_engine
from sparra.engine.work import DISK, DISK_MEND, Outcome, Task
from sparra.engine.work import limit_threads as limit_threads
from sparra.errors import UserError
from sparra.study.manifest import Manifest

# With less than this left in the study's folder a stage that met a full disk goes no further.
LEAST_FREE_BYTES = 64 * 2**20

CHANGED = "the file changed while it was worked on"

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


@dataclass(frozen=True)
class Session:
    """What the stages of one run share.

    Attributes
    ----------
    settings : EngineSettings
    engine : Engine
    manifest : Manifest or None
    """

    settings: EngineSettings
    engine: Engine
    manifest: Manifest | None = None


_session: ContextVar[Session | None] = ContextVar("session", default=None)


@contextmanager
def open_session(settings: EngineSettings, folder: Path, say: Callable[[str], None] = print) -> Iterator[Session]:
    """Open the engine and the manifest that all stages within the block use.

    Raises
    ------
    UserError
        If the engine cannot be opened, or the disk is full.
    """
    with Manifest(folder) as manifest, open_engine(settings, folder, say) as engine:
        session = Session(settings, engine, manifest)
        manifest.begin_run(engine.words)
        token = _session.set(session)
        try:
            yield session
        except BaseException as error:
            manifest.end_run(type(error).__name__)
            raise
        else:
            manifest.end_run("")
        finally:
            _session.reset(token)


def run_items(
    stage: str,
    function: Callable[..., Any],
    items: Sequence[Item],
    workers: int,
    track: Track,
    is_made: Callable[[Item], bool] | None = None,
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
        Number of processes where no session is open; 1 works in this process.
    track : callable
        ``track(iterable, label, total)`` draws progress.
    is_made : callable, optional
        Whether what an item that is done was to write is up to date, where files from elsewhere could change meanwhile.

    Returns
    -------
    list of Problem
        What failed, in the order of `items`.

    Raises
    ------
    UserError
        If the disk of the study is full, or a scheduler went away.
    """
    problems = []
    for item, outcome in zip(items, outcomes_of(stage, function, items, workers, track), strict=True):
        if outcome.status != "done":
            problems.append(problem_from(stage, item, outcome))
        elif is_made is not None and not is_made(item):
            problems.append(Problem(CHANGED, item.where, "Wait until it is whole", item.subject_id, stage=stage))
    return problems


def outcomes_of(
    stage: str, function: Callable[..., Any], items: Sequence[Item], workers: int, track: Track
) -> list[Outcome]:
    """Do what `run_items` does, and return how each item ended, with what the function returned."""
    if not items:
        return []
    session = _session.get()
    if session is not None:
        return _Stage(stage, items, session).run(function, track)
    settings = EngineSettings(workers=workers)
    with open_engine(settings, Path.cwd()) as engine:
        return _Stage(stage, items, Session(settings, engine)).run(function, track)


class _Stage:
    """One stage's way through its items."""

    def __init__(self, name: str, items: Sequence[Item], session: Session) -> None:
        self.name, self.items, self.session = name, items, session
        self.manifest = session.manifest

    def run(self, function: Callable[..., Any], track: Track) -> list[Outcome]:
        tasks = [self._task(function, item) for item in self.items]
        if self.manifest is not None:
            self.manifest.begin_stage(self.name, len(tasks))
        outcomes: dict[int, Outcome] = {}
        finals = self._finals(self.session.engine.run(tasks, self._started))
        for index, outcome in track(finals, self.name, len(tasks)):
            outcomes[index] = outcome
            if outcome.status == "disk":
                self._require_space()
        return [outcomes[index] for index in range(len(tasks))]

    def _task(self, function: Callable[..., Any], item: Item) -> Task:
        settings = self.session.settings
        minutes = settings.time_limit_minutes or DEFAULT_TIME_LIMIT_MINUTES
        memory = None if settings.memory_gib is None else int(settings.memory_gib * GIB)
        # A fold is not one subject's item: how long a training takes is its settings' affair.
        return Task(function, item.arguments, minutes * 60 if item.subject_id else None, memory)

    def _started(self, attempt: Attempt) -> None:
        if self.manifest is not None:
            item = self.items[attempt.index]
            self.manifest.started(self.name, item.subject_id, item.where, attempt.number)

    def _finals(self, endings: Iterable[Ended]) -> Iterator[tuple[int, Outcome]]:
        for ended in endings:
            index, number = ended.attempt.index, ended.attempt.number
            item = self.items[index]
            if self.manifest is not None:
                self.manifest.ended(self.name, item.subject_id, item.where, number, ended.outcome, ended.final)
            if ended.final:
                yield index, ended.outcome

    def _require_space(self) -> None:
        """End the run where the study's own disk is full: all that follow would fail after hours of work."""
        folder = self.manifest.folder if self.manifest is not None else Path.cwd()
        if shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
            raise UserError(DISK, folder, DISK_MEND)


def problem_from(stage: str, item: Item, outcome: Outcome) -> Problem:
    """Return the row of ``failures.csv`` of an item that failed."""
    mend = outcome.mend or "Mend or remove the file"
    return Problem(outcome.what, outcome.where or item.where, mend, item.subject_id, stage=stage)
