"""One run at a time in a study's folder, whichever machine it is on.

Two guards. A lock of the system on ``.lock``, which it frees when the process ends, however it ends; but on some
shared file systems such a lock holds for one machine only. So ``.owner.json``, created by one process alone, names
host and process, and its time of change is renewed while the run lives. Ages are taken by the file server's clock.
"""

import _thread
import fcntl
import json
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from sparra.errors import UserError

OWNER = ".owner.json"
SECONDS_BETWEEN_SIGNS = 20.0
# A run of another machine that has given no sign of life for so long is taken for dead.
SECONDS_UNTIL_DEAD = 300.0
# When a process began is counted from the start of the system, which moves as its clock is set right.
CLOCK_SECONDS = 2.0


@contextmanager
def study_lock(root: Path) -> Iterator[None]:
    """Hold the study's lock.

    Raises
    ------
    UserError
        If another process holds it, here or on another machine; if it was taken away, because this process was
        halted for minutes; or if `root` is a file.
    """
    if root.exists() and not root.is_dir():
        raise UserError("the output is a file, not a folder", root, "Name another 'output'")
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _refusal(root, owner_of(root)) from None
        owner = _Owner(root)
        try:
            with owner:
                yield
        except KeyboardInterrupt:
            if not owner.lost:
                raise
            what = "another run took over this folder while this one was halted"
            raise UserError(what, root, "Let the other run end; it goes on with what is left") from None


def owner_of(root: Path) -> dict[str, Any] | None:
    """Return host, pid and age in seconds of the last sign of life of the run at work in a folder, if any is."""
    path = root / OWNER
    try:
        return {**_content(path), "age": _age(path)}
    except FileNotFoundError:
        return None


def _content(path: Path) -> dict[str, Any]:
    """Return what an owner's file holds; of one that a machine's crash left damaged, that its owner is unknown."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found["host"], str) and isinstance(found["pid"], int) and isinstance(found["started"], float):
            return dict(found)
    except (ValueError, TypeError, KeyError):
        pass
    return {"host": "unknown", "pid": 0, "started": 0.0}


def is_alive(owner: dict[str, Any]) -> bool:
    """Tell whether the process that an owner's file names still runs, or may."""
    if owner["host"] != socket.gethostname():
        return bool(owner["age"] < SECONDS_UNTIL_DEAD)
    try:
        return bool(abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < CLOCK_SECONDS)
    except psutil.Error:
        return False


def _age(path: Path) -> float:
    """Return the seconds since a file's change, by the clock of the machine that holds the files."""
    probe = path.with_name(f".clock-{secrets.token_hex(4)}")
    try:
        probe.touch()
        return max(0.0, probe.stat().st_mtime - path.stat().st_mtime)
    except OSError:  # Gone meanwhile, or nothing can be written: then nothing is known against it.
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _refusal(root: Path, owner: dict[str, Any] | None) -> UserError:
    who = f" (process {owner['pid']} on {owner['host']})" if owner is not None else ""
    return UserError(f"another run is at work in this folder{who}", root, "Wait for it or choose another output")


class _Owner:
    """The owner's file, renewed by a thread while the block lasts."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / OWNER
        self.token = secrets.token_hex(8)
        self.lost = False
        self._done = threading.Event()

    def __enter__(self) -> None:
        found = owner_of(self.root)
        if found is not None:
            if is_alive(found):
                raise _refusal(self.root, found)
            self._set_aside(found)
        self._create()
        threading.Thread(target=self._renew, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._is_own():
            self.path.unlink(missing_ok=True)

    def _set_aside(self, dead: dict[str, Any]) -> None:
        """Remove a dead run's file; of two that find it at once, one only can rename it."""
        aside = self.path.with_name(f".owner-{self.token}")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        taken = _content(aside)
        if taken.get("token") == dead.get("token"):
            aside.unlink()
            return
        aside.rename(self.path)  # Another was quicker and owns the folder by now.
        raise _refusal(self.root, taken)

    def _create(self) -> None:
        process = psutil.Process()
        content = {
            "token": self.token,
            "host": socket.gethostname(),
            "pid": process.pid,
            "started": process.create_time(),
        }
        whole = self.path.with_name(f".owner-{self.token}")
        try:
            whole.write_text(json.dumps(content), encoding="utf-8")
            os.link(whole, self.path)  # Whole from the first moment; fails where another was quicker.
        except FileExistsError:
            raise _refusal(self.root, owner_of(self.root)) from None
        finally:
            whole.unlink(missing_ok=True)

    def _is_own(self) -> bool:
        try:
            return bool(json.loads(self.path.read_text(encoding="utf-8")).get("token") == self.token)
        except (OSError, ValueError):
            return False

    def _renew(self) -> None:
        while not self._done.wait(SECONDS_BETWEEN_SIGNS):
            try:
                if self.token in self.path.read_text(encoding="utf-8", errors="replace"):
                    os.utime(self.path)
                    continue
            except FileNotFoundError:
                pass
            except OSError:  # The file server does not answer now; it may at the next sign.
                continue
            if not self._done.is_set():
                self.lost = True
                _thread.interrupt_main()
                return
