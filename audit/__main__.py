"""``python -m audit``: asks PyPI's advisories, by pip-audit, about every pin of ``requirements.lock``.

A vulnerability that ``audit/accepted.txt`` does not name with a reason fails. Where nothing can be asked, for want of
a network or of an index with advisories, it says so and passes: lint must work offline.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOCK = HERE.parent / "requirements.lock"
ACCEPTED = HERE / "accepted.txt"
SECONDS = 90


#: What pip-audit's complaint holds where there is no network, or no index with advisories.
UNREACHABLE = re.compile(r"connection|timed out|timeout|max retries|name resolution|service ?error|http ?error", re.I)


def ask(lock: Path = LOCK, seconds: float = SECONDS) -> list[dict[str, Any]] | None:
    """Return what pip-audit says of each package, None where it reaches no one in time.

    Raises
    ------
    SystemExit
        If it is not there, or fails otherwise: then nothing would ever be audited.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return None
    try:
        found: list[dict[str, Any]] = json.loads(answer.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if UNREACHABLE.search(answer.stderr):
            return None
        raise SystemExit(f"audit: pip-audit failed:\n{answer.stderr.strip()[-2000:]}") from None
    return found


def accepted(path: Path = ACCEPTED) -> dict[str, str]:
    """Return the reason of each accepted vulnerability.

    Raises
    ------
    SystemExit
        If one has no reason.
    """
    lines = [line.split(maxsplit=1) for line in path.read_text().splitlines() if line and not line.startswith("#")]
    if bare := [parts[0] for parts in lines if len(parts) < 2]:
        raise SystemExit(f"{path.name}: {bare[0]} has no reason")
    return {parts[0]: parts[1] for parts in lines}


def judge(found: list[dict[str, Any]] | None, known: dict[str, str]) -> tuple[int, list[str]]:
    """Return the exit code and what to say."""
    audited = [package for package in found or () if "vulns" in package]
    if not audited:
        return 0, ["audit: WARNING, no advisories can be reached from here; nothing was audited"]
    lines, failed, met = [], 0, set()
    for package in audited:
        for vulnerability in package["vulns"]:
            names = {vulnerability["id"], *vulnerability.get("aliases", ())}
            met |= names
            if names & set(known):
                continue
            failed += 1
            mended = ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"
            lines.append(f"audit: {package['name']} {package['version']}: {vulnerability['id']}, mended in {mended}")
    lines += [f"audit: {name} of {ACCEPTED.name} is found no more, remove it" for name in sorted(set(known) - met)]
    skipped = len(found or ()) - len(audited)
    lines.append(f"audit: {len(audited)} packages, {failed} vulnerabilities, {skipped} packages without an answer")
    return (1 if failed else 0), lines


def main() -> int:
    """Run the audit."""
    code, lines = judge(ask(), accepted())
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
