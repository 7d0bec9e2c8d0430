"""The folder that a study writes to: whether writing, syncing and renaming work, and whether there is room."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sparra.doctor.finding import Finding, tried
from sparra.engine.machine import GIB

AREA = "disk"
LEAST_FREE_GIB = 1.0


def look_at_disk(folder: Path, needed_bytes: int | None = None) -> Iterator[Finding]:
    """Try a folder, or the nearest one above that exists, and compare what is free with what is needed.

    Parameters
    ----------
    folder : Path
    needed_bytes : int, optional
        Estimate of what a study will write; None where it is not known.
    """
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    yield tried(AREA, "write, sync, rename", lambda: _try(there), f"Make {there} writable, or name another 'output'")
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.1f} GiB in {there}"
    if needed_bytes is not None:
        found += f", the study needs about {needed_bytes / GIB:.1f} GiB more"
    if free < max(LEAST_FREE_GIB * GIB, needed_bytes or 0):
        yield Finding(AREA, "free space", "problem", found, "Make room, or name an 'output' on another disk")
    else:
        yield Finding(AREA, "free space", "ok", found)


def _try(folder: Path) -> str:
    """Do what writing a file whole needs, in a folder of its own, and leave nothing behind."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file")
    with tempfile.TemporaryDirectory(prefix=".sparra-doctor-", dir=folder) as room:
        first, second = Path(room) / "a", Path(room) / "b"
        with first.open("wb") as handle:
            handle.write(b"sparra" * 10_000)
            handle.flush()
            os.fsync(handle.fileno())
        second.write_bytes(b"old")
        first.replace(second)
        if second.stat().st_size != 60_000:
            raise OSError("a file is not as long as what was written")
    return f"work in {folder}"
