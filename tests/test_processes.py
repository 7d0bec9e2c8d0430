import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparra.processes import environment, module_command


def folders() -> list[str]:
    return environment()["PYTHONPATH"].split(os.pathsep)


def test_the_current_folder_is_no_place_for_modules_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/elsewhere"])
    assert folders() == ["/elsewhere"]
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{tmp_path}")
    assert folders() == [str(tmp_path), "/elsewhere"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    assert folders() == ["/elsewhere"]


def test_a_program_in_the_current_folder_finds_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for file, name in (("study.py", None), ("mine/run.py", "mine.run")):
        spec = None if name is None else SimpleNamespace(name=name)
        monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__=str(tmp_path / file), __spec__=spec))  # type: ignore[arg-type]
        assert folders() == [str(tmp_path)]


def test_a_module_is_run_without_the_current_folder() -> None:
    assert module_command("a.b", "1") == [sys.executable, "-P", "-m", "a.b", "1"]
