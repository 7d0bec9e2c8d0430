"""A few hundred broken files of every kind, as ``make fuzz`` reads a hundred thousand; and those that once broke."""

import signal
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fuzz.targets import TARGETS, _hdf5_seeds
from fuzz.worker import OutOfTime, make_input, outcome_of, read_seeds

from fuzz import __main__ as fuzz_main
from sparra.bags.readers import import_bag
from sparra.bags.settings import ImportSettings
from sparra.errors import UserError
from sparra.hdf5 import walk

INPUTS = 30
SEED = 7


@pytest.fixture(autouse=True)
def _alarm() -> None:
    def stop(_number: int, _frame: object) -> None:
        raise OutOfTime

    signal.signal(signal.SIGPROF, stop)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", TARGETS)
def test_broken_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    import SimpleITK as sitk

    sitk.ProcessObject.GlobalWarningDisplayOff()
    seeds = read_seeds(kind, tmp_path / "seeds")
    (tmp_path / "input").mkdir()
    path = tmp_path / "input" / TARGETS[kind].name
    outcomes = set()
    for number in range(INPUTS):
        path.write_bytes(make_input(kind, number, seeds, SEED))
        outcome = outcome_of(kind, path)
        assert outcome in ("read", "refused"), f"input {number}: {outcome}"
        outcomes.add(outcome)
    assert "refused" in outcomes


def read(path: Path) -> object:
    return import_bag(path, "slide", mpp=0.25, settings=ImportSettings(tile_px=256, encoder="x"))


def looping_heap(folder: Path) -> Path:
    """Give a global heap a free space of length 0, on which HDF5 goes round for ever."""
    path = _hdf5_seeds(folder)[0]
    data = bytearray(path.read_bytes())
    struct.pack_into("<HHIQ", data, data.index(b"GCOL") + 16, 0, 0, 0, 0)
    path.write_bytes(data)
    return path


def test_hdf5_that_loops_in_the_library_ends_in_one_sentence(tmp_path: Path) -> None:
    path = looping_heap(tmp_path)
    started = time.process_time()
    for _ in range(3):  # The second time it is known.
        with pytest.raises(UserError, match="crashes or does not end on it") as caught:
            read(path)
    assert "\n" not in str(caught.value)
    assert time.process_time() - started < walk.MOST_SECONDS  # The time was the other process's.
    good = _hdf5_seeds(tmp_path)[1]
    assert read(good) is not None  # And the next file is read.


# What fuzzing once found in other readers, each now one sentence.
def _nifti(path: Path, at: int, packed: bytes) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 5, 6), np.int16)), str(path))
    data = bytearray(path.read_bytes())
    data[at : at + len(packed)] = packed
    path.write_bytes(data)


MENDED = {
    "nifti-dimensions-without-voxels": ("nifti", lambda p: _nifti(p, 42, struct.pack("<3h", 32767, 32767, 32767))),
    "nifti-spacing-of-zero": ("nifti", lambda p: _nifti(p, 80, struct.pack("<3f", 0, 0, 0))),
    "yaml-aliases-that-double": (
        "yaml",
        lambda p: p.write_text(
            "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 27))
        ),
    ),
    "yaml-alias-of-itself": ("yaml", lambda p: p.write_text("a: &a [*a]\n")),
    "yaml-nested": ("yaml", lambda p: p.write_text("a: " + "[" * 5000)),
    "geojson-nested": ("geojson", lambda p: p.write_text('{"type": ' + "[" * 5000)),
    "geojson-infinite": (
        "geojson",
        lambda p: p.write_text(
            '{"type": "Polygon", "coordinates": [[[0, 0], [1e999, 0], [1, 1], [0, 0]]]}'
        ),
    ),
    "safetensors-header-longer-than-the-file": (
        "safetensors", lambda p: p.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    ),
    "safetensors-shape-beyond-the-file": (
        "safetensors",
        lambda p: p.write_bytes(
            (lambda h: struct.pack("<Q", len(h)) + h + bytes(8))(
                b'{"features":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,8]}}'
            )
        ),
    ),
    "npy-shape-beyond-the-file": (
        "npy",
        lambda p: p.write_bytes(
            b"\x93NUMPY\x01\x00v\x00"
            + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999), }".ljust(117) + b"\n"
        ),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", MENDED)
def test_what_was_mended_stays_mended(case: str, tmp_path: Path) -> None:
    kind, write = MENDED[case]
    path = tmp_path / TARGETS[kind].name
    write(path)
    started = time.process_time()
    with pytest.raises(UserError) as caught:
        TARGETS[kind].read(path)
    assert len(str(caught.value)) < 10_000
    assert time.process_time() - started < 5


WORKER = """
import sys, time
print("start 0 csv", flush=True); print("end 0 0.001 read", flush=True); print("start 1 csv", flush=True)
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    time.sleep(1) if sys.argv[1] == "sleeps" else None
print("end 1 1.000 read", flush=True)
"""


@pytest.mark.parametrize(("does", "seconds", "outcome"), [("works", 1.5, "read"), ("sleeps", 30, "failed")])
def test_only_a_worker_that_does_not_want_a_processor_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, seconds: float, outcome: str
) -> None:
    if not Path("/proc/self/stat").is_file():
        pytest.skip("this system does not tell what a process waits for")
    monkeypatch.setattr(fuzz_main, "PATIENCE_S", 0.3)
    monkeypatch.setattr(fuzz_main, "_command", lambda *_: [sys.executable, "-c", WORKER, does, str(seconds)])
    (tmp_path / "input").mkdir()
    tally = fuzz_main.Tally(tmp_path, tmp_path / "kept")
    assert fuzz_main._one_worker(["csv"], 0, 2, 0, tally) == 2
    assert tally.counts["csv"] == ({"read": 2} if outcome == "read" else {"read": 1, "failed": 1})


def test_a_worker_that_works_for_too_long_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_main, "PATIENCE_S", 0.3)
    monkeypatch.setattr(fuzz_main, "SECONDS", 0.05)
    monkeypatch.setattr(fuzz_main, "_command", lambda *_: [sys.executable, "-c", WORKER, "works", "60"])
    (tmp_path / "input").mkdir()
    tally = fuzz_main.Tally(tmp_path, tmp_path / "kept")
    fuzz_main._one_worker(["csv"], 0, 2, 0, tally)
    assert tally.counts["csv"]["failed"] == 1
