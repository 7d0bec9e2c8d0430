"""A disk that fills up, files cut short, reads that hang, two runs at once: by whole runs of a study."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from benchmarks.engines import differences
from tests.engine.conftest import BagStudy

from sparra.cohort.tables import ImageRecord
from sparra.engine.start import SAME, what_worker_is
from sparra.study import stages
from sparra.study.run import run_study
from sparra.study.settings import read_study
from sparra.study.sidecar import PACKAGES_OF_STAGE

Resize = Callable[[str], None]


def disk_error() -> str | None:
    if os.geteuid() != 0:
        return "a small disk is mounted as root"
    return None if shutil.which("mount") else "there is no mount"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Resize]]:
    """A disk in memory, and what changes its size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.decode().strip()}")

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    yield folder, resize
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(disk_error() is not None, reason=disk_error() or "")
@pytest.mark.parametrize("sizes", [("300k", "64m"), pytest.param(("20k", "500k", "64m"), marks=pytest.mark.slow)])
def test_a_study_whose_disk_fills_up_says_so_and_goes_on_when_there_is_space(
    undisturbed: BagStudy, tmp_path: Path, small_disk: tuple[Path, Resize], sizes: tuple[str, ...]
) -> None:
    folder, resize = small_disk
    study = undisturbed.again(tmp_path / "study")
    study.output = folder / "output"
    study.change(output=str(study.output), workers=1)
    for size in sizes[:-1]:
        resize(size)
        code, told = study.run()
        assert code == 2, told
        assert "the disk is full. Free space and run again" in told
        assert "Traceback" not in told
        assert not list(study.output.rglob(".partial-*"))
    resize(sizes[-1])
    code, told = study.run()
    assert code == 0, told
    assert differences(undisturbed.contents, study.contents) == []


# Opening this archive never ends, as on a network share that went away.
HANGS = """
import time, zipfile
opened = zipfile.ZipFile.__init__
def hang(self, file, *more, **options):
    while str(getattr(file, "name", file)).endswith("P005.npz"):
        time.sleep(1)
    opened(self, file, *more, **options)
zipfile.ZipFile.__init__ = hang
"""


def test_files_cut_short_and_a_read_that_hangs_cost_their_subjects_alone(undisturbed: BagStudy, tmp_path: Path) -> None:
    study = BagStudy(tmp_path / "study", undisturbed.subjects)
    study.change(time_limit_minutes=0.25, training={"epochs": 1})
    whole = {number: study.bag(number).read_bytes() for number in (2, 7)}
    study.bag(2).write_bytes(whole[2][:1000])  # A download that was cut off.
    study.bag(7).unlink()
    os.mkfifo(study.bag(7))  # Nobody writes to it.
    (tmp_path / "sitecustomize.py").write_text(HANGS)
    undamaged = study.environment
    study.environment = {**undamaged, "PYTHONPATH": f"{tmp_path}{os.pathsep}{undamaged.get('PYTHONPATH', '')}"}
    code, told = study.run()
    assert code == 1, told
    failures = pd.read_csv(study.output / "failures.csv").drop_duplicates("subject_id").set_index("subject_id")
    assert set(failures.index) == {study.id(2), study.id(5), study.id(7)}
    assert "took more than 0.25 minutes and was ended" in failures.loc[study.id(5), "what"]
    predictions = pd.read_csv(study.output / "evaluation" / "predictions.csv")
    assert set(predictions["subject_id"]) == {study.id(n) for n in range(study.subjects)} - set(failures.index)
    study.environment = undamaged
    study.bag(7).unlink()
    for number, content in whole.items():
        study.bag(number).write_bytes(content)
    study.change(workers=1)
    code, told = study.run()
    assert code == 0, told
    # The bags' provenance names their files, and these lie elsewhere.
    expected, found = ({n: c for n, c in s.contents.items() if n.endswith(".csv")} for s in (undisturbed, study))
    assert differences(expected, found) == []


def test_of_two_runs_started_at_once_one_works_and_the_other_is_refused(undisturbed: BagStudy, tmp_path: Path) -> None:
    study = undisturbed.again(tmp_path / "study")
    runs = [study.start("--engine", "serial") for _ in range(2)]
    told = [run.communicate()[0] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2], told
    refused = next(words for run, words in zip(runs, told, strict=True) if run.returncode == 2)
    assert "another run is at work in this folder (process" in refused
    assert differences(undisturbed.contents, study.contents) == []


def test_an_image_that_changes_while_it_is_read_leaves_its_subject_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = BagStudy(tmp_path / "study", 4)
    whole = stages.extract_image

    def extract(image: ImageRecord, *rest: Any) -> None:
        whole(image, *rest)
        if image.subject_id == study.id(1):  # As of a download that went on.
            image.path.write_bytes(image.path.read_bytes() + b"more")

    monkeypatch.setattr(stages, "extract_image", extract)
    settings = read_study(study.file, {"engine": "serial"})
    outcome = run_study(settings, lambda items, *_: items, "extract", lambda _: None)
    told = "the file changed while it was worked on"
    assert [(row["subject_id"], row["what"]) for row in outcome.flow["excluded"]] == [(study.id(1), told)]
    assert [(problem.subject_id, problem.what) for problem in outcome.problems] == [(study.id(1), told)]
    monkeypatch.undo()
    assert run_study(settings, lambda items, *_: items, "extract", lambda _: None).problems == ()


def test_workers_are_asked_for_the_versions_that_decide_what_is_up_to_date() -> None:
    assert set().union(*PACKAGES_OF_STAGE.values()) <= set(SAME)
    assert what_worker_is(".")["scikit-survival"] == version("scikit-survival")
