"""Progress bars with counts, on a terminal or in a log."""

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressBars:
    """Draws one bar a stage; in a log, where bars would clutter, a line at each tenth of the way.

    Parameters
    ----------
    console : Console
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
        """Yield `items` while a bar counts them."""
        if total == 0:
            return
        if not self.console.is_terminal:
            yield from self._in_log(items, label, total)
            return
        columns = (TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(label, total=total)
            for item in items:
                progress.advance(task)
                yield item

    def _in_log(self, items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
        """Print a line at each tenth of the way."""
        told = 0
        for done, item in enumerate(items, start=1):
            yield item
            if done == total or 10 * done // total > told:
                told = 10 * done // total
                self.console.print(f"{label}: {done} of {total}")
