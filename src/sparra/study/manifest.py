"""The run manifest: what happened to every item, a line each time, written by the coordinating process alone.

``manifest.jsonl`` is only ever added to, in whole lines. A line that a kill cut off is skipped by the reader and
closed by the next run. What is done is told by the sidecars of the outputs, never by this file.
"""

import json
import math
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sparra.engine.work import DISK, DISK_MEND, Outcome, is_disk_full
from sparra.errors import UserError

NAME = "manifest.jsonl"


class Manifest:
    """Adds lines to a study's manifest.

    Parameters
    ----------
    folder : Path
        The study's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME
        self.run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}"
        self._file, self._cut_off = -1, False

    def __enter__(self) -> Self:
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")
        except OSError as error:
            raise self._told(error) from None
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        os.close(self._file)

    def begin_run(self, engine: str) -> None:
        """Note that a run began, where and how it works."""
        self._add(event="run", host=socket.gethostname(), pid=os.getpid(), engine=engine)

    def end_run(self, error: str) -> None:
        """Note that the run ended, and by which exception; a run that is killed notes nothing."""
        try:
            self._add(event="end", error=error)
        except UserError:
            if not error:
                raise

    def begin_stage(self, stage: str, items: int) -> None:
        """Note how many items a stage has to do."""
        self._add(event="stage", stage=stage, items=items)

    def started(self, stage: str, subject_id: str, where: str, attempt: int) -> None:
        """Note that an item was handed to a worker."""
        self._add(event="started", stage=stage, subject_id=subject_id, where=where, attempt=attempt)

    def ended(self, stage: str, subject_id: str, where: str, attempt: int, outcome: Outcome, final: bool) -> None:
        """Note how an attempt ended."""
        self._add(
            event="ended",
            stage=stage,
            subject_id=subject_id,
            where=where,
            attempt=attempt,
            status=outcome.status if final else "again",
            seconds=_number(outcome.seconds),
            peak_mib=_number(outcome.peak_mib),
            host=outcome.host,
            error=outcome.what,
        )

    def _add(self, **values: Any) -> None:
        text = json.dumps({"time": round(time.time(), 3), "run": self.run, **values}, ensure_ascii=False)
        line = f"{text}\n".encode()
        try:
            # A disk that fills up takes a part of a line without an error.
            written = os.write(self._file, b"\n" + line if self._cut_off else line)
        except OSError as error:
            raise self._told(error) from None
        self._cut_off = written < len(line)
        if self._cut_off:
            raise UserError(DISK, self.path, DISK_MEND)

    def _told(self, error: OSError) -> UserError:
        if is_disk_full(error):
            return UserError(DISK, self.path, DISK_MEND)
        return UserError(f"the run's manifest cannot be written ({error.strerror})", self.path)


def _number(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def read_manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a study's manifest, oldest first, leaving out any that a kill cut off.

    Raises
    ------
    UserError
        If the study has none.
    """
    path = folder / NAME
    if not path.exists():
        raise UserError("the study has no manifest: nothing has been run", path, "Start it with 'sparra run'")
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "event" in entry:
                yield entry
