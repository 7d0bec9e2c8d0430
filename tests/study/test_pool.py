import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparra.errors import UserError
from sparra.study.pool import Item, run_items


def no_bar(items: Iterable[Any], label: str, total: int) -> Iterator[Any]:
    yield from items


def work(folder: Path, number: int) -> None:
    if number == 1:
        raise UserError("the mask is empty", "mask-1.nii.gz", "Draw it")
    if number == 2:
        raise ZeroDivisionError("a bug")
    if number == 3 and folder.name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / str(number)).write_text("done")


def items(folder: Path) -> list[Item]:
    return [Item(f"S{n}", f"file-{n}", (folder, n)) for n in range(6)]


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_items_are_recorded_in_order_and_the_rest_are_done(tmp_path: Path, workers: int) -> None:
    problems = run_items("extract", work, items(tmp_path), workers, no_bar)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "3", "4", "5"]
    assert [(p.subject_id, p.where) for p in problems] == [("S1", "mask-1.nii.gz"), ("S2", "file-2")]
    assert problems[0].what == "the mask is empty"
    assert "ZeroDivisionError" in problems[1].what
    assert all(p.stage == "extract" and p.mend for p in problems)


def test_a_worker_that_is_killed_costs_only_its_own_item(tmp_path: Path) -> None:
    folder = tmp_path / "deadly"
    folder.mkdir()
    problems = run_items("extract", work, items(folder), 2, no_bar)
    assert sorted(p.name for p in folder.iterdir()) == ["0", "4", "5"]
    assert [p.subject_id for p in problems] == ["S1", "S2", "S3"]
    assert "worker process died" in problems[2].what
