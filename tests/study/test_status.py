"""``sparra status``: what the manifest tells, of runs that live, ended or were killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.study.conftest import Sparra

from sparra.engine.work import Outcome
from sparra.study.lock import study_lock
from sparra.study.manifest import NAME, Manifest
from sparra.study.state import gathered, study_state

BEGAN = 1_800_000_000.0
# A run in a process of its own: it says that it is at work and waits for a line, or to be killed.
RUN = """
import sys
from pathlib import Path
from sparra.engine.work import Outcome
from sparra.study.lock import study_lock
from sparra.study.manifest import Manifest
folder = Path(sys.argv[1])
with study_lock(folder), Manifest(folder) as manifest:
    manifest.begin_run("2 workers on this machine")
    manifest.begin_stage("extract", 2)
    manifest.started("extract", "S1", "ct-1.nii.gz", 1)
    print("at work", flush=True)
    sys.stdin.readline()
    manifest.ended("extract", "S1", "ct-1.nii.gz", 1, Outcome("done", seconds=2.0, peak_mib=300.0, host="here"), True)
    manifest.end_run("")
"""


def line(after: float, event: str, **values: Any) -> dict[str, Any]:
    return {"time": BEGAN + after, "run": "one", "event": event, **values}


def item(after: float, event: str, name: str, attempt: int, **values: Any) -> dict[str, Any]:
    names = {"stage": "extract", "subject_id": name, "where": f"{name}.nii.gz", "attempt": attempt}
    return line(after, event, **names, **values)


def told(status: str, seconds: float | None, peak: float | None, error: str = "") -> dict[str, Any]:
    return {"status": status, "seconds": seconds, "peak_mib": peak, "host": "node7", "error": error}


BY_HAND = [
    line(0, "run", host="node7", pid=1, engine="8 jobs of Slurm"),
    line(1, "stage", stage="extract", items=5),
    *(item(2, "started", f"S{n}", 1) for n in range(4)),
    item(4, "ended", "S0", 1, **told("done", 2.0, 300.0)),
    item(8, "ended", "S1", 1, **told("again", 6.0, 900.0, "the worker process died")),
    item(9, "started", "S1", 2),
    item(13, "ended", "S1", 2, **told("done", 4.0, 700.0)),
    item(14, "ended", "S2", 1, **told("failed", 12.0, None, "the file is cut off")),
    item(3700, "started", "S4", 1),
]


def write(folder: Path, lines: list[dict[str, Any]], torn: str = "") -> None:
    (folder / NAME).write_text("".join(json.dumps(entry) + "\n" for entry in lines) + torn)


def start(folder: Path) -> "subprocess.Popen[str]":
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], **pipes)  # type: ignore[call-overload]
    assert process.stdout.readline() == "at work\n"
    return process  # type: ignore[no-any-return]


def cells(printed: str, stage: str) -> list[str]:
    row = next(row for row in printed.splitlines() if row.startswith(f"│ {stage} "))
    return [cell.strip() for cell in row.strip("│").split("│")]


def test_the_state_is_what_the_manifest_tells() -> None:
    state = gathered(BY_HAND)
    extract = state.stages["extract"]
    assert (state.engine, state.host, state.began, state.changed) == ("8 jobs of Slurm", "node7", BEGAN, BEGAN + 3700)
    assert {name: item.status for (name, _), item in extract.items.items()} == {
        "S0": "done", "S1": "done", "S2": "failed", "S3": "running", "S4": "running",
    }  # fmt: skip
    assert (extract.planned, extract.retried, extract.median_seconds, extract.peak_mib) == (5, 1, 3.0, 700.0)


def test_a_run_that_was_cut_off_is_told_with_what_failed(tmp_path: Path, sparra: Sparra) -> None:
    write(tmp_path, BY_HAND)
    code, printed = sparra("status", tmp_path)
    assert code == 0
    assert printed.startswith("cut off, after 1:01:40, by 8 jobs of Slurm on node7\n")
    assert "Start it again: what is done is not done again." in printed
    assert cells(printed, "extract") == ["extract", "2", "5", "0", "1", "1", "3.0 s", "700 MiB", ""]
    assert "extract: S2 S2.nii.gz: the file is cut off (attempt 1)" in printed
    assert "S1.nii.gz" not in printed


def test_what_is_to_be_tried_again_has_not_failed(tmp_path: Path, sparra: Sparra) -> None:
    with study_lock(tmp_path), Manifest(tmp_path) as manifest:
        manifest.begin_run("2 workers on this machine")
        manifest.begin_stage("extract", 1)
        manifest.started("extract", "S1", "ct-1.nii.gz", 1)
        manifest.ended("extract", "S1", "ct-1.nii.gz", 1, Outcome("died", "the worker process died"), final=False)
        code, printed = sparra("status", tmp_path)
    assert code == 0
    assert printed.endswith("to be tried again:\n  extract: S1 ct-1.nii.gz: the worker process died (attempt 1)\n")
    assert "failed:" not in printed


def test_the_last_run_alone_is_told(tmp_path: Path, sparra: Sparra) -> None:
    later = [line(4000, "run", host="vm", pid=2, engine="this process"), line(4001, "stage", stage="extract", items=1)]
    write(tmp_path, [*BY_HAND, *later, item(4002, "started", "S2", 1), line(4003, "end", error="UserError")])
    code, printed = sparra("status", tmp_path)
    assert code == 0
    assert printed.startswith("ended early, after 0:00:03, by this process on vm\n")
    assert cells(printed, "extract")[:5] == ["extract", "0", "1", "0", "0"]


@pytest.mark.parametrize("torn", ['{"time": 18000', '{"time": 1800003701.0, "event": "sta', "\x00\x00\x00", "[1]\n"])
def test_a_torn_last_line_is_passed_over(tmp_path: Path, sparra: Sparra, torn: str) -> None:
    write(tmp_path, BY_HAND)
    whole = sparra("status", tmp_path)
    write(tmp_path, BY_HAND, torn)
    assert sparra("status", tmp_path) == whole


@pytest.mark.parametrize(
    "strange",
    [
        {"event": "end"},
        {"time": BEGAN, "event": "moved", "stage": "extract"},
        {"time": BEGAN, "event": ["run"]},
        {"time": "then", "event": "end", "error": ""},
        {"time": float("nan"), "event": "end", "error": ""},
        line(5, "run", host="node8"),
        line(5, "stage", stage="extract"),
        line(5, "stage", stage="extract", items="many"),
        item(5, "ended", "S3", 1, status="done"),
        {"time": BEGAN, "event": "started", "stage": "extract", "subject_id": "S3", "where": "S3.nii.gz"},
    ],
)
def test_a_line_of_another_version_is_left_out_and_counted(
    tmp_path: Path, sparra: Sparra, strange: dict[str, Any]
) -> None:
    write(tmp_path, BY_HAND)
    whole = sparra("status", tmp_path)[1]
    write(tmp_path, [*BY_HAND[:5], strange, *BY_HAND[5:]])
    code, printed = sparra("status", tmp_path)
    told = "1 lines of manifest.jsonl are not this version's and left out.\n"
    assert code == 0
    assert told in printed
    assert printed.replace(told, "") == whole
    assert gathered([*BY_HAND, strange, strange]).lines_left_out == 2


def test_json_holds_every_item(tmp_path: Path, sparra: Sparra) -> None:
    write(tmp_path, BY_HAND)
    code, printed = sparra("status", tmp_path, "--json")
    assert code == 0
    content = json.loads(printed)
    assert (content["state"], content["host"]) == ("cut off", "node7")
    extract = content["stages"]["extract"]
    assert extract["planned"] == 5
    assert [(i["subject_id"], i["status"], i["attempts"]) for i in extract["items"]] == [
        ("S0", "done", 1), ("S1", "done", 2), ("S2", "failed", 1), ("S3", "cut off", 1), ("S4", "cut off", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_where_nothing_was_run_one_sentence_says_so(tmp_path: Path, sparra: Sparra, name: str) -> None:
    code, printed = sparra("status", tmp_path / name)
    assert code == 2
    assert "Traceback" not in printed
    expected = "does not exist" if name else "nothing has been run. Start it with 'sparra run'."
    assert expected in printed
    assert list(tmp_path.iterdir()) == []


def test_a_live_run_is_shown_and_watched_to_its_end(tmp_path: Path, sparra: Sparra) -> None:
    process = start(tmp_path)
    code, printed = sparra("status", tmp_path)
    assert code == 0
    assert printed.startswith("running, after 0:0")
    assert cells(printed, "extract")[:5] == ["extract", "0", "2", "1", "0"]
    assert "running:\n  extract: S1 ct-1.nii.gz: 0:0" in printed
    process.stdin.write("go on\n")  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]
    code, printed = sparra("status", tmp_path, "--watch", "--every", 0.1)
    assert process.wait() == 0
    assert code == 0
    assert "ended, after 0:0" in printed
    assert study_state(tmp_path).stages["extract"].count("done") == 1


def test_a_killed_run_is_cut_off_and_its_folder_free(tmp_path: Path) -> None:
    process = start(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = study_state(tmp_path)
    assert state.state == "cut off"
    assert [item.status for item in state.items] == ["cut off"]
    with study_lock(tmp_path), Manifest(tmp_path) as manifest:
        manifest.begin_run("this process")
        assert study_state(tmp_path).state == "running"
        manifest.started("extract", "S1", "ct-1.nii.gz", 1)
        manifest.ended("extract", "S1", "ct-1.nii.gz", 1, Outcome("done"), True)
        manifest.end_run("")
    assert study_state(tmp_path).state == "ended"


def test_what_a_killed_run_was_at_does_not_run_in_the_next_one(tmp_path: Path) -> None:
    with study_lock(tmp_path), Manifest(tmp_path) as manifest:
        manifest.begin_run("one")
        manifest.begin_stage("train", 1)
        manifest.started("train", "", "mean on ct, fold 0", 1)
        manifest.begin_run("the next")
        manifest.begin_stage("extract", 1)
        manifest.started("extract", "S1", "ct-1.nii.gz", 1)
        state = study_state(tmp_path)
    assert state.state == "running"
    assert {item.stage: item.status for item in state.items} == {"train": "cut off", "extract": "running"}
