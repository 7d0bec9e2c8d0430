import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sparra.pathology.decoders.pieces import ENTRY_BYTES, Key, Layout, MakeRoom, PieceCache, PieceReader, assemble

PIECE_BYTES = 2 * 2 * 3


def key(column: int) -> Key:
    return (0, 0, column, (1, 1))


def test_a_piece_is_decoded_once_for_all_threads_and_the_oldest_is_given_up() -> None:
    decoded, lock = [], threading.Lock()

    def decode(wanted: Key) -> np.ndarray:
        time.sleep(0.02)
        with lock:
            decoded.append(wanted[2])
        return np.full((2, 2, 3), wanted[2], np.uint8)

    cache = PieceCache(decode, 5 * (PIECE_BYTES + ENTRY_BYTES))
    with ThreadPoolExecutor(4) as pool:
        assert all((piece == 7).all() for piece in pool.map(lambda _: cache(key(7)), range(8)))
    assert decoded == [7]
    for column in (1, 2, 3, 4, 7, 5, 7, 1):
        assert (cache(key(column)) == column).all()
    assert decoded == [7, 1, 2, 3, 4, 5, 1]


def test_large_pieces_are_few_but_never_none() -> None:
    decoded = []

    def decode(wanted: Key) -> np.ndarray:
        decoded.append(wanted[2])
        return np.zeros((2, 2, 3), np.uint8)

    cache = PieceCache(decode, 1)
    for column in (1, 2, 3, 4, 1, 2, 3, 4, 5, 1):
        cache(key(column))
    assert decoded == [1, 2, 3, 4, 5, 1]


def test_what_is_forgotten_is_decoded_again_and_what_is_awaited_still_comes() -> None:
    decoded, going, let_go = [], threading.Event(), threading.Event()

    def decode(wanted: Key) -> np.ndarray:
        decoded.append(wanted[2])
        if wanted[2] == 9:
            going.set()
            assert let_go.wait(10)
        return np.full((2, 2, 3), wanted[2], np.uint8)

    cache = PieceCache(decode, 3 * (PIECE_BYTES + ENTRY_BYTES))
    cache(key(1))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache, key(9))
        assert going.wait(10)
        cache.forget()
        let_go.set()
        assert (slow.result() == 9).all()
    # All that is kept is counted from nothing again: five fit no more than before.
    for column in (1, 2, 3, 4, 5, 1):
        assert (cache(key(column)) == column).all()
    assert decoded == [1, 9, 1, 2, 3, 4, 5, 1]


def test_a_failed_piece_is_tried_again() -> None:
    answers = [ValueError("damaged"), None]

    def decode(wanted: Key) -> None:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer

    cache = PieceCache(decode, 1)
    with pytest.raises(ValueError, match="damaged"):
        cache(key(0))
    assert cache(key(0)) is None


PICTURE = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)


def means(pixels: np.ndarray, x: int, y: int) -> np.ndarray:
    """Of whole blocks, halves rounded up."""
    blocks = pixels[: len(pixels) // y * y, : pixels.shape[1] // x * x].astype(int)
    sums = blocks.reshape(len(blocks) // y, y, -1, x, 3).sum(axis=(1, 3))
    return (sums + x * y // 2) // (x * y)


@pytest.mark.parametrize("factor", [(1, 1), (2, 2), (4, 2), (3, 3), (8, 16)])
@pytest.mark.parametrize("corner", [(0, 0), (16, 32), (6, 12), (5, 9), (48, 48)])
def test_averaged_regions_are_means_of_the_picture_with_white_around(
    factor: tuple[int, int], corner: tuple[int, int]
) -> None:
    """Border pieces come filled up with black, as JPEG tiles may, or cut off, as strips are."""
    padded = np.zeros((64, 80, 3), np.uint8)
    padded[:50, :70] = PICTURE

    def decode(level: int, row: int, column: int, room: MakeRoom) -> np.ndarray | None:
        piece = padded[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        return None if (row, column) == (1, 2) else piece[: 50 - 16 * row] if column < 2 else piece

    expected = np.full((200, 200, 3), 255, np.uint8)
    expected[:50, :70] = PICTURE
    expected[16:32, 32:48] = 255
    reader = PieceReader(decode, [Layout((70, 50), (16, 16))], 1 << 20)
    region = reader.read(0, corner, (5, 4), factor)
    x, y = factor
    box = expected[corner[1] : corner[1] + 4 * y, corner[0] : corner[0] + 5 * x]
    assert np.array_equal(region.pixels, means(box, x, y))
    assert region.corner == corner


def test_assembled_region_is_the_picture_with_white_around_and_in_gaps() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    expected = np.full((60, 80, 3), 255, np.uint8)
    expected[:50, :70] = picture
    expected[16:32, 32:48] = 255

    def decode(row: int, column: int) -> np.ndarray | None:
        return None if (row, column) == (1, 2) else picture[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]

    for left, top, width, height in ((0, 0, 70, 50), (5, 9, 60, 40), (33, 17, 4, 4), (60, 40, 20, 20), (75, 55, 3, 3)):
        region = np.zeros((height, width, 3), np.uint8)
        assemble(region, (left, top), (70, 50), (16, 16), decode)
        assert np.array_equal(region, expected[top : top + height, left : left + width])
