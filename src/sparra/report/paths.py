"""Texts for the page without this machine's folders: a page is handed on, and a folder may carry a name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from sparra.report.results import StudyResults

_ROOT = r"(?:[A-Za-z]:[/\\]|\\\\|/)"
# The folders of an absolute path inside a sentence; neither a URL, nor a fraction, nor the end of a tag.
_FOLDERS = re.compile(rf"(?<![\w:/\\.<]){_ROOT}(?:[^\s/\\'\"]+[/\\])+")
# Between quotation marks a folder may have blanks in its name.
_QUOTED = re.compile(rf"(?<!\w)(['\"])(?:file://)?{_ROOT}(?:(?!\1).)*[/\\]")
_FILE_URL = re.compile(r"file://[^\s'\"]*/")
# What follows a path at the beginning of a text.
_SENTENCE = re.compile(r": |, row ")
_TABLE_COLUMNS = ("where", "what", "mend")


def shareable(results: StudyResults) -> StudyResults:
    """Return the results with every absolute path, in settings and problems, cut to its last name."""
    failures = results.failures.copy()
    known = _known_folders([results.settings, results.flow, list(failures["where"])])
    for name in _TABLE_COLUMNS:
        cells = [without_folders(cell, known) for cell in failures[name]]
        failures[name] = pd.Series(cells, failures.index, dtype=object)
    return replace(
        results,
        settings=without_folders(results.settings, known),
        flow=without_folders(results.flow, known),
        failures=failures,
    )


def without_folders(content: Any, known: Sequence[str] = ()) -> Any:
    """Return content of JSON with every absolute path, also one inside a sentence, cut to its last name.

    Parameters
    ----------
    content : object
    known : sequence of str
        Absolute folders, the longest first; cut wherever they stand, since nothing else tells where a path with
        blanks ends in a sentence.
    """
    if isinstance(content, Mapping):
        return {without_folders(key, known): without_folders(value, known) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_folders(value, known) for value in content]
    if not isinstance(content, str):
        return content
    path, rest = _path_first(content)
    if path is not None:
        return path.name + _in_sentence(rest, known)
    return _in_sentence(content, known)


def _path_first(text: str) -> tuple[PurePath | None, str]:
    """Split a text into the absolute path that it begins with, blanks included, and what is said of it."""
    end = _SENTENCE.search(text)
    cut = end.start() if end else len(text)
    kinds: tuple[type[PurePath], ...] = (PurePosixPath, PureWindowsPath)
    for kind in kinds:
        if (path := kind(text[:cut])).is_absolute():
            return path, text[cut:]
    return None, text


def _in_sentence(text: str, known: Sequence[str]) -> str:
    text = _FILE_URL.sub("", _QUOTED.sub(r"\1", text))
    for folder in known:
        text = text.replace(folder, "")
    return _FOLDERS.sub("", text)


def _known_folders(content: Any) -> list[str]:
    """Return the folders of all texts that begin with an absolute path, with a separator behind, longest first."""
    found: set[str] = set()
    waiting = [content]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting.extend([*one.keys(), *one.values()])
        elif isinstance(one, (list, tuple)):
            waiting.extend(one)
        elif isinstance(one, str) and (path := _path_first(one)[0]) is not None:
            separator = "/" if isinstance(path, PurePosixPath) else "\\"
            found |= {f"{folder}{separator}" for folder in (path, path.parent) if folder.name}
    return sorted(found, key=len, reverse=True)
