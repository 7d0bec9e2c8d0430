"""The two ways in which kernels are compiled."""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(kernel: Kernel) -> Kernel:
    """Compile `kernel` on its first call, cached on disk; it runs without the interpreter's lock.

    Sums may be reassociated so that they vectorise; NaN and infinity keep their meaning. Kernels are serial, since
    subjects run in parallel and numba's thread pools do not survive that.
    """
    return cast(Kernel, numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})(kernel))


def compiled_in_order(kernel: Kernel) -> Kernel:
    """Compile `kernel` as `compiled` does, but sums are taken in the order written: for what training depends on."""
    return cast(Kernel, numba.njit(cache=True, nogil=True, fastmath={"contract"})(kernel))
