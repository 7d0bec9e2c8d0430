"""A network of fixed input moved over a grid of tokens, in bounded memory."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sparra.memory import batch_within_memory

Triple = tuple[int, int, int]
#: From the first token (z, y, x) of a window to the window's input.
Input = Callable[[Triple], NDArray[np.float32]]
#: From inputs, shape (windows, ...), to tokens, shape (windows, tokens of a window, D).
Encode = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Return the first tokens of windows that cover `length` tokens, the last one flush with the end.

    Parameters
    ----------
    length, window : int
        In tokens, ``length >= window``.
    overlap : float
        Part of a window that its neighbour covers too, 0 to below 1.
    """
    step = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // step) + 1
    return [min(i * step, length - window) for i in range(count)]


def encode_windows(
    tokens: Triple, window: Triple, overlap: float, batch: int, read: Input, encode: Encode
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Encode a grid of tokens by overlapping windows and average where they overlap.

    Only the layers of the windows at one height are held: ``window[0]`` layers of tokens.

    Parameters
    ----------
    tokens : tuple of int
        The grid (z, y, x), at least `window` along each axis.
    window : tuple of int
        Tokens of a window.
    overlap : float
    batch : int
        Windows encoded at a time; fewer after memory ran out.
    read, encode : callable

    Yields
    ------
    layer : int
        From 0 to ``tokens[0] - 1``, each once.
    features : ndarray of float32, shape (y, x, D)
    """
    batch = batch_within_memory(batch)
    starts = [window_starts(n, w, overlap) for n, w in zip(tokens, window, strict=True)]
    held: NDArray[np.float32] | None = None
    counts = np.zeros((window[0], *tokens[1:], 1), np.float32)
    # A last height, which no window has, flushes the layers of the one before it.
    for z, following in zip(starts[0], [*starts[0][1:], tokens[0]], strict=True):
        corners = [(z, y, x) for y, x in product(starts[1], starts[2])]
        for first in range(0, len(corners), batch):
            some = corners[first : first + batch]
            features = encode(np.stack([read(corner) for corner in some]))
            if held is None:
                held = np.zeros((window[0], *tokens[1:], features.shape[-1]), np.float32)
            for (_, y, x), found in zip(some, features, strict=True):
                place = np.s_[:, y : y + window[1], x : x + window[2]]
                held[place] += found.reshape(*window, -1)
                counts[place] += 1
        assert held is not None
        done = following - z
        for layer in range(done):
            yield z + layer, held[layer] / counts[layer]
        for kept in (held, counts):
            kept[: window[0] - done] = kept[done:].copy()
            kept[window[0] - done :] = 0
