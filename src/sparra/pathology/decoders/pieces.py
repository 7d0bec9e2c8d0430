"""Pieces of a level (tiles, strips, frames): decoded once for all regions and threads, and put together."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from sparra.pathology.decoders.base import WHITE

Piece = NDArray[np.uint8] | None
"""Pixels, shape (height, width, 3); None where the file holds nothing."""
DecodePiece = Callable[[int, int], Piece]


class PieceCache:
    """Keeps the pieces used last; one that a thread is decoding is waited for and not decoded again.

    Parameters
    ----------
    decode : callable (level, index) -> Piece
    most : int
        Pieces kept.
    """

    def __init__(self, decode: DecodePiece, most: int) -> None:
        self._decode = decode
        self._most = most
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[int, int], Piece | Future[Piece]] = OrderedDict()

    def __call__(self, level: int, index: int) -> Piece:
        """Return a piece; what decoding it raises is raised for all who wait, and tried again by the next."""
        key = (level, index)
        with self._lock:
            known = key in self._held
            if known:
                self._held.move_to_end(key)
            else:
                self._held[key] = Future()
                if len(self._held) > self._most:
                    self._held.popitem(last=False)
            held = self._held[key]
        if not isinstance(held, Future):
            return held
        return held.result() if known else self._decoded(key, held)

    def _decoded(self, key: tuple[int, int], waiting: Future[Piece]) -> Piece:
        try:
            piece = self._decode(*key)
        except BaseException as error:
            with self._lock:
                self._held.pop(key, None)
            waiting.set_exception(error)
            raise
        with self._lock:
            if key in self._held:
                self._held[key] = piece
        waiting.set_result(piece)
        return piece


def assemble(
    corner: tuple[int, int],
    size: tuple[int, int],
    picture: tuple[int, int],
    piece: tuple[int, int],
    decode: DecodePiece,
) -> NDArray[np.uint8]:
    """Put a region together from the pieces of a level that it touches.

    Parameters
    ----------
    corner, size : tuple of int
        (x, y) and (width, height) of the region in pixels of the level.
    picture, piece : tuple of int
        (width, height) of the level, and of a piece of it (tile, strip or frame).
    decode : callable (row, column) -> ndarray of uint8 or None
        Pixels of one piece, shape (at most height, at most width, 3); None where the file holds none.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    (left, top), (right, bottom) = corner, (corner[0] + size[0], corner[1] + size[1])
    inside = right <= picture[0] and bottom <= picture[1]
    pixels = np.empty((size[1], size[0], 3), dtype=np.uint8)
    if not inside:
        pixels.fill(WHITE)
    for row in range(top // piece[1], -(-min(bottom, picture[1]) // piece[1])):
        for column in range(left // piece[0], -(-min(right, picture[0]) // piece[0])):
            y, x = row * piece[1], column * piece[0]
            first = (max(top, y), max(left, x))
            last = (min(bottom, y + piece[1], picture[1]), min(right, x + piece[0], picture[0]))
            into = pixels[first[0] - top : last[0] - top, first[1] - left : last[1] - left]
            decoded = decode(row, column)
            into[:] = WHITE if decoded is None else decoded[first[0] - y : last[0] - y, first[1] - x : last[1] - x]
    return pixels
