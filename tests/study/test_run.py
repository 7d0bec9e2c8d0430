"""A whole study on a tiny cohort: it finishes, survives broken subjects, kills and changes of settings."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from tests.study.conftest import N_SUBJECTS, Sparra, Study

# What exists once a stage is under way, in the order of the stages.
FIRST_OUTPUT_OF_STAGE = {
    "extract": "features/*/*.done.json",
    "graph": "graphs/*/*.done.json",
    "train": "models/*/*/*.done.json",
    "evaluate": "evaluation/folds/*.done.json",
    "report": "evaluation/metrics.csv",
}
RESULTS = ("evaluation/metrics.csv", "evaluation/predictions.csv", "cohort/flow.json", "cohort/folds.csv")


@pytest.fixture(scope="module")
def undisturbed(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(simulated, folder / "cohort")
    study = Study(folder)
    assert start(study).wait() == 0
    return study


def start(study: Study) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "sparra", "run", str(study.file)],
        start_new_session=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


def kill_once(process: "subprocess.Popen[bytes]", study: Study, pattern: str) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and not whole_files(study, pattern):
        assert time.monotonic() < deadline, f"nothing like {pattern} after two minutes"
        time.sleep(0.002)
    assert process.poll() is None, f"ended before it could be killed at {pattern}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def changes(study: Study) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in whole_files(study, "**/*.done.json")}


def whole_files(study: Study, pattern: str) -> list[Path]:
    return [path for path in study.output.glob(pattern) if not path.name.startswith(".partial-")]


def redone(before: dict[Path, int], after: dict[Path, int]) -> list[str]:
    return [str(path) for path, changed in before.items() if after.get(path) != changed]


def test_a_study_gives_every_table_and_every_subject_is_accounted_for(undisturbed: Study) -> None:
    metrics = pd.read_csv(undisturbed.output / "evaluation" / "metrics.csv")
    assert set(metrics["aggregator"]) == {"mean", "sparra"}
    assert set(metrics["model"]) == {"network", "CoxPH"}
    assert set(metrics["metric"]) == {"c_index", "c_ipcw", "c_auc", "ibs"}
    assert metrics["value"].notna().eq(metrics["reason"].isna()).all()
    predictions = pd.read_csv(undisturbed.output / "evaluation" / "predictions.csv")
    per_method = predictions.groupby(["aggregator", "model"])["subject_id"]
    assert (per_method.nunique() == N_SUBJECTS).all()
    assert (per_method.size() == N_SUBJECTS).all()
    assert set(predictions["group"]) <= {"low", "high"}
    assert (undisturbed.output / "report" / "index.html").stat().st_size > 10_000


def test_killed_in_every_stage_it_ends_like_an_undisturbed_run_and_redoes_nothing(
    undisturbed: Study, study: Study
) -> None:
    finished: dict[Path, int] = {}
    for pattern in FIRST_OUTPUT_OF_STAGE.values():
        process = start(study)
        kill_once(process, study, pattern)
        now = changes(study)
        assert not redone(finished, now)
        finished = now
    assert start(study).wait() == 0
    assert not redone(finished, changes(study))
    for name in RESULTS:
        assert (study.output / name).read_bytes() == (undisturbed.output / name).read_bytes(), name
    assert not list(study.output.rglob(".partial-*")), "a killed write left debris"


def test_two_workers_give_the_same_result_as_one(undisturbed: Study, study: Study) -> None:
    content = study.file.read_text().replace("workers: 1", "workers: 2")
    study.file.write_text(content)
    assert start(study).wait() == 0
    for name in RESULTS:
        assert (study.output / name).read_bytes() == (undisturbed.output / name).read_bytes(), name


def test_three_broken_subjects_are_listed_and_the_rest_give_a_result(study: Study, sparra: Sparra) -> None:
    rows = study.rows("images.csv")
    for subject in ("SIM-0002", "SIM-0005"):
        for row in rows:
            if row["subject_id"] == subject:
                study.path(row["path"]).write_bytes(b"broken")
    subjects = study.rows("subjects.csv")
    study.edit("subjects.csv", 6, time="")
    code, printed = sparra("run", study.file)
    assert code == 1
    failures = pd.read_csv(study.output / "failures.csv")
    broken = {"SIM-0002", "SIM-0005", subjects[6]["subject_id"]}
    assert set(failures["subject_id"]) == broken
    assert failures[["where", "what", "mend"]].notna().all(axis=None)
    predictions = pd.read_csv(study.output / "evaluation" / "predictions.csv")
    assert set(predictions["subject_id"]) == {row["subject_id"] for row in subjects} - broken
    for subject in broken:
        assert f"excluded: {subject}" in printed


def test_a_changed_setting_redoes_only_what_depends_on_it(undisturbed: Study, tmp_path: Path) -> None:
    shutil.copytree(undisturbed.folder, tmp_path / "copy")
    study = Study(tmp_path / "copy")
    before = changes(study)
    study.change("training", epochs=3)
    assert start(study).wait() == 0
    again = redone(before, changes(study))
    assert {Path(path).relative_to(study.output).parts[0] for path in again} == {"models", "evaluation"}


def test_a_second_run_in_the_same_folder_is_refused(study: Study, sparra: Sparra) -> None:
    from sparra.study.lock import study_lock

    with study_lock(study.output):
        code, printed = sparra("run", study.file)
    assert code == 2
    assert "another run is at work" in printed
