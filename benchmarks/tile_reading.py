"""Reading tiles: ours against the decoder's own rate, and the memory of a whole extraction by slide size.

``python -m benchmarks.tile_reading`` writes synthetic pyramidal TIFFs (JPEG, 256-pixel tiles) in a temporary folder
and prints one JSON line. ``share_of_decoder``: tiles a second of `read_tiles` over those of the library that decodes
this file in it (tifffile with imagecodecs), for the same regions, read one after the other by as many threads, without
any resampling; the lowest of three scans: ``share_native`` 0.5 µm (as it is), ``share_half`` 0.25 and ``share_odd``
0.2527 µm (reduced to 0.5). ``ratio_to_openslide_*``: the same over ``OpenSlide.read_region``.
``share_openslide_reader`` is our reader through OpenSlide, by which formats other than plain TIFF are read, over
OpenSlide's own rate at 0.25 µm. ``peak_mb_small`` and ``peak_mb_large``: peak
memory, MiB, of a process that extracts a slide of 8,192 and of 81,920 pixels a side: it finds the tissue, reads every
tile, takes its mean colour, and makes the preview, the outline and the picture.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from unittest.mock import patch

import imagecodecs
import numpy as np
import openslide
import tifffile
from numpy.typing import NDArray

from sparra.encoders import EncoderCard
from sparra.engine.work import peak_mib
from sparra.pathology import slide as slide_module
from sparra.pathology.decoders.by_openslide import OpenSlideDecoder
from sparra.pathology.encoders import SlideEncoderEntry, slide_encoders
from sparra.pathology.extract import extract_slide
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.pathology.tiles import TileGrid, read_tiles
from sparra.simulate.settings import SimulationSettings
from sparra.simulate.slide import simulate_slide

TILE, REPEATS, MOST_TILES = 256, 15, 256
# 32 MiB of decoded tiles, as our reader keeps.
CACHED_TILES = (32 << 20) // (TILE * TILE * 3)
SMALL_PX, LARGE_PX = 8192, 81920
SCANS = {"native": 0.5, "half": 0.25, "odd": 0.2527}


def jpeg_tiles() -> tuple[list[bytes], bytes]:
    """Return tissue as encoded tiles, and one of glass."""
    drawn = simulate_slide(0.5, SimulationSettings(slide_um=1024, slide_mpp=0.5), np.random.default_rng(0)).rgb
    middle = drawn.shape[0] // 2 - TILE
    tiles = [
        drawn[middle + dy : middle + dy + TILE, middle + dx : middle + dx + TILE]
        for dy in (0, TILE)
        for dx in (0, TILE)
    ]
    glass = np.full((TILE, TILE, 3), 244, np.uint8)
    encoded = [bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(tile), level=85)) for tile in tiles]
    return encoded, bytes(imagecodecs.jpeg8_encode(glass, level=85))


def write_pyramid(path: Path, side: int, mpp: float) -> None:
    """Write a slide whose middle 60 % along each side is tissue; levels of 1, 4 and 16."""
    tissue, glass = jpeg_tiles()

    def tiles(count: int) -> Iterator[bytes]:
        for row in range(count):
            for column in range(count):
                inside = all(0.2 * count <= place < 0.8 * count for place in (row, column))
                yield tissue[(row % 2) * 2 + column % 2] if inside else glass

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(3):
            pixels = side // 4**level
            writer.write(
                tiles(pixels // TILE), shape=(pixels, pixels, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="rgb",
                compression="jpeg", subfiletype=int(level > 0), metadata=None,
                resolution=(1e4 / mpp / 4**level, 1e4 / mpp / 4**level), resolutionunit="CENTIMETER",
            )  # fmt: skip


def regular_grid(slide: Slide, settings: SlideSettings) -> TileGrid:
    start, side = 0.25 * slide.size_um[0], int(MOST_TILES**0.5)
    corners = np.array(
        [[start + x * settings.tile_um, start + y * settings.tile_um] for y in range(side) for x in range(side)]
    )
    inside = corners[(corners.max(axis=1) + settings.tile_um) < min(slide.size_um)]
    return TileGrid(inside, np.ones(len(inside), np.float32), settings.tile_um, (side, side))


def ours(path: Path, mpp: float, settings: SlideSettings) -> tuple[float, TileGrid]:
    with Slide(path, mpp) as slide:
        grid = regular_grid(slide, settings)
        start = time.perf_counter()
        for _ in read_tiles(slide, grid, settings):
            pass
        return len(grid) / (time.perf_counter() - start), grid


def read_in_threads(read: Callable[[int, int], object], corners: list[list[int]], threads: int) -> float:
    """Return regions a second; neighbours stay with one thread, as a plain loop would read them."""

    def loop(part: list[list[int]]) -> None:
        for x, y in part:
            read(x, y)

    step = -(-len(corners) // threads)
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(loop, [corners[first : first + step] for first in range(0, len(corners), step)]))
    return len(corners) / (time.perf_counter() - start)


def regions(mpp: float, grid: TileGrid) -> tuple[list[list[int]], int]:
    """Return corners and side of the tiles in pixels of level 0, which is the level that all three scans use."""
    return np.rint(grid.corners_um / mpp).astype(int).tolist(), round(grid.tile_um / mpp)


def openslide_alone(path: Path, mpp: float, grid: TileGrid, threads: int) -> float:
    corners, side = regions(mpp, grid)
    with openslide.OpenSlide(path) as handle:
        return read_in_threads(lambda x, y: handle.read_region((x, y), 0, (side, side)), corners, threads)


def tifffile_alone(path: Path, mpp: float, grid: TileGrid, threads: int) -> float:
    """Decode each region's tiles by tifffile and put them together, keeping decoded tiles as a decoder would."""
    corners, side = regions(mpp, grid)
    lock = threading.Lock()
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        across = page.imagewidth // TILE
        page.init_decode()  # its first use is not for threads

        @lru_cache(maxsize=CACHED_TILES)
        def tile(index: int) -> NDArray[np.uint8]:
            with lock:
                file.filehandle.seek(page.dataoffsets[index])
                content = file.filehandle.read(page.databytecounts[index])
            decoded = page.decode(content, index, jpegtables=page.jpegtables)[0]
            assert decoded is not None
            return np.asarray(decoded[0], dtype=np.uint8)

        def read(x: int, y: int) -> NDArray[np.uint8]:
            region = np.empty((side, side, 3), np.uint8)
            for row in range(y // TILE, -(-(y + side) // TILE)):
                for column in range(x // TILE, -(-(x + side) // TILE)):
                    top, left = row * TILE - y, column * TILE - x
                    part = tile(row * across + column)[max(0, -top) : side - top, max(0, -left) : side - left]
                    into = region[max(0, top) : top + TILE, max(0, left) : left + TILE]
                    into[:] = part
            return region

        return read_in_threads(read, corners, threads)


Decoding = Callable[[Path, float, TileGrid, int], float]


def share(path: Path, mpp: float, settings: SlideSettings, decoding: Decoding) -> float:
    """Return the median ratio of runs that take turns, so that other load meets both."""
    ratios = []
    for _ in range(REPEATS):
        rate, grid = ours(path, mpp, settings)
        ratios.append(rate / decoding(path, mpp, grid, settings.reading_threads))
    return float(np.median(ratios))


def through_openslide(action: Callable[[], float]) -> float:
    with patch.object(slide_module, "open_decoder", OpenSlideDecoder):
        return action()


class MeanColour:
    """The least that an encoder can do, so that what is measured is all the rest of an extraction."""

    feature_names = ("red", "green", "blue")

    def encode(self, tiles: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
        """Return the mean of each channel, shape (batch, 3)."""
        return np.stack([tile.mean(axis=(0, 1), dtype=np.float32) for tile in tiles])


def extract_whole(path: Path) -> None:
    """Extract a slide, then print the process's peak memory in MiB and the number of tiles."""
    facts = dict.fromkeys(("input_description", "resolution", "intensity", "licence", "pretraining", "reference"), "")
    card = EncoderCard("mean-colour", "slide", 3, weights="none", weights_sha256=None, gated=False, **facts)
    slide_encoders.register("mean-colour")(SlideEncoderEntry(card, lambda _: MeanColour()))
    bag, _ = extract_slide(path, None, SlideSettings(encoder="mean-colour"), record=path.with_suffix(""))
    # Not getrusage's, which begins at that of the process that started this one.
    print(json.dumps([peak_mib(), len(bag.features)]))


def peak_of(path: Path) -> tuple[float, int]:
    command = [sys.executable, "-m", "benchmarks.tile_reading", "--extract", str(path)]
    peak, tiles = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return peak, tiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extract", type=Path, help="only extract this slide and print the peak memory")
    parser.add_argument("--large", type=int, default=LARGE_PX, help="side of the large slide, pixels")
    arguments = parser.parse_args()
    if arguments.extract:
        extract_whole(arguments.extract)
        return
    settings = SlideSettings()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.tif", Path(folder) / "large.tif"
        write_pyramid(small, SMALL_PX, 0.25)
        for name, mpp in SCANS.items():
            figures[f"share_{name}"] = share(small, mpp, settings, tifffile_alone)
        figures["share_of_decoder"] = min(figures.values())
        for name, mpp in SCANS.items():
            figures[f"ratio_to_openslide_{name}"] = share(small, mpp, settings, openslide_alone)
        figures["share_openslide_reader"] = through_openslide(lambda: share(small, 0.25, settings, openslide_alone))
        figures["peak_mb_small"], figures["tiles_small"] = peak_of(small)
        write_pyramid(large, arguments.large, 0.25)
        figures["peak_mb_large"], figures["tiles_large"] = peak_of(large)
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
