import os
from pathlib import Path

import pytest

from sparra.files import atomic_path, read_json, sha256_of, write_json


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_finished_write_replaces_the_file(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "table.json"
    write_json(target, {"a": 1})
    write_json(target, {"a": 2})
    assert read_json(target) == {"a": 2}
    assert list(target.parent.iterdir()) == [target]


def test_nan_is_refused_in_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})


def test_the_hash_of_a_file_is_sha256_and_that_of_a_folder_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    before = sha256_of(tmp_path)
    foreign = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    foreign.write_bytes(b"a name that is no UTF-8")
    assert sha256_of(tmp_path) != before
    foreign.unlink()
    (tmp_path / "abc").rename(tmp_path / "abd")
    renamed = sha256_of(tmp_path)
    (tmp_path / "abd").write_bytes(b"abx")
    assert len({before, renamed, sha256_of(tmp_path)}) == 3
