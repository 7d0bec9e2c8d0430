"""How much memory the work in this process may take; results never depend on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
