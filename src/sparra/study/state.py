"""Where a study stands, gathered from its manifest."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparra.study.lock import is_alive, owner_of
from sparra.study.manifest import read_manifest

_Values = dict[str, tuple[type, ...]]
_TEXT, _NUMBER = (str,), (int, float)
_ITEM: _Values = {"stage": _TEXT, "subject_id": _TEXT, "where": _TEXT, "attempt": (int,)}
# What a line holds by its event; every line holds its time.
_VALUES: dict[str, _Values] = {
    "run": {"engine": _TEXT, "host": _TEXT},
    "end": {"error": _TEXT},
    "stage": {"stage": _TEXT, "items": (int,)},
    "started": _ITEM,
    "ended": {
        **_ITEM,
        "status": _TEXT,
        "error": _TEXT,
        "seconds": (*_NUMBER, type(None)),
        "peak_mib": (*_NUMBER, type(None)),
    },
}

FAILED = ("failed", "disk", "memory", "died", "time")


@dataclass
class ItemState:
    """The last that is known of one item of one stage.

    Attributes
    ----------
    stage, subject_id, where : str
    status : str
        ``running``, ``again`` (waits for another attempt), ``done``, or how it failed: ``failed``, ``disk``,
        ``memory``, ``died``, ``time``; ``cut off`` if its run ended before it did.
    attempts : int
        Attempts of the last run that worked on it.
    seconds, peak_mib : float or None
        Of the last attempt that ended.
    error : str
    since : float
        Unix time of its last change.
    """

    stage: str
    subject_id: str
    where: str
    status: str = "running"
    attempts: int = 1
    seconds: float | None = None
    peak_mib: float | None = None
    error: str = ""
    since: float = 0.0


@dataclass
class StageState:
    """One stage in the last run that reached it.

    Attributes
    ----------
    planned : int
        Items that the run had to do; what was up to date is not among them.
    items : mapping of (subject_id, where) to ItemState
    """

    name: str
    planned: int = 0
    items: dict[tuple[str, str], ItemState] = field(default_factory=dict)

    def count(self, *statuses: str) -> int:
        """Return how many items have one of the statuses."""
        return sum(item.status in statuses for item in self.items.values())

    @property
    def retried(self) -> int:
        """Attempts beyond each item's first."""
        return sum(item.attempts - 1 for item in self.items.values())

    @property
    def median_seconds(self) -> float | None:
        """Median time of the items that are done."""
        times = [item.seconds for item in self.items.values() if item.status == "done" and item.seconds is not None]
        return statistics.median(times) if times else None

    @property
    def peak_mib(self) -> float | None:
        """Highest memory that any item took."""
        return max((item.peak_mib for item in self.items.values() if item.peak_mib is not None), default=None)


@dataclass
class StudyState:
    """A study as its manifest tells it.

    Attributes
    ----------
    state : str
        ``running``, ``ended``, ``ended early`` (by an error that was told), or ``cut off``.
    engine : str
    host : str
    began, changed : float
        Unix times of the last run's start and of the last line.
    stages : mapping of name to StageState, in the order in which they began
    lines_left_out : int
        Lines that are JSON but not as this version writes them; what they told is missing.
    """

    state: str = "cut off"
    engine: str = ""
    host: str = ""
    began: float = 0.0
    changed: float = 0.0
    stages: dict[str, StageState] = field(default_factory=dict)
    lines_left_out: int = 0

    @property
    def items(self) -> list[ItemState]:
        """All items of all stages."""
        return [item for stage in self.stages.values() for item in stage.items.values()]


def study_state(folder: Path) -> StudyState:
    """Return where the study in `folder` stands.

    Raises
    ------
    UserError
        If nothing has been run there.
    """
    state = gathered(read_manifest(folder))
    owner = owner_of(folder)
    if state.state == "cut off" and owner is not None and is_alive(owner):
        state.state = "running"
    if state.state != "running":
        _cut_off(state.items)
    return state


def gathered(entries: Iterable[dict[str, Any]]) -> StudyState:
    """Fold the manifest's lines, oldest first, into a state; a line of another version or hand is left out."""
    state = StudyState()
    for entry in entries:
        if not _is_whole(entry):
            state.lines_left_out += 1
            continue
        state.changed = entry["time"]
        event = entry["event"]
        if event == "run":
            _cut_off(state.items)  # What an earlier run was at when it was killed.
            state.state, state.began = "cut off", entry["time"]
            state.engine, state.host = entry["engine"], entry["host"]
        elif event == "end":
            state.state = "ended early" if entry["error"] else "ended"
        elif event == "stage":
            state.stages[entry["stage"]] = StageState(entry["stage"], entry["items"])
        else:
            _note(state, entry)
    return state


def _cut_off(items: Iterable[ItemState]) -> None:
    for item in items:
        if item.status in ("running", "again"):
            item.status = "cut off"


def _is_whole(entry: dict[str, Any]) -> bool:
    event = entry.get("event")
    if not isinstance(event, str) or event not in _VALUES:
        return False
    values = {"time": _NUMBER, **_VALUES[event]}
    if not all(name in entry and isinstance(entry[name], types) for name, types in values.items()):
        return False
    return all(math.isfinite(entry[name]) for name in values if isinstance(entry[name], float))


def _note(state: StudyState, entry: dict[str, Any]) -> None:
    stage = state.stages.setdefault(entry["stage"], StageState(entry["stage"]))
    key = entry["subject_id"], entry["where"]
    item = stage.items.setdefault(key, ItemState(entry["stage"], *key))
    item.since, item.attempts = entry["time"], entry["attempt"]
    if entry["event"] == "started":
        item.status = "running"
        return
    item.status, item.error = entry["status"], entry["error"]
    item.seconds, item.peak_mib = entry["seconds"], entry["peak_mib"]
