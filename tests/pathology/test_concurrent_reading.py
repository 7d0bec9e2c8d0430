"""One file read by many threads and processes at once gives the pixels that one reader gets."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import tifffile

from sparra.pathology.decoders.by_tifffile import TiffDecoder

SIDE, TILE, READERS, OPENINGS = 512, 64, 8, 3


@pytest.fixture(scope="module")
def jpeg_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    coarse = generator.integers(60, 240, (SIDE // 16, SIDE // 16, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("jpeg") / "slide.tif"
    picture = coarse.repeat(16, axis=0).repeat(16, axis=1)
    tifffile.imwrite(path, picture, tile=(TILE, TILE), photometric="rgb", compression="jpeg", metadata=None)
    return path


def corners_of(reader: int) -> list[tuple[int, int]]:
    """Every eighth tile, so that no two readers begin with the same."""
    places = [(x, y) for y in range(0, SIDE, TILE) for x in range(0, SIDE, TILE)]
    return places[reader::READERS]


def differing(decoder: TiffDecoder, reader: int, expected: np.ndarray) -> int:
    regions = [(decoder.read(0, (x, y), (TILE, TILE)).pixels, x, y) for x, y in corners_of(reader)]
    return sum(not np.array_equal(pixels, expected[y : y + TILE, x : x + TILE]) for pixels, x, y in regions)


@pytest.fixture(autouse=True)
def slow_seeks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever moves the library's position in the file and then reads leaves time for another to move it."""
    seek = tifffile.FileHandle.seek

    def seek_and_wait(handle: tifffile.FileHandle, offset: int, whence: int = 0, /) -> int:
        place = seek(handle, offset, whence)
        time.sleep(0.001)
        return place

    monkeypatch.setattr(tifffile.FileHandle, "seek", seek_and_wait)


def test_threads_that_begin_at_once(jpeg_slide: Path) -> None:
    """What the library works out at a page's first use once moved the file under another thread's read."""
    expected = tifffile.imread(jpeg_slide)
    for _ in range(OPENINGS):
        decoder, start = TiffDecoder(jpeg_slide), threading.Barrier(READERS)

        def read(reader: int, decoder: TiffDecoder = decoder, start: threading.Barrier = start) -> int:
            start.wait()
            return differing(decoder, reader, expected)

        with ThreadPoolExecutor(READERS) as pool:
            assert sum(pool.map(read, range(READERS))) == 0
        decoder.close()


def read_in_process(decoder: TiffDecoder, reader: int, expected: np.ndarray, answer: Connection) -> None:
    try:
        answer.send(differing(decoder, reader, expected))
    except BaseException as error:
        answer.send(repr(error))
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork processes")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_processes_forked_with_the_file_open(jpeg_slide: Path) -> None:
    """They share one position in the file."""
    expected, forking = tifffile.imread(jpeg_slide), get_context("fork")
    for _ in range(3):
        decoder = TiffDecoder(jpeg_slide)
        pipes = [forking.Pipe(duplex=False) for _ in range(4)]
        children = [
            forking.Process(target=read_in_process, args=(decoder, reader, expected, answer))
            for reader, (_, answer) in enumerate(pipes)
        ]
        for child in children:
            child.start()
        assert [question.recv() for question, _ in pipes] == [0] * len(pipes)
        for child in children:
            child.join()
        decoder.close()
