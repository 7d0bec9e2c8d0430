"""Feature files that do not fit into memory, or claim what is not there; memory is really taken away."""

import gc
import io
import resource
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import zarr

from sparra.bags.bag import Bag
from sparra.bags.readers.arrays import load_npy, load_npz
from sparra.bags.readers.hdf5 import array_in, open_hdf5
from sparra.bags.readers.torch_tensor import matrix_in
from sparra.bags.readers.zarr_store import open_group, read_array
from sparra.bags.store import read_bag, write_bag
from sparra.engine.work import told
from sparra.errors import UserError
from sparra.hdf5.guard import require_sound
from sparra.memory import give_back_memory

MIB = 1 << 20
ROWS, COLUMNS = 1 << 14, 1 << 10
SIZE = ROWS * COLUMNS * 4


@contextmanager
def memory_left(mib: int) -> Iterator[None]:
    """Let this process take no more than so much above what it has."""
    # What earlier tests left would be given back at any time from now on, and leave more than was meant.
    gc.collect()
    give_back_memory()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + mib * MIB, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def npy(path: Path) -> Callable[[], object]:
    with path.open("wb") as file:
        file.write(header((ROWS, COLUMNS)))
        file.truncate(file.tell() + SIZE)  # The rest is a hole.
    return lambda: load_npy(path)


def npz(path: Path) -> Callable[[], object]:
    np.savez_compressed(path, a=np.zeros((ROWS, COLUMNS), np.float32))
    return lambda: load_npz(path)


def tensor(path: Path) -> Callable[[], object]:
    torch.save(torch.zeros(ROWS, COLUMNS), path)
    return lambda: matrix_in(path)


def widened_tensor(path: Path) -> Callable[[], object]:
    torch.save(torch.zeros(ROWS, COLUMNS, dtype=torch.bfloat16), path)
    return lambda: matrix_in(path)


def hdf5(path: Path) -> Callable[[], object]:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.zeros((ROWS, COLUMNS), np.float32), compression="gzip", compression_opts=1)
    require_sound(path)  # By a process that is started before memory is scarce.

    def read() -> object:
        with open_hdf5(path) as file:
            return array_in(file, "a", path)

    return read


def own_bag(path: Path) -> Callable[[], object]:
    bag = Bag("slide", np.zeros((ROWS, COLUMNS), np.float32), np.zeros((ROWS, 2)), (1.0, 1.0))
    write_bag(path, bag)
    return lambda: read_bag(path)


def own_bag_of_many_numbers(path: Path) -> Callable[[], object]:
    many = np.zeros(SIZE // 8)
    write_bag(path, Bag("slide", np.zeros((many.size, 1), np.float16), np.zeros((many.size, 2)), None), dtype="float16")
    return lambda: read_bag(path)


def store(path: Path) -> Callable[[], object]:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("a", shape=(ROWS, COLUMNS), chunks=(ROWS // 16, COLUMNS), dtype="f4")[:] = 1
    return lambda: read_array(open_group(path), "a", path)


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (npy, SIZE),
        (npz, SIZE),
        (tensor, SIZE),
        (widened_tensor, SIZE // 2),
        (hdf5, SIZE),
        (own_bag, SIZE),
        (own_bag_of_many_numbers, SIZE // 8 * 16),
        (store, SIZE),
    ],
)
def test_one_sentence_says_that_memory_is_lacking_and_the_engine_tries_again(
    tmp_path: Path, make: Callable[[Path], Callable[[], object]], size: int
) -> None:
    path = tmp_path / f"s1.{make.__name__}"
    path = path.with_suffix(".npz") if make is npz else path
    read = make(path)
    assert read() is not None
    with memory_left(40), pytest.raises(UserError, match="not enough memory to read it") as caught:
        read()
    assert caught.value.where == str(path)
    assert size <= int(caught.value.what.split()[-2]) <= size + MIB
    assert "larger machine" in str(caught.value)
    assert told(caught.value)[0] == "memory"


@pytest.mark.parametrize("shape", [(1 << 50, 4), (1 << 12, 4)])
@pytest.mark.parametrize("archived", [False, True])
def test_an_array_that_claims_more_than_is_there_is_damaged(
    tmp_path: Path, shape: tuple[int, int], archived: bool
) -> None:
    content = header(shape) + bytes(64)
    path = tmp_path / ("s1.npz" if archived else "s1.npy")
    if archived:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", content)
    else:
        path.write_bytes(content)
    claimed = shape[0] * shape[1] * 4
    with pytest.raises(UserError, match=f"takes {claimed} bytes, of which 64 are there") as caught:
        (load_npz if archived else load_npy)(path)
    assert told(caught.value)[0] == "failed"
