"""How much memory the work in this process may take, and what its lack looks like; results never depend on it."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from sparra.errors import UserError

#: Libraries tell of memory that cannot be had in their own exceptions: torch on the CPU and ITK in a RuntimeError.
MEMORY_WORDS = ("can't allocate memory", "cannot allocate memory", "failed to allocate memory", "bad_alloc")
SMALLER_BY = 8
DEFAULT_HELD_BYTES = 2**30

_smaller: ContextVar[bool] = ContextVar("smaller", default=False)
_held: ContextVar[int] = ContextVar("held", default=DEFAULT_HELD_BYTES)


def batch_within_memory(size: int) -> int:
    """Return how many of a batch of `size` to take at a time: all, or an eighth after memory ran out."""
    return max(1, size // SMALLER_BY) if _smaller.get() else size


def held_bytes(asked: int | None = None) -> int:
    """Return how many bytes of prepared graphs may be held, rather than read again when they are used.

    Parameters
    ----------
    asked : int, optional
        What a setting asks for, instead of what this process may take.
    """
    held = _held.get() if asked is None else asked
    return held // SMALLER_BY if _smaller.get() else held


@contextmanager
def memory_use(smaller: bool, held: int = DEFAULT_HELD_BYTES) -> Iterator[None]:
    """Work within the block in smaller batches, or hold at most `held` bytes of graphs."""
    tokens = _smaller.set(smaller), _held.set(held)
    try:
        yield
    finally:
        _smaller.reset(tokens[0])
        _held.reset(tokens[1])


def give_back_memory() -> None:
    """Give the system the memory that was freed here, which the C library would keep in case it were needed again."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:  # glibc
        trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception, or one that led to it, says that there was no memory, here or on the GPU."""
    for link in chain_of(error):
        # torch is not imported for the sake of the name of its exception of a GPU.
        if isinstance(link, MemoryError) or type(link).__name__ == "OutOfMemoryError":
            return True
        if isinstance(link, OSError) and link.errno == errno.ENOMEM:
            return True
        if isinstance(link, RuntimeError) and any(words in str(link).lower() for words in MEMORY_WORDS):
            return True
    return False


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that led to it."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def beyond_memory(path: Path, size: int, mend: str) -> UserError:
    """Say that a file's content does not fit into memory.

    To be raised *from* the exception that told so: an engine tries such an item again.

    Parameters
    ----------
    path : Path
    size : int
        Bytes that the file says its content takes.
    mend : str
        What to do if that is more than the file should hold.
    """
    what = f"there is not enough memory to read it: its content takes {size} bytes"
    otherwise = f"{mend[:1].lower()}{mend[1:]}"
    return UserError(what, path, f"Free memory, take a larger machine, or, if it should be smaller, {otherwise}")
