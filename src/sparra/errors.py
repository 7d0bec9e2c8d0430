"""Errors that a user can mend, told in one sentence: what is wrong, where, and how to mend it."""

from pathlib import Path

#: Characters of a sentence: a damaged file may hold a name of a megabyte.
LONGEST = 4000


class UserError(Exception):
    """Bad input, not a bug: shown as one sentence and never as a traceback.

    Parameters
    ----------
    what : str
        What is wrong, with the offending value.
    where : str or Path, optional
        File, and row or key where there is one.
    mend : str, optional
        What the user can do about it.
    """

    def __init__(self, what: str, where: str | Path | None = None, mend: str | None = None) -> None:
        self.what = what if len(what) <= LONGEST else f"{what[:LONGEST]} …"
        self.where = None if where is None else str(where)
        self.mend = mend if mend is None or len(mend) <= LONGEST else f"{mend[:LONGEST]} …"
        super().__init__(self.what, self.where, self.mend)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        cure = f" {sentence(self.mend)}" if self.mend else ""
        return f"{place}{sentence(self.what)}{cure}"


def sentence(text: str) -> str:
    """End a text with one full stop, or with its question mark."""
    text = text.rstrip(".")
    return text if text.endswith("?") else f"{text}."
