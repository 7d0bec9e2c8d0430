"""One thing that was looked at."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it.

    Attributes
    ----------
    area : str
        Such as ``codecs``.
    name : str
        What was looked at.
    level : {"ok", "warning", "problem"}
        A problem stops a study or part of it; a warning costs speed or a feature that may not be needed.
    found : str
        What it is.
    mend : str
        What to do; empty where all is well.
    """

    area: str
    name: str
    level: Level
    found: str
    mend: str = ""


def tried(area: str, name: str, look: Callable[[], str], mend: str, level: Level = "problem") -> Finding:
    """Look at something that raises where it does not work.

    Parameters
    ----------
    area, name : str
    look : callable
        Returns what was found.
    mend : str
        What to do where it raises.
    level : {"warning", "problem"}
        How bad that is.
    """
    try:
        return Finding(area, name, "ok", look())
    except Exception as error:  # A library that is broken raises anything.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return Finding(area, name, level, reason, mend)


def worst(findings: Iterable[Finding]) -> Level:
    """Return the highest level among findings."""
    levels = {finding.level for finding in findings}
    return "problem" if "problem" in levels else "warning" if "warning" in levels else "ok"
