"""Pieces of a level (tiles, strips, frames): decoded once for all regions and threads, and put together."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparra.pathology.decoders.base import WHITE, Region, Room, new_pixels
from sparra.pathology.resampling import averaged

Piece = NDArray[np.uint8] | None
"""Pixels, shape (height, width, 3); None where the file holds nothing."""
MakeRoom = Callable[[int, int], NDArray[np.uint8]]
DecodePiece = Callable[[int, int, int, MakeRoom], Piece]
Key = tuple[int, int, int, tuple[int, int]]
"""Level, row and column of a piece, and the (x, y) pixels averaged in it."""

# Held even where they are large.
LEAST_KEPT = 4
# Of a piece held, beside its pixels: key, array, links.
ENTRY_BYTES = 500


class Layout(NamedTuple):
    """How a level is cut: (width, height) of the level, and of a piece of it, in pixels."""

    picture: tuple[int, int]
    piece: tuple[int, int]


class _Pending:
    """A piece that one thread decodes and others wait for; a `Future` would take longer to make."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._piece: Piece = None
        self._error: BaseException | None = None

    def give(self, piece: Piece = None, error: BaseException | None = None) -> None:
        self._piece, self._error = piece, error
        self._lock.release()

    def result(self) -> Piece:
        with self._lock:
            if self._error is not None:
                raise self._error
            return self._piece


_ABSENT = _Pending()


class PieceCache:
    """Keeps the pieces used last; one that a thread is decoding is waited for and not decoded again.

    Parameters
    ----------
    decode : callable (Key) -> Piece
    most_bytes : int
        Of the pixels kept.
    """

    def __init__(self, decode: Callable[[Key], Piece], most_bytes: int) -> None:
        self._decode = decode
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, Piece | _Pending] = OrderedDict()

    def __call__(self, key: Key) -> Piece:
        """Return a piece; what decoding it raises is raised for all who wait, and tried again by the next."""
        with self._lock:
            held = self._held.get(key, _ABSENT)
            if held is _ABSENT:
                waiting = self._held[key] = _Pending()
            else:
                self._held.move_to_end(key)
        if held is _ABSENT:
            return self._decoded(key, waiting)
        return held.result() if isinstance(held, _Pending) else held

    def forget(self) -> None:
        """Let go of all pieces; those being decoded still reach who waits for them."""
        with self._lock:
            self._held.clear()
            self._bytes = 0

    def _decoded(self, key: Key, waiting: _Pending) -> Piece:
        try:
            piece = self._decode(key)
        except BaseException as error:
            with self._lock:
                if self._held.get(key) is waiting:
                    del self._held[key]
            waiting.give(error=error)
            raise
        with self._lock:
            if self._held.get(key) is waiting:
                self._held[key] = piece
                self._bytes += _size(piece)
            while self._bytes > self._most_bytes and len(self._held) > LEAST_KEPT:
                self._bytes -= _size(self._held.popitem(last=False)[1])
        waiting.give(piece)
        return piece


def _size(piece: Piece | _Pending) -> int:
    if isinstance(piece, _Pending):
        return 0
    return ENTRY_BYTES + (0 if piece is None else piece.nbytes)


class PieceReader:
    """Reads regions of a pyramid that is stored in pieces; thread-safe if `decode` is.

    A region that is to be averaged is put together from averaged pieces where these hold whole means, so that
    neighbouring regions share them as well.

    Parameters
    ----------
    decode : callable (level, row, column, room) -> Piece
        Pixels of one piece, shape (at most height, at most width, 3). They may lie in what ``room(height, width)``
        returns.
    layouts : sequence of Layout
        One a level.
    most_bytes : int
        Of decoded pixels kept.
    """

    def __init__(self, decode: DecodePiece, layouts: Sequence[Layout], most_bytes: int) -> None:
        self._decode = decode
        self._room = Room()
        self._layouts = layouts
        self._cache = PieceCache(self._averaged_piece, most_bytes)

    def read(
        self,
        level: int,
        corner: tuple[int, int],
        size: tuple[int, int],
        factor: tuple[int, int],
        into: NDArray[np.uint8] | None = None,
    ) -> Region:
        """Read a region, see `sparra.pathology.decoders.base.Decoder.read`."""
        picture, piece = self._layouts[level]
        x, y = factor
        if corner[0] % x or corner[1] % y or piece[0] % x or piece[1] % y:
            whole = (size[0] * x, size[1] * y)
            return Region(averaged(self.read(level, corner, whole, (1, 1)).pixels, factor), corner)
        first, step = (corner[0] // x, corner[1] // y), (piece[0] // x, piece[1] // y)
        means = (-(-picture[0] // x), -(-picture[1] // y))
        pixels = np.empty((size[1], size[0], 3), dtype=np.uint8) if into is None else into
        assemble(pixels, first, means, step, lambda row, column: self._cache((level, row, column, factor)))
        return Region(pixels, corner)

    def forget(self) -> None:
        """Let go of the decoded pieces."""
        self._cache.forget()

    def _averaged_piece(self, key: Key) -> Piece:
        level, row, column, factor = key
        decoded = self._decode(level, row, column, new_pixels if factor == (1, 1) else self._room)
        if decoded is None or factor == (1, 1):
            return decoded
        picture, piece = self._layouts[level]
        width, height = (min(piece[0], picture[0] - column * piece[0]), min(piece[1], picture[1] - row * piece[1]))
        if decoded.shape != (piece[1], piece[0], 3) or (width, height) != piece:
            # What lies beyond the border of the level is white, whatever fills the piece there.
            inside = decoded[:height, :width]
            decoded = np.full((piece[1], piece[0], 3), WHITE, dtype=np.uint8)
            decoded[: len(inside), : inside.shape[1]] = inside
        return averaged(np.ascontiguousarray(decoded), factor)


def assemble(
    pixels: NDArray[np.uint8],
    corner: tuple[int, int],
    picture: tuple[int, int],
    piece: tuple[int, int],
    decode: Callable[[int, int], Piece],
) -> None:
    """Put a region together in `pixels` from the pieces of a level that it touches.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
        Filled, white beyond the level and where the file holds nothing.
    corner : tuple of int
        (x, y) of the region in pixels of the level.
    picture, piece : tuple of int
        (width, height) of the level, and of a piece of it (tile, strip or frame).
    decode : callable (row, column) -> ndarray of uint8 or None
        Pixels of one piece, shape (at most height, at most width, 3); None where the file holds none.
    """
    (left, top), (right, bottom) = corner, (corner[0] + pixels.shape[1], corner[1] + pixels.shape[0])
    inside = right <= picture[0] and bottom <= picture[1]
    if not inside:
        pixels.fill(WHITE)
    columns = []
    for column in range(left // piece[0], -(-min(right, picture[0]) // piece[0])):
        x = column * piece[0]
        near, far = max(left, x), min(right, x + piece[0], picture[0])
        columns.append((column, slice(near - left, far - left), slice(near - x, far - x)))
    for row in range(top // piece[1], -(-min(bottom, picture[1]) // piece[1])):
        y = row * piece[1]
        upper, lower = max(top, y), min(bottom, y + piece[1], picture[1])
        rows, band = slice(upper - y, lower - y), pixels[upper - top : lower - top]
        for column, across, part in columns:
            decoded = decode(row, column)
            band[:, across] = WHITE if decoded is None else decoded[rows, part]
