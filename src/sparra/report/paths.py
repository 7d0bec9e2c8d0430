"""Texts for the page without this machine's folders: a page is handed on, and a folder may carry a name."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from sparra.report.results import StudyResults

# The folders of an absolute path inside a sentence; neither a URL, nor a fraction, nor the end of a tag.
_FOLDERS = re.compile(r"(?<![\w:/\\.<])(?:[A-Za-z]:[/\\]|\\\\|/)(?:[^\s/\\'\"]+[/\\])+")
_TABLE_COLUMNS = ("where", "what", "mend")


def shareable(results: StudyResults) -> StudyResults:
    """Return the results with every absolute path, in settings and problems, cut to its last name."""
    failures = results.failures.copy()
    for name in _TABLE_COLUMNS:
        failures[name] = pd.Series([without_folders(cell) for cell in failures[name]], failures.index, dtype=object)
    return replace(
        results,
        settings=without_folders(results.settings),
        flow=without_folders(results.flow),
        failures=failures,
    )


def without_folders(content: Any) -> Any:
    """Return content of JSON with every absolute path, also one inside a sentence, cut to its last name."""
    if isinstance(content, Mapping):
        return {key: without_folders(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_folders(value) for value in content]
    if not isinstance(content, str):
        return content
    kinds: tuple[type[PurePath], ...] = (PurePosixPath, PureWindowsPath)
    for kind in kinds:
        # A folder may have blanks in its name, so where a text begins as a path all of it is taken for one.
        if kind(content).is_absolute():
            return kind(content).name
    return _FOLDERS.sub("", content)
