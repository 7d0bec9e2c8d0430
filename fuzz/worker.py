"""The process that reads broken files; it may die, which its parent notices by the line it wrote last.

Each input is made from its number alone, so that a failure can be made again.
"""

import gc
import os
import resource
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from fuzz.targets import TARGETS
from sparra.errors import UserError

#: What one input may take beyond what the process holds, and of processor time, so that a busy machine does not matter.
MEMORY_BYTES = 2 * 1024**3
SECONDS = 10


class OutOfTime(BaseException):
    """No Exception, so that no reader takes it for a damaged file."""


def make_input(kind: str, number: int, seeds: list[bytes], seed: int) -> bytes:
    """Return input `number` of a kind."""
    random = Random(f"{seed} {kind} {number}")
    return TARGETS[kind].mutate(random.choice(seeds), random)


def read_seeds(kind: str, folder: Path) -> list[bytes]:
    """Write the valid files of a kind, check that they are read, and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = [path.read_bytes() for path in TARGETS[kind].seeds(folder)]
    if kind != "dicom":
        for content in contents:
            probe = folder / TARGETS[kind].name
            probe.write_bytes(content)
            TARGETS[kind].read(probe)
    return contents


def outcome_of(kind: str, path: Path) -> str:
    """Read one file: ``read``, ``refused``, or what went wrong."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        TARGETS[kind].read(path)
    except UserError as error:
        if len(str(error)) > 10_000:
            return "failed: a message of more than 10,000 characters"
        return "refused"
    except OutOfTime:
        return f"failed: more than {SECONDS} s"
    except BaseException as error:
        return f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "read"


def run(kinds: list[str], first: int, last: int, seed: int, folder: Path) -> None:
    """Read inputs `first` to `last`, the kinds in turn, telling each before and after."""
    seeds = {kind: read_seeds(kind, folder / "seeds" / kind) for kind in kinds}
    place = folder / "input"
    with _limits(), _quiet():
        for number in range(first, last):
            kind = kinds[number % len(kinds)]
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            if kind == "dicom" and number // len(kinds) % 2:
                for other, content in enumerate(seeds[kind][1:]):
                    (place / f"other-{other}.dcm").write_bytes(content)
            path = place / TARGETS[kind].name
            path.write_bytes(make_input(kind, number, seeds[kind], seed))
            print(f"start {number} {kind}", flush=True)
            started = time.perf_counter()
            outcome = outcome_of(kind, path)
            if outcome.startswith("failed"):
                shutil.copytree(place, folder / "failed" / f"{kind}-{number}", dirs_exist_ok=True)
            print(f"end {number} {time.perf_counter() - started:.3f} {outcome}", flush=True)
            if number % 500 == 0:
                gc.collect()


@contextmanager
def _limits() -> Iterator[None]:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES, before[1]))

    def stop(_number: int, _frame: object) -> None:
        raise OutOfTime

    signal.signal(signal.SIGPROF, stop)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what libraries say of broken files."""
    import SimpleITK as sitk

    sitk.ProcessObject.GlobalWarningDisplayOff()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    run(sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
