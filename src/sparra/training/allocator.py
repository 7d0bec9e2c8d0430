"""Large tensors of one step reuse the memory of the last."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from sparra.memory import give_back_memory

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
DEFAULT_TRIM_THRESHOLD, DEFAULT_TOP_PAD, DEFAULT_MMAP_MAX = 128 * 1024, 128 * 1024, 65536
KEPT_TOP_PAD = 64 * 1024 * 1024


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory in the process while training, and hand it back afterwards.

    glibc maps every large block anew and the kernel clears each of its pages again, which takes about a tenth of a
    step. New threads share the main heap, for what each kept in a heap of its own no other could use; glibc has no way
    back from that, so it lasts as long as the process. Elsewhere than under glibc nothing happens.
    """
    try:
        library = ctypes.CDLL(None)
        mallopt = library.mallopt
    except (OSError, AttributeError, TypeError):
        yield
        return
    mallopt(M_ARENA_MAX, 1)
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
    mallopt(M_TOP_PAD, KEPT_TOP_PAD)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
        mallopt(M_TRIM_THRESHOLD, DEFAULT_TRIM_THRESHOLD)
        mallopt(M_TOP_PAD, DEFAULT_TOP_PAD)
        give_back_memory()
