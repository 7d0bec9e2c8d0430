"""A bundle predicts elsewhere what it predicts here, and whatever was done to it is found."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.bundle.conftest import make_cohort, quietly

import sparra
from sparra.bundle.bundle import Bundle
from sparra.bundle.cohort import Request, predict_cohort
from sparra.bundle.files import json_bytes, read_files, write_files
from sparra.bundle.store import read_bundle, write_bundle
from sparra.engine.settings import EngineSettings
from sparra.errors import UserError

FILES = {"bundle.json": b"{}\n", "a.safetensors": b"\x08\0\0\0\0\0\0\0{}      "}


def test_a_fresh_process_with_the_package_alone_predicts_the_same(written: Path, made: Bundle, tmp_path: Path) -> None:
    images = make_cohort(tmp_path / "new", 6, seed=9, prefix="N")
    here = predict_cohort(made, Request(images, tmp_path / "here", engine=EngineSettings(workers=1)), quietly)
    moved = tmp_path / "elsewhere"
    shutil.copytree(written, moved / "kidney.bundle")
    environment = {"PYTHONPATH": str(Path(sparra.__file__).parents[1]), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "sparra", "predict", "kidney.bundle", str(images), "--out", "there"]
    done = subprocess.run(command, cwd=moved, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    there = pd.read_csv(moved / "there" / "predictions.csv")
    assert here.prediction is not None
    table = here.prediction.table()
    assert list(there["subject_id"]) == list(table["subject_id"])
    assert list(there["group"]) == list(table["group"])
    numbers = [name for name in table if table[name].dtype == float]
    assert len(numbers) == 7
    np.testing.assert_allclose(there[numbers], table[numbers], atol=1e-6, rtol=0)


def test_what_was_written_is_what_is_read(made: Bundle, written: Path) -> None:
    again = Bundle.load(written)
    assert again.content == made.content
    for ours, theirs in zip(made.members, again.members, strict=True):
        for name, values in ours.tensors().items():
            assert (values == theirs.tensors()[name]).all(), name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_found(written: Path, tmp_path_factory: pytest.TempPathFactory, data) -> None:
    name = data.draw(st.sampled_from(sorted(path.name for path in written.iterdir())))
    content = (written / name).read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    mask = data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("tampered")
    for path in written.iterdir():
        shutil.copy(path, folder)
    (folder / name).write_bytes(content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :])
    with pytest.raises(UserError) as refused:
        read_bundle(folder)
    assert "\n" not in str(refused.value)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_truncated_file_is_found(written: Path, tmp_path_factory: pytest.TempPathFactory, data) -> None:
    name = data.draw(st.sampled_from(sorted(path.name for path in written.iterdir())))
    content = (written / name).read_bytes()
    folder = tmp_path_factory.mktemp("truncated") / "bundle"
    shutil.copytree(written, folder)
    (folder / name).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(UserError):
        read_bundle(folder)


def copy_of(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def test_missing_added_and_linked_files_are_refused(written: Path, tmp_path: Path) -> None:
    folder = copy_of(written, tmp_path)
    (folder / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"'notes\.txt' does not belong"):
        read_bundle(folder)
    (folder / "notes.txt").unlink()
    card = (folder / "MODEL_CARD.md").rename(tmp_path / "card.md")
    with pytest.raises(UserError, match=r"'MODEL_CARD\.md' is missing"):
        read_bundle(folder)
    (folder / "MODEL_CARD.md").symlink_to(card)
    with pytest.raises(UserError, match="link"):
        read_bundle(folder)


def test_an_old_bundle_goes_only_when_the_new_one_is_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, replace = tmp_path / "bundle", Path.replace
    write_files(folder, FILES)
    before = read_files(folder)

    def break_off(path: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", break_off)
    with pytest.raises(OSError, match="no space"):
        write_files(folder, {"bundle.json": b"[]\n"}, overwrite=True)
    assert read_files(folder) == before
    monkeypatch.setattr(Path, "replace", replace)
    write_files(folder, {"bundle.json": b"[]\n"}, overwrite=True)
    assert read_files(folder)[0] == {"bundle.json": b"[]\n"}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_foreign_folders_are_refused(written: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no bundle here"):
        read_bundle(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no manifest\.json"):
        read_bundle(tmp_path / "empty")
    for manifest, said in (({"format": "other"}, "not the manifest"), ([], "not the manifest")):
        (tmp_path / "empty" / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(UserError, match=said):
            read_bundle(tmp_path / "empty")
    (tmp_path / "empty" / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="no JSON"):
        read_bundle(tmp_path / "empty")
    folder = copy_of(written, tmp_path)
    newer = {**json.loads((folder / "manifest.json").read_text()), "version": 2}
    (folder / "manifest.json").write_bytes(json_bytes(newer))
    with pytest.raises(UserError, match="version 2, not 1"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["../x.json", "/etc/hostname.txt", "a/b.json", "..", "C:\\x.json", "manifest.json"])
def test_no_name_in_a_manifest_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    write_files(tmp_path / "bundle", FILES)
    path = tmp_path / "bundle" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = manifest["files"].pop("bundle.json")
    path.write_bytes(json_bytes(manifest))
    with pytest.raises(UserError, match="not as a bundle's must be"):
        read_files(tmp_path / "bundle")


def forged(written: Path, tmp_path: Path, change) -> Path:
    """A bundle whose content was changed and whose manifest was written anew to fit."""
    files, _ = read_files(written)
    content = json.loads(files["bundle.json"])
    change(content, files)
    files["bundle.json"] = json_bytes(content)
    write_files(tmp_path / "forged", files)
    return tmp_path / "forged"


def huge(content, files) -> None:
    content["members"][0]["network"]["settings"]["hidden"] = 10**9


def other_encoder(content, files) -> None:
    content["preprocessing"]["slide"]["encoder"] = "nobody"


def local_file(content, files) -> None:
    content["preprocessing"]["slide"]["tissue_folder"] = "/etc"


def strange_key(content, files) -> None:
    content["surprise"] = 1


def no_tensors(content, files) -> None:
    files["member-0.safetensors"] = b"\xff" * 64


def swapped(content, files) -> None:
    files["member-0.safetensors"] = files["likeness-ct.safetensors"]


def third_member(content, files) -> None:
    content["members"].append(content["members"][0])


def infinite(content, files) -> None:
    content["cohort"]["longest_follow_up"] = -1


@pytest.mark.parametrize(
    "change", [huge, other_encoder, local_file, strange_key, no_tensors, swapped, third_member, infinite]
)
def test_a_forged_bundle_is_refused_in_one_sentence(written: Path, tmp_path: Path, change) -> None:
    with pytest.raises(UserError):
        read_bundle(forged(written, tmp_path, change))


def test_what_is_no_bundle_is_never_overwritten(made: Bundle, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UserError):
            write_bundle(made, precious, overwrite)
    assert (precious / "thesis.txt").exists()
