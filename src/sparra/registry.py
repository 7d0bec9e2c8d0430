"""Named, extensible choices: one file and one line for each encoder, aggregator, survival model or reader."""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from sparra.errors import UserError

T = TypeVar("T")


def nearest_name(name: str, valid: list[str]) -> str:
    """Return a hint for a mistyped name: the nearest valid one if any is near, else all of them."""
    if not valid:
        return "There is none to give"
    near = get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Valid names are: {', '.join(sorted(valid))}"


class Registry(Generic[T]):
    """Objects under names, with entry points for third parties.

    Parameters
    ----------
    kind : str
        What is registered, in the words of an error message, e.g. ``"CT encoder"``.
    group : str
        Entry-point group in which other packages may add theirs, e.g. ``"sparra.ct_encoders"``.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, T] = {}
        self._plugins_loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files an object under `name`; a name is taken only once."""

        def file_under_name(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return file_under_name

    def names(self) -> list[str]:
        """Return all registered names, sorted."""
        self._load_plugins()
        return sorted(self._entries)

    def __getitem__(self, name: str) -> T:
        """Return the entry called `name`.

        Raises
        ------
        UserError
            If there is none; the sentence holds the nearest valid name.
        """
        self._load_plugins()
        if name not in self._entries:
            raise UserError(f"there is no {self.kind} called '{name}'", mend=nearest_name(name, self.names()))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _load_plugins(self) -> None:
        """File what other packages offer; one that cannot be imported, or takes a name anew, is a `UserError`."""
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for plugin in entry_points(group=self.group):
            try:
                self.register(plugin.name)(plugin.load())
            except Exception as error:  # It is another package's code.
                what = f"the {self.kind} '{plugin.name}' of another package cannot be loaded"
                mend = "Update that package or take it out of this environment"
                raise UserError(f"{what} ({type(error).__name__}: {error})", plugin.value, mend) from error
