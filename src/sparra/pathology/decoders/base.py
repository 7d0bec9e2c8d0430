"""What every slide decoder gives: a header, a pyramid, and the pixels of a region of one level."""

import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError

COPY_AGAIN = "Copy it again from its source"
CONVERT = "Convert it to a tiled, pyramidal TIFF of 8-bit RGB colour"
WHITE = 255
# Of decoded pieces, kept for the neighbouring region.
CACHE_BYTES = 32 << 20
# Of a thread's room; larger arrays are made when needed and given back.
LARGEST_ROOM_BYTES = 4 << 20
# Of the widest vectors that libjpeg-turbo stores.
VECTOR_BYTES = 32


@dataclass(frozen=True)
class Header:
    """Technical facts of a slide file; nothing that could identify a patient.

    Attributes
    ----------
    vendor : str or None
        Format, by OpenSlide's name where it has one.
    mpp : tuple of float or None
        µm per pixel of level 0 along (x, y), as the file says.
    objective_power : float or None
        Such as 20 or 40.
    quickhash : str or None
        OpenSlide's identity of the picture.
    """

    vendor: str | None = None
    mpp: tuple[float, float] | None = None
    objective_power: float | None = None
    quickhash: str | None = None


class Region(NamedTuple):
    """Pixels of a level, and where the first of them lies.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
        RGB, C-contiguous; white where the file holds nothing.
    corner : tuple of float
        Top-left corner (x, y) in pixels of the level; some decoders can only begin at a part of a pixel.
    """

    pixels: NDArray[np.uint8]
    corner: tuple[float, float]


class Room(threading.local):
    """Memory of each thread for pixels that are soon used up.

    Fresh memory for every tile would cost more than what is done with it: the system clears each page of it, and
    no cache of the processor holds it.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, dtype=np.uint8)

    def __call__(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return as `new_pixels`, but the next call may return the same memory again."""
        size = height * width * 3
        if size > LARGEST_ROOM_BYTES:
            return new_pixels(height, width)
        if size > self._bytes.size:
            self._bytes = new_pixels(height, width).reshape(-1)
        return self._bytes[:size].reshape(height, width, 3)


def new_pixels(height: int, width: int) -> NDArray[np.uint8]:
    """Return a C-contiguous array of any content, shape (height, width, 3), that JPEG is quickly decoded into.

    Rows that begin at a multiple of a vector's bytes would be written past the processor's caches by libjpeg-turbo:
    a tile of 256 pixels then takes a quarter longer, and is fetched from memory by what reads it next.
    """
    size = height * width * 3
    memory = np.empty(size + VECTOR_BYTES, dtype=np.uint8)
    start = (VECTOR_BYTES // 2 - memory.__array_interface__["data"][0]) % VECTOR_BYTES
    return memory[start : start + size].reshape(height, width, 3)


class OpenFile(Protocol):
    """A binary file."""

    def fileno(self) -> int:
        """Return the system's number of the file."""

    def seek(self, offset: int, /) -> int:
        """Move the position."""

    def read(self, size: int, /) -> bytes:
        """Return bytes from the position on."""


class Decoder(Protocol):
    """Reads one file; thread-safe.

    Attributes
    ----------
    header : Header
    level_dimensions : tuple
        (width, height) of each level in pixels, the largest first.
    """

    header: Header
    level_dimensions: tuple[tuple[int, int], ...]

    def read(
        self,
        level: int,
        corner: tuple[int, int],
        size: tuple[int, int],
        factor: tuple[int, int] = (1, 1),
        into: NDArray[np.uint8] | None = None,
    ) -> Region:
        """Read a region of a level, its pixels averaged.

        Parameters
        ----------
        level : int
        corner : tuple of int
            (x, y) in pixels of the level, not negative. The region read begins there or less than a pixel
            before.
        size : tuple of int
            (width, height) in means; may reach beyond the border.
        factor : tuple of int
            Pixels of the level along (x, y) in a mean; (1, 1) for the level as it is.
        into : ndarray of uint8, shape (height, width, 3), optional
            Where the means may be put, and then are the pixels returned, if the region begins at `corner` itself.

        Raises
        ------
        UserError
            If the file is damaged there.
        """

    def forget(self) -> None:
        """Let go of the decoded pixels that are kept for neighbouring regions."""

    def close(self) -> None:
        """Close the file."""


class FileBytes:
    """Reads bytes of an open file at any place, by threads and forked processes at once.

    Parameters
    ----------
    file : object with ``fileno``, ``seek`` and ``read``
        No one else may move its position where the system has no reads without one (Windows).
    """

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._lock = threading.Lock()

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, fewer at the end of the file."""
        if not hasattr(os, "pread"):
            with self._lock:
                self._file.seek(start)
                return self._file.read(length)
        content = os.pread(self._file.fileno(), length, start)
        while len(content) < length and (
            more := os.pread(self._file.fileno(), length - len(content), start + len(content))
        ):
            content += more
        return content


def damaged(error: Exception, path: Path) -> UserError:
    """Return the error of a file that cannot be decoded at some place."""
    return UserError(f"the slide is damaged or cut off ({reason_of(error, path)})", where=path, mend=COPY_AGAIN)


def reason_of(error: Exception, path: Path) -> str:
    """Return a library's reason on one line, without the path that the sentence begins with."""
    text = " ".join(str(error).replace(str(path), "the file").split())
    return text[:200].rstrip(".") or type(error).__name__


def as_number(text: Any) -> float | None:
    """Return a finite number, or None for anything else."""
    try:
        value = float(text) if text is not None else None
    except (TypeError, ValueError):
        return None
    return value if value is not None and math.isfinite(value) else None
