"""An item for which memory does not do is worked on again in smaller batches, and its features are the same."""

import os
import platform
import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import nn

from sparra.engine.settings import EngineSettings
from sparra.engine.work import Task, perform
from sparra.errors import UserError
from sparra.memory import SMALLER_BY, batch_within_memory, give_back_memory, memory_use
from sparra.pathology.encoders.network import IMAGENET, TileNetwork, TileTransform
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.pathology.tiles import TileGrid, read_tiles
from sparra.radiology.encoders.sliding import encode_windows
from sparra.simulate.cohort import simulate_cohort
from sparra.simulate.settings import SimulationSettings
from sparra.study.manifest import read_manifest
from sparra.study.pool import Item, open_session, run_items
from sparra.weights import LoadedNetwork

MIB = 2**20
SIDE, BATCH, CHANNELS, TILES = 64, 64, 512, 70
# What the first layer makes of a batch: 512 MiB whole, 64 MiB in an eighth.
WHOLE = BATCH * CHANNELS * SIDE**2 * 4


def no_bar(items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    yield from items


def wide_network() -> LoadedNetwork:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, CHANNELS, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 8)
    return LoadedNetwork(nn.Sequential(*layers).eval(), torch.device("cpu"), torch.float32, {})


def features_of(slide: Path, tiles: int) -> np.ndarray:
    settings = SlideSettings(tile_um=SIDE / 2, batch_size=BATCH, reading_threads=1)
    encoder = TileNetwork(wide_network(), TileTransform(IMAGENET), BATCH)
    places = np.random.default_rng(0).uniform(0, 600, (tiles, 2))
    grid = TileGrid(places, np.ones(tiles, np.float32), SIDE / 2, (tiles, 1))
    with Slide(slide, None, settings.mpp_policy) as opened:
        return np.concatenate([encoder.encode(batch, 0.5) for batch in read_tiles(opened, grid, settings)])


def encode(slide: Path, output: Path, room: int | None) -> None:
    """Encode a slide in a process that can have `room` bytes more than it has."""
    if room is None:
        np.save(output, features_of(slide, TILES))
        return
    features_of(slide, 1)  # Loads what is loaded at its first use.
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + room, before[1]))
    try:
        features = features_of(slide, TILES)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    np.save(output, features)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    simulate_cohort(folder, SimulationSettings(subjects=1, slide_um=768))
    return next(path for path in folder.rglob("*.tif*"))


def test_a_slide_too_large_in_whole_batches_is_done_in_smaller_ones_with_the_same_features(
    slide: Path, tmp_path: Path
) -> None:
    rooms = {"plenty": None, "giant": WHOLE * 15 // 16, "hopeless": WHOLE // 10}
    items = [Item(name, "slide", (slide, tmp_path / f"{name}.npy", room)) for name, room in rooms.items()]
    with open_session(EngineSettings(workers=2), tmp_path, lambda _: None):
        problems = run_items("extract", encode, items, 2, no_bar)
    assert [problem.subject_id for problem in problems] == ["hopeless"]
    assert "needs more memory than there is" in problems[0].what
    ended = [entry for entry in read_manifest(tmp_path) if entry["event"] == "ended"]
    told = {name: [e["status"] for e in ended if e["subject_id"] == name] for name in rooms}
    assert told == {"plenty": ["done"], "giant": ["again", "done"], "hopeless": ["again", "memory"]}
    expected, found = (np.load(tmp_path / f"{name}.npy") for name in ("plenty", "giant"))
    assert expected.shape == (TILES, 8)
    # A matrix product may add in another order when it is of another size.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@given(st.integers(1, 10_000))
def test_a_smaller_batch_is_an_eighth_and_one_at_least(size: int) -> None:
    assert batch_within_memory(size) == size
    with memory_use(smaller=True):
        assert batch_within_memory(size) == max(1, size // SMALLER_BY)
    assert batch_within_memory(size) == size


def test_tiles_are_read_and_given_to_the_network_in_smaller_batches(slide: Path) -> None:
    settings = SlideSettings(tile_um=32, batch_size=64, reading_threads=1)
    grid = TileGrid(np.zeros((100, 2)), np.ones(100, np.float32), 32, (100, 1))
    seen: list[int] = []

    class Watched(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(len(images))
            return images.mean(dim=(2, 3))

    loaded = LoadedNetwork(Watched(), torch.device("cpu"), torch.float32, {})
    encoder = TileNetwork(loaded, TileTransform(IMAGENET), 32)
    with Slide(slide, None, settings.mpp_policy) as opened:
        with memory_use(smaller=True):
            sizes = [len(tiles) for tiles in read_tiles(opened, grid, settings)]
            encoder.encode(np.zeros((10, 64, 64, 3), np.uint8), 0.5)
        assert sizes == [8] * 12 + [4]
        assert seen == [4, 4, 2]
        assert [len(tiles) for tiles in read_tiles(opened, grid, settings)] == [64, 36]


@hypothesis_settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(0, 2**16))
def test_windows_of_a_ct_give_the_same_in_smaller_batches(batch: int, seed: int) -> None:
    volume = np.random.default_rng(seed).normal(size=(4, 8, 9)).astype(np.float32)
    seen: list[int] = []

    def read(start: tuple[int, int, int]) -> np.ndarray:
        return volume[tuple(slice(s, s + 3) for s in start)]

    def windows(inputs: np.ndarray) -> np.ndarray:
        seen.append(len(inputs))
        return inputs.reshape(len(inputs), 27, 1)

    def layers() -> np.ndarray:
        return np.stack([found for _, found in encode_windows((4, 8, 9), (3, 3, 3), 0.5, batch, read, windows)])

    expected = layers()
    assert max(seen) <= batch
    seen.clear()
    with memory_use(smaller=True):
        np.testing.assert_array_equal(layers(), expected)
    assert max(seen) == max(1, batch // SMALLER_BY)


def allocate_by_torch() -> None:
    torch.empty(2**52, dtype=torch.uint8)


def allocate_by_itk() -> None:
    import SimpleITK as sitk

    sitk.Image([100_000, 100_000, 10_000], sitk.sitkFloat64)


def allocate_by_numpy_in_a_reader() -> None:
    try:
        np.empty(2**52, np.uint8)
    except MemoryError as error:
        raise UserError("the file cannot be read", "slide.svs") from error


def be_refused() -> None:
    raise UserError("the file declares more than the memory that sparra can allocate", "slide.svs")


@pytest.mark.parametrize(
    ("work", "status"),
    [
        (allocate_by_torch, "memory"),
        (allocate_by_itk, "memory"),
        (allocate_by_numpy_in_a_reader, "memory"),
        (be_refused, "failed"),
    ],
)
def test_a_library_s_own_words_for_a_lack_of_memory_are_understood(work: Callable[[], None], status: str) -> None:
    assert perform(Task(work, ())).status == status


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has a way to ask")
def test_freed_memory_goes_back_to_the_system() -> None:
    def held() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    # Small enough that each comes from the heap, every second one kept so that the heap cannot simply shrink.
    pieces = [np.ones(50_000, np.uint8) for _ in range(2000)]
    del pieces[::2]
    before = held()
    give_back_memory()
    assert before - held() > 30e6
    assert all(piece.all() for piece in pieces)
