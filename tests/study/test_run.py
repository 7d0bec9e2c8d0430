"""A whole study on a tiny cohort: it finishes, survives broken subjects, kills and changes of settings."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tests.study.conftest import N_SUBJECTS, Sparra, Study

from sparra.cohort.splits import read_folds
from sparra.files import read_json
from sparra.study.layout import StudyLayout
from sparra.study.run import _remove_results
from sparra.study.settings import read_study

# What exists once a stage is under way, in the order of the stages.
FIRST_OUTPUT_OF_STAGE = {
    "extract": "features/*/*.done.json",
    "graph": "graphs/*/*.done.json",
    "train": "models/*/*/*.done.json",
    "evaluate": "evaluation/folds/*.done.json",
    "report": "evaluation/metrics.csv",
}
RESULTS = ("evaluation/metrics.csv", "evaluation/predictions.csv", "cohort/flow.json", "evaluation/splits.csv")


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
    """Return when each output was written; its sidecar is written anew too where only the inputs were moved."""
    outputs = [path.with_name(path.name.removesuffix(".done.json")) for path in whole_files(study, "**/*.done.json")]
    return {path: path.stat().st_mtime_ns for path in outputs}


def whole_files(study: Study, pattern: str) -> list[Path]:
    return [path for path in study.output.glob(pattern) if not path.name.startswith(".partial-")]


def redone(before: dict[Path, int], after: dict[Path, int]) -> list[str]:
    return [str(path) for path, changed in before.items() if after.get(path) != changed]


def test_no_gathered_result_outlives_the_start_of_a_run(undisturbed: Study, tmp_path: Path) -> None:
    for part in ("evaluation", "report"):
        shutil.copytree(undisturbed.output / part, tmp_path / part)
    before = {path.name for path in (tmp_path / "evaluation").glob("*.csv")}
    assert {"metrics.csv", "survival.csv", "comparisons.csv", "added_value.csv"} < before
    _remove_results(StudyLayout(tmp_path))
    left = {
        path.relative_to(tmp_path) for part in ("evaluation", "report") for path in (tmp_path / part).rglob("*.csv")
    }
    of_folds = {path for path in left if path.parts[1] == "folds"}
    assert of_folds
    assert left - of_folds == {Path("evaluation/splits.csv")}
    assert not [path for path in (tmp_path / "report").iterdir() if path.is_file()]


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


def test_comparators_have_intervals_beside_those_of_the_methods(undisturbed: Study) -> None:
    evaluation = undisturbed.output / "evaluation"
    intervals = pd.read_csv(evaluation / "comparators" / "c_index_intervals.csv").set_index("modality")
    c_index = pd.read_csv(evaluation / "comparators" / "metrics.csv").query("metric == 'c_index'")
    expected = c_index.groupby("modality")["value"].mean()
    assert set(intervals.index) == set(expected.index) >= {"none"}
    assert intervals["c_index"].to_dict() == pytest.approx(expected.to_dict(), nan_ok=True)
    null = intervals.loc["none"]
    assert (null["lower"], null["c_index"], null["upper"]) == (0.5, 0.5, 0.5)


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
    assert {Path(path).relative_to(study.output).parts[0] for path in again} == {"models", "evaluation", "maps"}


def test_a_second_run_in_the_same_folder_is_refused(study: Study, sparra: Sparra) -> None:
    from sparra.study.lock import study_lock

    with study_lock(study.output):
        code, printed = sparra("run", study.file)
    assert code == 2
    assert "another run is at work" in printed


def bags_study(study: Study, dimensions: list[int], seed: int = 0) -> None:
    """Turn a study into one of bags without positions, of these numbers of features."""
    rng = np.random.default_rng(seed)
    subjects, images = [], []
    for number, dimension in enumerate(dimensions):
        name = f"P{number:02d}"
        path = study.folder / "cohort" / f"{name}.pt"
        torch.save(torch.from_numpy(rng.normal(size=(12, dimension)).astype(np.float32)), path)
        subjects.append({"subject_id": name, "time": str(number + 1.5), "event": str(int(number % 3 > 0))})
        images.append({"subject_id": name, "modality": "slide", "path": path.name})
    study.write_rows("subjects.csv", subjects)
    study.write_rows("images.csv", images)


def test_a_subject_whose_features_are_of_another_kind_is_left_out_and_listed(study: Study, sparra: Sparra) -> None:
    bags_study(study, [16] * 11 + [8])
    study.change("methods", aggregators=["mean"], modalities=["slide"])
    code, printed = sparra("run", study.file)
    assert code == 1, printed
    assert "its features are 8 of encoder" in printed
    predictions = pd.read_csv(study.output / "evaluation" / "predictions.csv")
    assert set(predictions["subject_id"]) == {f"P{number:02d}" for number in range(11)}


def test_a_study_of_slides_alone_runs_with_the_default_modalities(study: Study, sparra: Sparra) -> None:
    bags_study(study, [16] * 12)
    study.change("methods", aggregators=["mean"], modalities=["ct", "slide", "joint"])
    code, printed = sparra("run", study.file)
    assert code == 0, printed
    metrics = pd.read_csv(study.output / "evaluation" / "metrics.csv")
    assert set(metrics["modality"]) == {"slide"}
    study.change("methods", modalities=["ct"])
    code, printed = sparra("run", study.file)
    assert code == 2
    assert "asks for ct, but has only slide" in printed


def test_a_graph_that_fails_is_never_replaced_by_an_older_one(study: Study, sparra: Sparra) -> None:
    bags_study(study, [16] * 12)
    study.change("methods", aggregators=["mean"], modalities=["slide"])
    assert sparra("graph", study.file)[0] == 0
    other = study.folder / "cohort" / "second.npz"
    np.savez(other, features=np.ones((5, 16), np.float32), positions_um=np.eye(5)[:, :2] + np.arange(5)[:, None])
    rows = study.rows("images.csv")
    study.write_rows("images.csv", [*rows, {"subject_id": "P03", "modality": "slide", "path": other.name}])
    code, printed = sparra("graph", study.file)
    assert code == 1
    assert "positions are absent and present" in printed
    flow = read_json(study.output / "cohort" / "flow.json")
    assert [row["subject_id"] for row in flow["excluded"]] == ["P03"]


def test_results_do_not_outlive_the_settings_that_gave_them(undisturbed: Study, tmp_path: Path, sparra: Sparra) -> None:
    shutil.copytree(undisturbed.folder, tmp_path / "copy")
    study = Study(tmp_path / "copy")
    study.change("training", learning_rate=1e30)
    assert sparra("run", study.file)[0] == 2
    assert "no longer finite" in (study.output / "failures.csv").read_text()
    assert not (study.output / "evaluation" / "metrics.csv").exists()
    assert not (study.output / "report" / "index.html").exists()


def test_check_needs_no_follow_up_but_says_what_it_stops(study: Study, sparra: Sparra) -> None:
    study.write_rows("subjects.csv", [{"subject_id": row["subject_id"]} for row in study.rows("subjects.csv")])
    code, printed = sparra("check", study.file)
    assert code == 0, printed
    assert "not possible: subjects.csv has no columns time and event" in printed
    code, printed = sparra("run", study.file)
    assert code == 2
    assert "column 'time' is missing" in printed


def test_a_covariate_that_cannot_be_read_is_told_before_anything_is_extracted(study: Study, sparra: Sparra) -> None:
    grades = ["G1", "poor", *["G2"] * N_SUBJECTS]
    rows = [{**row, "grade": grade} for row, grade in zip(study.rows("subjects.csv"), grades, strict=False)]
    study.write_rows("subjects.csv", rows)
    for command in ("check", "run"):
        code, printed = sparra(command, study.file)
        assert code == 2
        assert "in column 'grade' 'poor' is not a grade" in " ".join(printed.split())
    assert not (study.output / "features").exists()


def test_an_undefined_fold_is_told_in_the_metrics(undisturbed: Study, tmp_path: Path, sparra: Sparra) -> None:
    from sparra.study import judge

    shutil.copytree(undisturbed.folder, tmp_path / "copy")
    study = Study(tmp_path / "copy")
    settings = read_study(study.file)
    folds = read_folds(undisturbed.output / "evaluation" / "splits.csv")
    rows = judge._undefined_rows(settings, judge.Method("joint", "mean", 1), folds)
    assert set(rows["model"]) == {"network", "CoxPH"}
    assert rows["value"].isna().all()
    assert rows["reason"].str.len().gt(0).all()
