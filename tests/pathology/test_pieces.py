import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sparra.pathology.decoders.pieces import PieceCache, assemble


def test_a_piece_is_decoded_once_for_all_threads_and_the_oldest_is_given_up() -> None:
    decoded, lock = [], threading.Lock()

    def decode(level: int, index: int) -> np.ndarray:
        time.sleep(0.02)
        with lock:
            decoded.append(index)
        return np.full((2, 2, 3), index, np.uint8)

    cache = PieceCache(decode, 2)
    with ThreadPoolExecutor(4) as pool:
        assert all((piece == 7).all() for piece in pool.map(lambda _: cache(0, 7), range(8)))
    assert decoded == [7]
    for index in (8, 7, 9, 7, 8):
        assert (cache(0, index) == index).all()
    assert decoded == [7, 8, 9, 8]


def test_a_failed_piece_is_tried_again() -> None:
    answers = [ValueError("damaged"), None]

    def decode(level: int, index: int) -> None:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer

    cache = PieceCache(decode, 2)
    with pytest.raises(ValueError, match="damaged"):
        cache(0, 0)
    assert cache(0, 0) is None


def test_assembled_region_is_the_picture_with_white_around_and_in_gaps() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    expected = np.full((60, 80, 3), 255, np.uint8)
    expected[:50, :70] = picture
    expected[16:32, 32:48] = 255

    def decode(row: int, column: int) -> np.ndarray | None:
        return None if (row, column) == (1, 2) else picture[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]

    for left, top, width, height in ((0, 0, 70, 50), (5, 9, 60, 40), (33, 17, 4, 4), (60, 40, 20, 20), (75, 55, 3, 3)):
        region = assemble((left, top), (width, height), (70, 50), (16, 16), decode)
        assert np.array_equal(region, expected[top : top + height, left : left + width])
