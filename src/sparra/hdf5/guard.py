"""Asks the process of `sparra.hdf5.walk` about a file, before the HDF5 library reads it here."""

import atexit
import json
import os
import signal
import subprocess
import threading
from collections import OrderedDict
from pathlib import Path

from sparra.errors import UserError
from sparra.hdf5.walk import SOUND
from sparra.processes import environment, module_command

DAMAGED = "the file is damaged: the HDF5 library crashes or does not end on it"
_MEND = "Copy it again from its source, or write it anew"
_AGAIN = "Free memory or processes on this machine, and run again"
#: How a file ends the library: by what it does to memory, or by the limit of time that the process set itself.
_DEATHS_BY_FILES = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGPROF}
)
_SECONDS_TO_END = 1.0
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
        """Return the process's answer, or what its death says of the file; asked again if it was killed by others."""
        for _ in range(2):
            answer, code = self._try(path)
            if answer or -code in _DEATHS_BY_FILES:
                return answer or DAMAGED
        raise UserError(f"the process that looks through HDF5 files was ended from outside ({code})", path, _AGAIN)

    def _try(self, path: Path) -> tuple[str, int]:
        if self.process is None or self.process.poll() is not None:
            self.end()
            try:
                self.process = _start()
            except OSError as error:
                what = f"cannot start the process that looks through HDF5 files ({error.strerror or error})"
                raise UserError(what, path, _AGAIN) from None
        process, answer, code = self.process, "", 0
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(str(path.absolute())) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline().strip()
        except BrokenPipeError:
            pass
        finally:
            if not answer:  # It died, or this process was interrupted and the answer would be taken for the next.
                code = _code_of(process)
                self.end()
        return answer, code

    def end(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def _code_of(process: subprocess.Popen[str]) -> int:
    """Return the code with which a process has just ended; 0 if it lives on."""
    try:
        return process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        return 0


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        module_command("sparra.hdf5.walk"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
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
        If the library crashes on the file or does not end, the file takes data from other files or more time than
        a file of features needs, or the process cannot be started or is killed by others.
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
