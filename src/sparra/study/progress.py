"""Progress bars with counts, on a terminal or in a log."""

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressBars:
    """Draws one bar a stage; in a log, where bars would clutter, one line a stage.

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
        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as progress:
            task = progress.add_task(label, total=total)
            for item in items:
                progress.advance(task)
                yield item
        if not self.console.is_terminal:
            self.console.print(f"{label}: {total} of {total}")
