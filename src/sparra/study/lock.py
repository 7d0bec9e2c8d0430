"""One run at a time in a study's folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparra.errors import UserError


@contextmanager
def study_lock(root: Path) -> Iterator[None]:
    """Hold the study's lock; the system frees it when the process ends, however it ends.

    Raises
    ------
    UserError
        If another process holds it, or `root` is a file.
    """
    if root.exists() and not root.is_dir():
        raise UserError("the output is a file, not a folder", root, "Name another 'output'")
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another run is at work in this folder", root, "Wait for it or choose another output"
            ) from None
        yield
