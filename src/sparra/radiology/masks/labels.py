"""Which label is meant: a number, a name, or a union of several."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sparra.errors import UserError
from sparra.radiology.errors import LabelAbsentError

#: A label of a mask by its number or its name, or several whose union is meant.
Labels = int | str | Sequence[int | str]
LISTED = 20


def as_labels(labels: Labels) -> list[int | str]:
    """Return one label or several as a list."""
    return [labels] if isinstance(labels, int | str) else list(labels)


def require_foreground(labels: Labels) -> None:
    """Refuse 0 and less, which are background.

    Raises
    ------
    UserError
        Naming the label.
    """
    for label in as_labels(labels):
        if isinstance(label, int) and label < 1:
            raise UserError(f"the mask's label is {label}, but 0 and less are background")


def match_names(labels: Labels, names: Mapping[int, str], kind: str, path: Path) -> list[int]:
    """Return the keys of `names` that are asked for: by name, without regard to case if only so one is found.

    Parameters
    ----------
    labels : int, str or sequence
    names : mapping of int to str
        The names there are, under the numbers of segments or ROIs.
    kind : str
        What they are called in an error message, e.g. "segment".
    path : Path

    Raises
    ------
    LabelAbsentError
        If none of them is there; the sentence lists those that are.
    """
    exact = {key for key, name in names.items() if name.strip() in _texts(labels)}
    if not exact:
        lowered = {text.lower() for text in _texts(labels)}
        exact = {key for key, name in names.items() if name.strip().lower() in lowered}
    if not exact:
        raise absent(labels, names.values(), kind, path)
    return sorted(exact)


def _texts(labels: Labels) -> set[str]:
    return {str(label).strip() for label in as_labels(labels)}


def absent(labels: Labels, present: Iterable[object], kind: str, path: Path) -> LabelAbsentError:
    """Return the error that lists the labels there are."""
    there = [str(one) for one in present]
    listing = ", ".join(there[:LISTED]) + (f" and {len(there) - LISTED} more" if len(there) > LISTED else "")
    asked = " or ".join(str(label) for label in as_labels(labels))
    return LabelAbsentError(f"{kind} {asked} is not in the mask, which holds {listing}", path, "Set 'label'")
