"""The process that looks through HDF5 files before they are read here."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from sparra.errors import UserError
from sparra.hdf5 import guard, walk
from sparra.hdf5.guard import require_sound


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((3, 4))
    return path


def killed_by(number: int, monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Let the next processes be killed before they are asked; return a list of those that were started."""
    started: list[int] = []
    begin = guard._start

    def start_and_kill() -> object:
        process = begin()
        started.append(process.pid)
        if len(started) <= times:
            os.kill(process.pid, number)
            process.wait()
        return process

    guard._guard.end()
    monkeypatch.setattr(guard, "_start", start_and_kill)
    return started


def test_a_library_that_is_killed_by_a_file_ends_in_one_sentence(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        killed_by(signal.SIGSEGV, patched, 1)
        for _ in range(2):  # The second time it is known.
            with pytest.raises(UserError, match="crashes or does not end"):
                require_sound(good)
    os.utime(good, ns=(1, 1))
    require_sound(good)


def test_a_process_killed_from_outside_is_asked_once_more(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = killed_by(signal.SIGKILL, monkeypatch, 1)
    require_sound(good)
    assert len(started) == 2


def test_a_process_killed_twice_says_nothing_about_the_file(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_by(signal.SIGKILL, monkeypatch, 2)
    with pytest.raises(UserError, match="ended from outside"):
        require_sound(good)
    require_sound(good)


def test_a_process_that_cannot_be_started_is_one_sentence(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard._guard.end()
    monkeypatch.setattr(sys, "executable", str(good.parent / "no-python"))
    with pytest.raises(UserError, match="cannot start the process") as caught:
        require_sound(good)
    assert "\n" not in str(caught.value)


def test_nothing_in_the_current_folder_is_run(good: Path) -> None:
    for name in ("h5py.py", "json.py"):
        (good.parent / name).write_text("open('was_run', 'w')\n")
    code = (
        "import sys; from sparra.hdf5.guard import require_sound; require_sound(__import__('pathlib').Path('good.h5'))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=good.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (good.parent / "was_run").exists()
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_file_that_has_changed_is_looked_at_again(good: Path) -> None:
    require_sound(good)
    with h5py.File(good, "a") as file:
        file["other"] = h5py.ExternalLink("b.h5", "/")
    with pytest.raises(UserError, match="other files"):
        require_sound(good)


@pytest.mark.parametrize("name", ["a.h5", "a b.h5", "a\nb.h5", "ä\"'.h5"])
def test_any_name_is_looked_up(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / name, "w") as file:
        file["features"] = np.ones((3, 4))
        file["loop"] = h5py.SoftLink("/loop")
        file["self"] = file["/"]
    require_sound(tmp_path / name)


def test_links_are_seen_before_attributes(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(good, "a") as file:
        file.attrs.update({f"a{number}": number for number in range(100)})
        file["deep/other"] = h5py.ExternalLink("b.h5", "/")
    monkeypatch.setattr(walk, "_touch", lambda _item: pytest.fail("touched before the links were seen"))
    assert walk.look_through(str(good)) == walk.LEADS_OUT


def test_running_out_of_time_is_not_sound(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert walk.look_through(str(good)) == walk.SOUND
    monkeypatch.setattr(walk, "ENOUGH_SECONDS", -1.0)
    assert walk.look_through(str(good)) == walk.TOO_LONG
