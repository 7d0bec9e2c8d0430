"""What was found out about a file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Report:
    """What a file is and whether sparra can use it.

    Attributes
    ----------
    path : Path
    kind : str
        ``bag``, ``coordinates``, ``graph``, ``model``, ``tensors``, ``ct``, ``mask``, ``slide``, ``folder`` or
        ``unknown``.
    format : str
        In a user's words.
    usable : bool
    reasons : list of str
        Why it is not usable, and how to mend that; empty where it is.
    facts : dict
        By name, JSON-ready, in the order to show them.
    notes : list of str
        What a user should know of a file that is usable.
    """

    path: Path
    kind: str
    format: str
    usable: bool
    reasons: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as one JSON object."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "format": self.format,
            "usable": self.usable,
            "reasons": self.reasons,
            "facts": self.facts,
            "notes": self.notes,
        }


def report_lines(report: Report) -> list[str]:
    """Return the report for a terminal, one line a fact."""
    lines = [f"{report.path}: {report.kind}, {report.format}"]
    lines += [
        f"  {name.replace('_', ' ')}: {_told(value)}" for name, value in report.facts.items() if value is not None
    ]
    lines += [f"  note: {note}" for note in report.notes]
    lines += [f"  not usable: {reason}" for reason in report.reasons]
    return [*lines, f"  usable: {'yes' if report.usable else 'no'}"]


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return " × ".join(_told(item) for item in value) if _is_shape(value) else ", ".join(_told(i) for i in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(item)}" for name, item in value.items() if item is not None)
    return str(value)


def _is_shape(value: list[Any] | tuple[Any, ...]) -> bool:
    return len(value) > 1 and all(isinstance(item, int | float) for item in value)
