"""A cohort goes on past broken slides, and lists each in one line."""

import csv
from pathlib import Path

import numpy as np
import tifffile
from tests.study.conftest import Sparra, Study

WORDS = {"cut": "cannot open this file as a slide", "text": "cannot open this file", "blank": "no stained tissue"}


def break_slide(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "cut":
        path.write_bytes(content[: len(content) * 2 // 5])
    elif kind == "text":
        path.write_text("hello")
    else:
        glass = np.full((1024, 1024, 3), 250, np.uint8)
        scale = {"resolution": (20_000.0, 20_000.0), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(path, glass, tile=(256, 256), photometric="rgb", **scale)


def test_broken_slides_among_good_ones(study: Study, sparra: Sparra) -> None:
    names = [row["subject_id"] for row in study.rows("subjects.csv")[:5]]
    for table in ("subjects.csv", "images.csv"):
        study.write_rows(table, [row for row in study.rows(table) if row["subject_id"] in names])
    slides = {row["subject_id"]: row["path"] for row in study.rows("images.csv") if row["modality"] == "slide"}
    # The first, one in the middle, and the last.
    broken = dict(zip((names[0], names[2], names[4]), WORDS, strict=True))
    for name, kind in broken.items():
        break_slide(study.path(slides[name]), kind)

    code, printed = sparra("extract", study.file)

    assert code == 1, printed
    assert "Traceback" not in printed
    told = [line for line in printed.splitlines() if " failed: " in line]
    with (study.output / "failures.csv").open(newline="") as handle:
        listed = list(csv.DictReader(handle))
    assert len(told) == len(listed) == 3, told
    for name, kind in broken.items():
        row = next(row for row in listed if row["subject_id"] == name)
        assert WORDS[kind] in " ".join(row.values())
        assert "\n" not in "".join(row.values())
        assert sum(name in line and WORDS[kind] in line for line in told) == 1
    made = {path.name for path in (study.output / "features" / "slide").glob("*.h5")}
    for name in names:
        assert any(name in bag for bag in made) == (name not in broken), (name, made)
