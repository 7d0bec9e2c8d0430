"""The process that looks through HDF5 files first: it may die or be ended, which its parent notices.

The HDF5 library does not survive every damage: some headers make it go round for ever (an object of length 0 in a
global heap), some make it write where it must not. No exception tells of either. So every structure that a reader may
touch is touched here before: links, attributes, dataspaces, types, indices of chunks, texts.

It takes one path a line, as JSON, and answers each with a line: ``sound``, or what is wrong. Nothing of sparra is
imported, so that it starts quickly.
"""

import json
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import h5py

#: The system ends this process when one file takes more processor time; a slow disk takes none.
MOST_SECONDS = 2.0
#: After so long the rest of a file is left unseen, which is told.
ENOUGH_SECONDS = 1.5
MOST_BYTES = 4 * 1024**3
#: Elements of a dataset that are read: all of a small one, the first of texts and other values in heaps.
SMALL_BYTES = 1 << 20
MOST_TEXTS = 10_000

SOUND = "sound"
TOO_LONG = "it holds more objects, attributes or chunks than sparra can look through"
LEADS_OUT = "it takes data from other files, which sparra does not follow"


def look_through(path: str) -> str:
    """Touch everything in a file, links first, then what they lead to, nearest to its root first.

    Errors that the library tells of are left to the readers, which put them in words.

    Returns
    -------
    str
        ``sound``, or what is wrong.
    """
    until = time.process_time() + ENOUGH_SECONDS
    with suppress(Exception), h5py.File(path, "r") as file:
        items = []
        for item in _items(file):  # All links first: a reader follows them whatever else is wrong.
            if item is None or _lies_elsewhere(item):
                return LEADS_OUT
            items.append(item)
            if time.process_time() > until:
                return TOO_LONG
        for item in items:
            _touch(item)
            if time.process_time() > until:
                return TOO_LONG
    return SOUND


def _items(file: Any) -> Iterator[Any]:
    """Yield every group and dataset once, and None for a link into another file."""
    waiting, seen = deque([file]), set()
    while waiting:
        group = waiting.popleft()
        yield group
        names: list[str] = []
        with suppress(Exception):
            names.extend(group)
        for name in names:
            link = item = None
            with suppress(Exception):
                link = group.get(name, getlink=True)
                item = group[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(link, h5py.ExternalLink):
                yield None
            elif item is not None and (place := _place(item)) not in seen:
                seen.add(place)
                if isinstance(item, h5py.Group):
                    waiting.append(item)
                else:
                    yield item


def _place(item: Any) -> object:
    """Return what two links to one object share."""
    try:
        return h5py.h5o.get_info(item.id).addr
    except Exception:
        return object()  # An id may come again.


def _lies_elsewhere(item: Any) -> bool:
    with suppress(Exception):
        return bool(isinstance(item, h5py.Dataset) and (item.external or item.is_virtual))
    return False


def _touch(item: Any) -> None:
    names: list[str] = []
    with suppress(Exception):
        names.extend(item.attrs)
    for name in names:
        with suppress(Exception):
            item.attrs[name]
    if isinstance(item, h5py.Dataset):
        with suppress(Exception):
            _touch_values(item)


def _touch_values(dataset: Any) -> None:
    dataset.id.get_offset()
    if dataset.chunks is not None:
        dataset.id.get_num_chunks()
    if dataset.size * dataset.dtype.itemsize <= SMALL_BYTES:
        dataset[()]
    elif dataset.dtype.hasobject and dataset.shape:
        dataset[: max(MOST_TEXTS // max(dataset.size // dataset.shape[0], 1), 1)]


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # A lower limit may be set already.
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> None:
    """Answer until there are no more questions."""
    _limit_memory()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # Which ends the process, even within the library.
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        print(look_through(json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
