"""The judgement over what pip-audit answers."""

import stat
import sys
from pathlib import Path

import pytest
from audit.__main__ import accepted, ask, judge

BAD = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.0"]}
CLEAN = {"name": "a", "version": "1.0", "vulns": []}
HIT = {"name": "b", "version": "1.0", "vulns": [BAD]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


def test_a_vulnerability_fails_unless_it_is_accepted_by_any_of_its_names() -> None:
    code, lines = judge([CLEAN, HIT, SKIPPED], {})
    assert code == 1
    assert lines[0] == "audit: b 1.0: PYSEC-1, mended in 2.0"
    assert lines[-1] == "audit: 2 packages, 1 vulnerabilities, 1 packages without an answer"
    assert judge([CLEAN, HIT], {"CVE-1": "not reached"})[0] == 0
    assert judge([CLEAN], {"CVE-1": "not reached"}) == (
        0,
        ["audit: CVE-1 of accepted.txt is found no more, remove it",
         "audit: 1 packages, 0 vulnerabilities, 0 packages without an answer"],
    )  # fmt: skip


@pytest.mark.parametrize("found", [None, [], [SKIPPED, SKIPPED]])
def test_without_advisories_it_warns_and_passes(found: list[dict[str, str]] | None) -> None:
    code, lines = judge(found, {})
    assert code == 0
    assert "WARNING" in lines[0]


def test_an_acceptance_needs_a_reason(tmp_path: Path) -> None:
    (tmp_path / "accepted.txt").write_text("# note\nCVE-1 not reached\nCVE-2\n")
    with pytest.raises(SystemExit, match="CVE-2 has no reason"):
        accepted(tmp_path / "accepted.txt")


def program(folder: Path, does: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("does", ["sleep 30", "echo 'ConnectionError: Max retries exceeded' >&2; exit 1"])
def test_a_client_that_reaches_no_one_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, does))
    assert ask(seconds=0.5 if "sleep" in does else 20) is None


@pytest.mark.parametrize("does", ["echo broken", "echo 'No module named pip_audit' >&2; exit 1", "echo '[]'"])
def test_a_client_that_is_absent_or_breaks_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, does))
    with pytest.raises(SystemExit, match="pip-audit failed"):
        ask(seconds=20)
