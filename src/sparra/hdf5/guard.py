"""Asks the process of `sparra.hdf5.walk` about a file, before the HDF5 library reads it here."""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path

from sparra.errors import UserError
from sparra.hdf5.walk import SOUND

DAMAGED = "the file is damaged: the HDF5 library crashes or does not end on it"
_MEND = "Copy it again from its source, or write it anew"
#: Answers that are kept, so that a file that several readers open is looked through once.
_KEPT = 1000

Key = tuple[int, int, int, int]


class _Guard:
    """One process that looks through files, started when it is first needed and again when it has died."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.known: OrderedDict[Key, str] = OrderedDict()
        self.process: subprocess.Popen[str] | None = None

    def verdict(self, path: Path) -> str:
        """Return ``sound``, or what is wrong with a file."""
        stamp = path.stat()
        key = (stamp.st_dev, stamp.st_ino, stamp.st_size, stamp.st_mtime_ns)
        with self.lock:
            if key not in self.known:
                self.known[key] = self._ask(path)
                if len(self.known) > _KEPT:
                    self.known.popitem(last=False)
            return self.known[key]

    def _ask(self, path: Path) -> str:
        if self.process is None or self.process.poll() is not None:
            self.process = _start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        answer = ""
        try:
            self.process.stdin.write(json.dumps(str(path.absolute())) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().strip()
        except BrokenPipeError:
            pass
        finally:
            if not answer:  # It died, or this process was interrupted and the answer would be taken for the next.
                self.end()
        return answer or DAMAGED

    def end(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def _start() -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "sparra.hdf5.walk"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
        bufsize=1,
    )


_guard = _Guard()


def require_sound(path: Path) -> None:
    """Check that the HDF5 library can go through a file of others and stays within it.

    The first call of a process starts another, which takes a fraction of a second; a file then takes about a
    millisecond, and is looked at again only if it has changed.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UserError
        If the library crashes on the file or does not end, or the file takes data from other files.
    """
    verdict = _guard.verdict(path)
    if verdict != SOUND:
        raise UserError(verdict, path, _MEND)


def _forget() -> None:
    """Begin anew in a forked process, where the lock may be held by a thread that is not there."""
    global _guard
    _guard = _Guard()


os.register_at_fork(after_in_child=_forget)
atexit.register(lambda: _guard.end())
