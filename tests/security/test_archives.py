"""Archives that promise more than they hold, and files that take their content from elsewhere."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from sparra.bags.readers import import_bag
from sparra.bags.settings import ImportSettings
from sparra.bags.store import read_bag
from sparra.engine.work import forget_peak, peak_mib
from sparra.errors import UserError
from sparra.segmentation.published import convert_published
from sparra.segmentation.settings import SegmentationSettings
from sparra.torch_files import load_tensors
from sparra.unpacking import promises_too_much, require_honest_zip
from sparra.weights.checkpoint import read_checkpoint

GIB = 1 << 30
FEATURES = np.arange(12, dtype=np.float32).reshape(3, 4)


def read(path: Path) -> Any:
    return import_bag(path, "slide", mpp=0.25, settings=ImportSettings(tile_px=256, encoder="x"))


def claim_size(path: Path, size: int) -> None:
    """Let the directory of a zip say that its largest member unpacks to `size` bytes."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    for magic, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = -1
        while (place := data.find(magic, place + 1)) >= 0:
            if struct.unpack_from("<I", data, place + at)[0] == largest.file_size:
                struct.pack_into("<I", data, place + at, size)
    path.write_bytes(data)


def test_what_is_honest_and_what_is_not() -> None:
    assert not promises_too_much(1000 * 1032, 1000)  # zeros, packed by deflate
    assert promises_too_much(1000 * 1200, 1000)
    assert not promises_too_much(50 * GIB, GIB)
    assert promises_too_much(500 * GIB, GIB)


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_of_arrays_does_not_go_off(tmp_path: Path, kind: int) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 24, 16)})
    path = tmp_path / "s1.npz"
    with (
        zipfile.ZipFile(path, "w", kind) as archive,
        archive.open("features.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(8):
            member.write(bytes(1 << 20))
    if kind == zipfile.ZIP_DEFLATED:
        claim_size(path, 0xFFFFFFF0)
    forget_peak()
    before = peak_mib()
    with pytest.raises(UserError, match="which it cannot hold"):
        read(path)
    assert peak_mib() - before < 256


def test_members_that_share_their_bytes_are_added_up(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", bytes(1 << 20))
        first = archive.infolist()[0]
        for number in range(1, 50):
            again = zipfile.ZipInfo(str(number))
            again.file_size, again.compress_size, again.CRC = first.file_size, first.compress_size, first.CRC
            again.compress_type, again.header_offset = first.compress_type, first.header_offset
            archive.filelist.append(again)
    with pytest.raises(UserError, match="which it cannot hold"):
        require_honest_zip(path, "Get it again")


def bomb_of_tensors(path: Path) -> Path:
    """Pack a file of PyTorch's, which is written unpacked, and let it claim 4 GiB."""
    plain = path.with_name("plain.pt")
    torch.save({"w": torch.zeros(1 << 20)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    claim_size(path, 0xFFFFFFF0)
    return path


def test_a_bomb_of_tensors_does_not_go_off(tmp_path: Path) -> None:
    path = bomb_of_tensors(tmp_path / "s1.pt")
    for reader in (load_tensors, read_checkpoint, read):
        with pytest.raises(UserError, match="which it cannot hold"):
            reader(path)
    with pytest.raises(UserError, match="which it cannot hold"):
        convert_published(path, tmp_path / "model", SegmentationSettings(), (-100.0, 300.0))


@pytest.mark.parametrize(
    "tensor", [torch.zeros(1, 1).expand(1 << 20, 1 << 20), torch.empty(3, 4, device="meta")], ids=["expanded", "meta"]
)
def test_a_tensor_of_fewer_values_than_its_shape_is_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save(tensor, tmp_path / "s1.pt")
    with pytest.raises(UserError, match="fewer values than its shape"):
        read(tmp_path / "s1.pt")


def hdf5(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        coords = file.create_dataset("coords", data=np.array([[0, 0], [256, 0], [0, 256]]))
        coords.attrs.update({"patch_size": 256, "patch_level": 0})
        for name, values in datasets.items():
            file[name] = values
    return path


def test_hdf5_that_promises_more_than_it_holds(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "s1.h5")
    with h5py.File(path, "a") as file:
        file.create_dataset("features", (1 << 30, 1024), np.float32, chunks=(1, 1024))
    with pytest.raises(UserError, match="a dataset of shape"):
        read(path)
    path = hdf5(tmp_path / "s2.h5", features=FEATURES)
    with h5py.File(path, "a") as file:
        del file["coords"]
        file.create_dataset("coords", (1 << 30, 2), np.int64, chunks=(1024, 2))
    with pytest.raises(UserError, match="a dataset of shape"):
        read(path)


def test_hdf5_does_not_read_other_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(FEATURES.tobytes())
    hdf5(tmp_path / "other.h5", features=FEATURES)
    linked = hdf5(tmp_path / "linked.h5")
    stored = hdf5(tmp_path / "stored.h5")
    virtual = hdf5(tmp_path / "virtual.h5")
    deep = hdf5(tmp_path / "deep.h5", features=FEATURES)
    with h5py.File(linked, "a") as file:
        file["features"] = h5py.ExternalLink("other.h5", "/features")
    with h5py.File(stored, "a") as file:
        file.create_dataset("features", (3, 4), np.float32, external=[(str(secret), 0, secret.stat().st_size)])
    with h5py.File(virtual, "a") as file:
        layout = h5py.VirtualLayout((3, 4), np.float32)
        layout[:] = h5py.VirtualSource("other.h5", "features", (3, 4))
        file.create_virtual_dataset("features", layout)
    with h5py.File(deep, "a") as file:
        file["a/b/c"] = h5py.ExternalLink("other.h5", "/features")
    for path in (linked, stored, virtual, deep):
        with pytest.raises(UserError, match="takes data from other files"):
            read(path)


@pytest.mark.parametrize("through", ["itself", "folder"])
def test_a_dataset_of_another_file_is_refused_even_if_the_walk_missed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    monkeypatch.setattr("sparra.bags.readers.hdf5.require_sound", lambda _path: None)
    hdf5(tmp_path / "other.h5", features=FEATURES)
    path = hdf5(tmp_path / "s1.h5")
    with h5py.File(path, "a") as file:
        if through == "itself":
            file["features"] = h5py.ExternalLink("other.h5", "/features")
        else:
            file["folder"] = h5py.ExternalLink("other.h5", "/")
            file["features"] = h5py.SoftLink("/folder/features")
    with pytest.raises(UserError, match="other file"):
        read(path)


@pytest.mark.parametrize("name", ["features", "positions", "feature_names", "provenance", "extras", "preview"])
def test_our_own_bags_follow_no_links_to_other_files(tmp_path: Path, name: str) -> None:
    from sparra.bags.bag import Bag
    from sparra.bags.preview import Preview
    from sparra.bags.store import read_preview, write_bag

    bag = Bag("slide", FEATURES, np.zeros((3, 2)), (128.0, 128.0), tuple("abcd"), {"tissue": np.ones(3)})
    preview = Preview("slide", np.zeros((4, 4, 3), np.uint8), None, (1.0, 1.0), (0.0, 0.0), np.eye(2))
    for file_name in ("bag.h5", "other.h5"):
        write_bag(tmp_path / file_name, bag, preview)
    reader = read_preview if name == "preview" else read_bag
    assert reader(tmp_path / "bag.h5") is not None
    with h5py.File(tmp_path / "bag.h5", "a") as file:
        del file[name]
        file[name] = h5py.ExternalLink("other.h5", f"/{name}")
    with pytest.raises(UserError, match="other file"):
        reader(tmp_path / "bag.h5")


@pytest.mark.parametrize("name", ["feature_names", "provenance"])
def test_texts_of_our_own_bags_promise_no_more_than_the_file_holds(tmp_path: Path, name: str) -> None:
    from sparra.bags.bag import Bag
    from sparra.bags.store import write_bag

    path = tmp_path / "bag.h5"
    write_bag(path, Bag("slide", FEATURES, np.zeros((3, 2)), (128.0, 128.0), tuple("abcd")))
    with h5py.File(path, "a") as file:
        del file[name]
        file.create_dataset(name, (1 << 40,), h5py.string_dtype(), chunks=(1 << 10,))
    with pytest.raises(UserError, match="a dataset of shape"):
        read_bag(path)


def test_our_own_bags_do_not_read_other_files(tmp_path: Path) -> None:
    from sparra.bags.bag import Bag
    from sparra.bags.store import write_bag

    path, secret = tmp_path / "bag.h5", tmp_path / "secret.bin"
    secret.write_bytes(FEATURES.tobytes())
    write_bag(path, Bag("slide", FEATURES, np.zeros((3, 2)), (128.0, 128.0)))
    with h5py.File(path, "a") as file:
        del file["features"]
        file.create_dataset("features", (3, 4), np.float32, external=[(str(secret), 0, secret.stat().st_size)])
    with pytest.raises(UserError, match="other files"):
        read_bag(path)


def test_zarr_that_promises_more_than_it_holds(tmp_path: Path) -> None:
    import zarr

    group = zarr.open_group(tmp_path / "s1.zarr", mode="w", zarr_format=2)
    group.create_array("features", shape=(3, 4), chunks=(3, 4), dtype="f4")[:] = FEATURES
    group.create_array("coordinates", shape=(3, 4), dtype="i8")[:] = [[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16]]
    described = tmp_path / "s1.zarr" / "features" / ".zarray"
    grown = json.loads(described.read_text()) | {"shape": [1 << 20, 1 << 20], "chunks": [1 << 20, 1 << 20]}
    described.write_text(json.dumps(grown))
    with pytest.raises(UserError, match="but its chunks only"):
        read(tmp_path / "s1.zarr")
