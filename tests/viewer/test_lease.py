import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sparra.viewer.lease import Leases


def make(limit: int = 2):
    opened, closed = [], []

    def open_value(key: str) -> str:
        opened.append(key)
        return key.upper()

    return Leases(open_value, closed.append, limit), opened, closed


def test_the_one_unused_for_longest_is_closed() -> None:
    leases, opened, closed = make()
    for key in ("a", "b", "a", "c"):
        with leases.lease(key) as value:
            assert value == key.upper()
    assert opened == ["a", "b", "c"]
    assert closed == ["B"]
    leases.close_idle()
    assert sorted(closed) == ["A", "B", "C"]
    assert len(leases) == 0


def test_what_is_being_read_stays_open() -> None:
    leases, _, closed = make(limit=1)
    with leases.lease("a"):
        with leases.lease("b"):
            assert len(leases) == 2
        assert closed == ["B"]
    assert closed == ["B"]


def test_threads_that_ask_at_once_open_it_once() -> None:
    opened = []
    gate = threading.Barrier(8)

    def slow(key: str) -> str:
        opened.append(key)
        threading.Event().wait(0.05)
        return key

    leases = Leases(slow, lambda value: None, 2)

    def ask(_: int) -> str:
        gate.wait()
        with leases.lease("a") as value:
            return value

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == ["a"] * 8
    assert opened == ["a"]


def test_what_cannot_be_opened_is_tried_again() -> None:
    tries = []

    def failing(key: str) -> str:
        tries.append(key)
        if len(tries) == 1:
            raise OSError("broken")
        return key

    leases = Leases(failing, lambda value: None, 2)
    with pytest.raises(OSError, match="broken"), leases.lease("a"):
        pass
    with leases.lease("a") as value:
        assert value == "a"
