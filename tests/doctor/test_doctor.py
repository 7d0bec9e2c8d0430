"""``sparra doctor`` on a sound machine, and on broken ones."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import imagecodecs
import pytest
import yaml

from sparra.cli import main
from sparra.cohort.tables import read_images
from sparra.doctor import devices, installation
from sparra.doctor.codecs import look_at_codecs
from sparra.doctor.finding import Finding, worst
from sparra.doctor.storage import look_at_disk
from sparra.doctor.study import look_at_study, look_at_token
from sparra.radiology.encoders import ct_encoders
from sparra.settings import Settings
from sparra.study.encoders import weights_problems
from sparra.study.settings import StudySettings, read_study

Doctor = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "SPARRA_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-hub"))


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["sparra", "doctor", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    return call


SLIDES = "P1,slide,a.svs\nP2,slide,b.svs\n"
CT = "P1,ct,a.nii.gz\n"


def study_of(folder: Path, images: str = SLIDES, **sections: Any) -> StudySettings:
    (folder / "images.csv").write_text(f"subject_id,modality,path\n{images}")
    content = {"cohort": {"subjects": "s.csv", "images": "images.csv", "time_unit": "days"}, **sections}
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return read_study(folder / "study.yaml")


def found_in(settings: StudySettings, area: str) -> list[Finding]:
    return [finding for finding in look_at_study(settings) if finding.area == area]


def test_this_machine_is_sound(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = doctor("--json")
    told = json.loads(text)
    assert [one for one in told["findings"] if one["level"] == "problem"] == []
    assert code == 0
    assert {one["area"] for one in told["findings"]} == {"installation", "devices", "codecs", "weights", "disk"}
    assert all(one["mend"] for one in told["findings"] if one["level"] != "ok")
    assert list(tmp_path.iterdir()) == []


def test_a_study_with_problems_ends_in_1_and_says_what_to_do(doctor: Doctor, tmp_path: Path) -> None:
    ct = {"encoder": "segvol", "encoder_options": {"weights": "no.ckpt"}}
    study_of(tmp_path, CT, engine="tcp://127.0.0.1:1", ct=ct)
    code, text = doctor(tmp_path / "study.yaml")
    assert code == 1
    assert "2 problems" in text
    code, text = doctor(tmp_path / "study.yaml", "--json")
    assert code == 1
    for part in ("dask scheduler", "no.ckpt", '"level": "problem"', "segvol"):
        assert part in text


def test_a_package_that_is_absent_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "h5py":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "torch" else metadata.version(name)

    monkeypatch.setattr(installation, "version", version)
    (found,) = (one for one in installation.look_at_installation() if one.name == "packages")
    assert found.level == "problem"
    assert "h5py (absent)" in found.found
    assert "torch 0.1 (needs" in found.found


def test_kernels_that_do_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_kernel: object) -> object:
        raise OSError("no LLVM")

    monkeypatch.setattr(installation, "compiled", broken)
    (found,) = (one for one in installation.look_at_installation() if one.name == "compiled kernels")
    assert (found.level, found.found) == ("problem", "no LLVM")


def test_a_codec_that_is_missing_or_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_content: object) -> object:
        raise ImportError("could not import name 'jpeg2k_decode'")

    assert worst(look_at_codecs()) == "ok"
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", missing)
    picture = imagecodecs.png_decode
    monkeypatch.setattr(imagecodecs, "png_decode", lambda content: 255 - picture(content))
    right = imagecodecs.lzw_decode
    monkeypatch.setattr(imagecodecs, "lzw_decode", lambda content: bytes(255 - value for value in right(content)))
    levels = {finding.name: finding.level for finding in look_at_codecs()}
    assert [name for name, level in levels.items() if level == "problem"] == ["JPEG 2000", "LZW", "PNG"]


def test_cards_that_torch_cannot_use() -> None:
    assert devices._cuda(False, 2).level == "problem"
    assert devices._cuda(False, 0).level == "ok"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found, _) = look_at_disk(tmp_path / "file")
    assert found.level == "problem"
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o500)
    if os.access(shut, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert next(look_at_disk(shut / "output")).level == "problem"


def test_a_disk_whose_sync_or_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        assert next(look_at_disk(tmp_path)).level == "problem"
    monkeypatch.setattr(Path, "replace", fails)
    assert "No space left" in next(look_at_disk(tmp_path)).found
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = study_of(tmp_path)
    room = shutil.disk_usage(tmp_path)
    # Two slides of 20,000 tiles with 64 features of 4 bytes, twice.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room._replace(free=2 * 20_000 * 64 * 4 * 2 + (1 << 30)))
    assert found_in(settings, "disk")[1].level == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room._replace(free=10 << 20))
    assert found_in(settings, "disk")[1].level == "problem"


def test_weights_that_are_absent_cut_short_or_there(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    path = tmp_path / "w.safetensors"
    settings = study_of(tmp_path, CT, ct={"encoder": "segvol", "encoder_options": {"weights": str(path)}})
    assert found_in(settings, "weights")[0].level == "problem"
    save_file({"a": np.ones(100)}, path)
    assert "1 tensors" in found_in(settings, "weights")[0].found
    path.write_bytes(path.read_bytes()[:-10])
    assert found_in(settings, "weights")[0].level == "problem"


@pytest.mark.parametrize(
    ("images", "asked"),
    [(SLIDES, ["slide uni"]), (CT, ["ct segvol"]), (SLIDES + CT, ["ct segvol", "slide uni"]), ("P1,slide,a.pt\n", [])],
    ids=["slides", "ct", "both", "bags"],
)
def test_only_encoders_that_the_images_need_are_looked_at(tmp_path: Path, images: str, asked: list[str]) -> None:
    settings = study_of(tmp_path, images, ct={"encoder": "segvol"}, slide={"encoder": "uni", "mpp": 0.5, "tile_um": 112,
                                          "encoder_options": {"weights": "hub"}})  # fmt: skip
    found = {one.name: one.level for one in found_in(settings, "weights")}
    assert sorted(set(found) - {"Hub token"}) == asked
    # Only the slides' encoder fetches gated weights, and there is no token.
    assert found["Hub token"] == ("problem" if "slide uni" in asked else "ok")


def test_weights_that_are_not_on_the_hub_are_not_said_to_come_from_there(tmp_path: Path) -> None:
    settings = study_of(tmp_path, slide={"encoder": "hipt", "encoder_options": {"weights": "hub"}})
    (found,) = (one for one in found_in(settings, "weights") if one.name == "slide hipt")
    assert found.level == "problem"
    assert "not on the Hugging Face Hub" in found.found


def test_an_encoder_of_another_package_without_an_option_for_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Options(Settings):
        checkpoint: str | None = None

    entry = replace(ct_encoders["segvol"], card=replace(ct_encoders["segvol"].card, name="theirs"), settings=Options)
    monkeypatch.setitem(ct_encoders._entries, "theirs", entry)
    settings = study_of(tmp_path, CT, ct={"encoder": "theirs"})
    (found,) = (one for one in found_in(settings, "weights") if one.name == "ct encoder")
    assert found.level == "problem"
    assert "'theirs' names 1 files of weights, and options for 0" in found.found
    images, _ = read_images(settings.cohort.images)
    (problem,) = weights_problems(settings, images)
    assert problem.what == found.found
    assert problem.mend == found.mend


def test_a_token_is_seen_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, doctor: Doctor) -> None:
    settings = study_of(tmp_path, slide={"encoder": "uni", "mpp": 0.5, "tile_um": 112,
                                         "encoder_options": {"weights": "hub"}})  # fmt: skip
    assert [one.level for one in found_in(settings, "weights") if one.name == "Hub token"] == ["problem"]
    assert look_at_token().level == "ok"
    monkeypatch.setenv("HF_TOKEN", "hf_secret123")
    assert [one.level for one in found_in(settings, "weights") if one.name == "Hub token"] == ["ok"]
    for arguments in ((), ("--json",)):
        assert "secret123" not in doctor(tmp_path / "study.yaml", *arguments)[1]


def test_a_scheduler_that_does_not_answer_or_has_no_workers(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (found,) = found_in(study_of(tmp_path, engine=f"tcp://127.0.0.1:{port}"), "scheduler")
    assert found.level == "problem"
    assert "dask scheduler" in found.mend
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, processes=False, dashboard_address=None, protocol="tcp", host="127.0.0.1") as dask:
        (found,) = found_in(study_of(tmp_path, engine=dask.scheduler_address), "scheduler")
    assert "has no workers" in found.found


def test_slurm_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = found_in(study_of(tmp_path, engine="slurm", slurm={"interface": "none0"}), "scheduler")
    assert {one.name for one in found if one.level == "problem"} >= {"sbatch", "squeue", "interface"}


def test_more_memory_is_asked_for_than_there_is(tmp_path: Path) -> None:
    (found,) = found_in(study_of(tmp_path, memory_gib=1_000_000), "memory")
    assert found.level == "warning"
