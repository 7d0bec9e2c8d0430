"""Reading one cell of a follow-up: a time, or an event status as registries spell it."""

import math

STATUS_WORDS = {
    "0": False,
    "false": False,
    "alive": False,
    "living": False,
    "censored": False,
    "diseasefree": False,
    "alive or dead tumor free": False,
    "1": True,
    "true": True,
    "dead": True,
    "deceased": True,
    "progression": True,
    "progressed": True,
    "recurred/progressed": True,
    "dead with tumor": True,
}


def parse_event(cell: str) -> bool:
    """Read an event status: 0/1, true/false, or a TCGA or cBioPortal word such as ``Dead`` or ``1:DECEASED``.

    Parameters
    ----------
    cell : str
        As it stands in the table. An empty cell is an error: a missing status is never taken as censored.

    Raises
    ------
    ValueError
        With a sentence that names the word and the ones that are known.
    """
    word = cell.strip().lower()
    if not word or word in {"na", "nan", "none", "null", "[not available]", "[not applicable]", "unknown"}:
        raise ValueError(f"the event status is missing ('{cell}'), which is not the same as censored")
    code, separator, label = word.partition(":")
    if separator and code in {"0", "1"}:
        if STATUS_WORDS.get(label.strip()) is not (code == "1"):
            raise ValueError(f"the event status '{cell}' is not known or contradicts itself")
        return code == "1"
    if word in {"0.0", "1.0"}:
        word = word[0]
    if word not in STATUS_WORDS:
        raise ValueError(f"the event status '{cell}' is not known")
    return STATUS_WORDS[word]


def parse_time(cell: str) -> float:
    """Read a follow-up time, greater than zero and finite.

    Raises
    ------
    ValueError
        With a sentence that says what is wrong.
    """
    try:
        # Python reads 1_0 as 10; nobody writes a time so.
        time = float(cell.replace("_", "x"))
    except ValueError:
        raise ValueError(f"the time is {f'{cell!r}, not a number' if cell.strip() else 'missing'}") from None
    if not math.isfinite(time):
        raise ValueError(f"the time is missing or not finite ('{cell}')")
    if time < 0:
        raise ValueError(f"the time is negative ({time:g})")
    if time == 0:
        raise ValueError("the time is zero, which tells nothing about survival")
    return time
