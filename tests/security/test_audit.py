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


@pytest.mark.parametrize("does", ["sleep 30", "echo broken", "exit 3", "echo '[]'"])
def test_a_client_that_hangs_or_breaks_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))
    assert ask(seconds=0.5 if "sleep" in does else 20) is None
