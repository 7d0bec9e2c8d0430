import os
from pathlib import Path

import pytest

from sparra.files import sha256_of
from sparra.study import sidecar
from sparra.study.sidecar import is_current, make_key, mark_done, sidecar_path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    source, output = tmp_path / "ct.nii", tmp_path / "bag.h5"
    source.write_bytes(b"voxels")
    output.write_bytes(b"features")
    mark_done(output, make_key("extract", {"image": source}, {"patch": 8}))
    return source, output


def current(source: Path, output: Path, patch: int = 8) -> bool:
    return is_current(output, "extract", {"image": source}, {"patch": patch})


def test_an_output_is_current_until_its_input_or_its_parameters_change(files: tuple[Path, Path]) -> None:
    source, output = files
    assert current(source, output)
    assert not current(source, output, patch=9)
    source.write_bytes(b"Voxels")
    assert not current(source, output)


def test_a_touched_but_unchanged_input_is_still_current(files: tuple[Path, Path]) -> None:
    source, output = files
    os.utime(source, (1, 1))
    assert current(source, output)


def test_an_input_that_was_moved_is_read_once_and_not_by_every_later_run(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = files
    moved = source.rename(source.with_name("moved.nii"))
    read: list[Path] = []
    monkeypatch.setattr(sidecar, "sha256_of", lambda path: read.append(path) or sha256_of(path))

    def looked_at(times: int, renew: bool) -> bool:
        sidecar._sha256_once.cache_clear()  # As in a process of its own.
        return all(is_current(output, "extract", {"image": moved}, {"patch": 8}, renew) for _ in range(times))

    assert looked_at(3, renew=False)
    assert read == [moved]
    before = sidecar_path(output).read_bytes()
    assert looked_at(3, renew=True)
    assert read == [moved] * 2
    assert sidecar_path(output).read_bytes() != before
    assert looked_at(3, renew=False)
    assert read == [moved] * 2
    moved.write_bytes(b"Voxels")
    assert not looked_at(1, renew=True)


def test_an_input_that_cannot_be_looked_at_is_out_of_date_and_no_error(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = files
    stat = Path.stat

    def refused(path: Path, **options: bool) -> os.stat_result:
        if path == source:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refused)
    assert not current(source, output)


def test_without_sidecar_or_with_a_cut_output_nothing_is_done(files: tuple[Path, Path]) -> None:
    source, output = files
    output.write_bytes(b"feat")
    assert not current(source, output)
    output.write_bytes(b"features")
    assert current(source, output)
    sidecar_path(output).write_text('{"stage": "extr')
    assert not current(source, output)
    sidecar_path(output).unlink()
    assert not current(source, output)


def test_folders_can_be_inputs_and_outputs(tmp_path: Path) -> None:
    series, model = tmp_path / "dicom", tmp_path / "fold-0"
    series.mkdir()
    model.mkdir()
    (series / "1.dcm").write_bytes(b"1")
    (model / "weights").write_bytes(b"w")
    mark_done(model, make_key("train", {"series": series}, {}))
    assert is_current(model, "train", {"series": series}, {})
    (series / "2.dcm").write_bytes(b"2")
    assert not is_current(model, "train", {"series": series}, {})


def test_a_file_of_a_folder_replaced_by_an_older_one_is_noticed(tmp_path: Path) -> None:
    series, bag = tmp_path / "dicom", tmp_path / "bag.h5"
    series.mkdir()
    bag.touch()
    for name, time in (("1.dcm", 1000), ("2.dcm", 2000)):
        (series / name).write_bytes(name.encode())
        os.utime(series / name, (time, time))
    mark_done(bag, make_key("extract", {"series": series}, {}))
    (series / "1.dcm").write_bytes(b"one..")
    os.utime(series / "1.dcm", (500, 500))
    assert not is_current(bag, "extract", {"series": series}, {})


def test_a_sidecar_of_a_folder_from_before_its_listing_still_vouches(tmp_path: Path) -> None:
    series, bag = tmp_path / "dicom", tmp_path / "bag.h5"
    series.mkdir()
    bag.touch()
    (series / "1.dcm").write_bytes(b"1")
    key = make_key("extract", {"series": series}, {})
    del key["inputs"]["series"]["listing"]
    mark_done(bag, key | {"inputs": {"series": {**key["inputs"]["series"], "mtime_ns": 5}}})
    assert is_current(bag, "extract", {"series": series}, {})
    (series / "1.dcm").write_bytes(b"2")
    assert not is_current(bag, "extract", {"series": series}, {})


def test_a_stage_whose_code_gives_other_results_is_done_anew(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = files
    mark_done(output, make_key("extract", {"image": source}, {"patch": 8}))
    assert is_current(output, "extract", {"image": source}, {"patch": 8})
    monkeypatch.setitem(sidecar.REVISION_OF_STAGE, "extract", sidecar.REVISION_OF_STAGE["extract"] + 1)
    assert not is_current(output, "extract", {"image": source}, {"patch": 8})
