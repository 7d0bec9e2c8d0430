"""A small store of open files, closed when they were not used for longest and nobody is reading them."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass
class _Entry(Generic[V]):
    value: V | None = None
    ready: bool = False
    readers: int = 0


@dataclass
class Leases(Generic[K, V]):
    """At most `limit` open values, unless more are being read at one time.

    Attributes
    ----------
    open : callable
        Opens a key's value; called by one thread a key, the others wait.
    close : callable
        Closes a value.
    limit : int
        How many stay open.
    """

    open: Callable[[K], V]
    close: Callable[[V], None]
    limit: int
    _entries: OrderedDict[K, _Entry[V]] = field(default_factory=OrderedDict, init=False)
    _changed: Condition = field(default_factory=Condition, init=False)

    @contextmanager
    def lease(self, key: K) -> Iterator[V]:
        """Yield the value of `key`, which stays open for as long."""
        entry = self._take(key)
        try:
            if entry.value is None:  # pragma: no cover - `_take` returns ready entries only
                raise RuntimeError("a lease without a value")
            yield entry.value
        finally:
            with self._changed:
                entry.readers -= 1
                idle = self._surplus()
            self._close_all(idle)

    def close_idle(self) -> None:
        """Close everything that nobody reads."""
        with self._changed:
            idle = [key for key, entry in self._entries.items() if entry.ready and not entry.readers]
            values = [self._entries.pop(key).value for key in idle]
        self._close_all(values)

    def __len__(self) -> int:
        return len(self._entries)

    def _take(self, key: K) -> _Entry[V]:
        with self._changed:
            while True:
                entry = self._entries.get(key)
                if entry is None:
                    entry = self._entries[key] = _Entry()
                    break
                if entry.ready:
                    entry.readers += 1
                    self._entries.move_to_end(key)
                    return entry
                self._changed.wait()
        try:
            value = self.open(key)
        except BaseException:
            with self._changed:
                del self._entries[key]
                self._changed.notify_all()
            raise
        with self._changed:
            entry.value, entry.ready, entry.readers = value, True, 1
            self._changed.notify_all()
        return entry

    def _surplus(self) -> list[V | None]:
        """Take out the values that are over the limit, those unused for longest first."""
        surplus = len(self._entries) - self.limit
        idle = [key for key, entry in self._entries.items() if entry.ready and not entry.readers]
        return [self._entries.pop(key).value for key in idle[: max(0, surplus)]]

    def _close_all(self, values: list[V | None]) -> None:
        for value in values:
            if value is not None:
                self.close(value)
