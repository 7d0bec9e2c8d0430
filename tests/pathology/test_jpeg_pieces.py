"""JPEG pieces are decoded without tifffile, into memory of our choice: the pixels must be tifffile's."""

import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

from sparra.errors import UserError
from sparra.pathology.decoders.base import LARGEST_ROOM_BYTES, VECTOR_BYTES, Room, new_pixels
from sparra.pathology.decoders.by_tifffile import TiffDecoder
from sparra.pathology.resampling import averaged

HEIGHT, WIDTH = 200, 176


def picture() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(40, 240, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


# Tiles in both colours, with chroma at half the resolution, and strips of which the last one is cut off.
KINDS = {
    "YCbCr tiles": {"tile": (64, 64)},
    "subsampled tiles": {"tile": (64, 64), "subsampling": (2, 2)},
    "RGB tiles": {"tile": (64, 64), "compressionargs": {"outcolorspace": "rgb"}},
    "strips": {"rowsperstrip": 64},
}


def write(path: Path, kind: str) -> Path:
    tifffile.imwrite(path, picture(), photometric="rgb", compression="jpeg", metadata=None, **KINDS[kind])
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_tifffiles(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "slide.tif", kind)
    expected = tifffile.imread(path)
    assert np.abs(expected.astype(int) - picture()).mean() < 10  # the colours are the picture's
    decoder = TiffDecoder(path)
    # Means first: their pieces lie in memory that the next piece is written to.
    halved = decoder.read(0, (0, 0), (WIDTH // 2, HEIGHT // 2), (2, 2)).pixels
    assert np.array_equal(halved, averaged(np.ascontiguousarray(expected), (2, 2)))
    assert np.array_equal(decoder.read(0, (0, 0), (WIDTH, HEIGHT)).pixels, expected)
    into = np.zeros((60, 50, 3), np.uint8)
    assert decoder.read(0, (30, 40), (50, 60), into=into).pixels is into
    assert np.array_equal(into, expected[40:100, 30:80])
    decoder.close()


def test_a_damaged_piece_is_an_error_and_the_others_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "slide.tif", "YCbCr tiles")
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.dataoffsets[1]
    expected = tifffile.imread(path)
    content = bytearray(path.read_bytes())
    content[offset : offset + 16] = bytes(16)
    path.write_bytes(content)
    decoder = TiffDecoder(path)
    for _ in range(2):
        with pytest.raises(UserError, match="damaged"):
            decoder.read(0, (64, 0), (64, 64))
        assert np.array_equal(decoder.read(0, (0, 64), (64, 64)).pixels, expected[64:128, :64])
    decoder.close()


@pytest.mark.parametrize("shape", [(256, 256), (1, 1), (37, 53)])
def test_memory_begins_between_two_vectors(shape: tuple[int, int]) -> None:
    for make in (new_pixels, Room()):
        pixels = make(*shape)
        assert pixels.shape == (*shape, 3)
        assert pixels.flags.c_contiguous
        assert pixels.ctypes.data % VECTOR_BYTES == VECTOR_BYTES // 2


def test_room_is_used_again_by_its_thread_only_and_never_large() -> None:
    room, others = Room(), []
    first = room(64, 64)
    assert np.shares_memory(first, room(32, 16))
    thread = threading.Thread(target=lambda: others.append(room(64, 64)))
    thread.start()
    thread.join()
    assert not np.shares_memory(first, others[0])
    side = int((LARGEST_ROOM_BYTES / 3) ** 0.5) + 1
    assert not np.shares_memory(room(side, side), room(side, side))
