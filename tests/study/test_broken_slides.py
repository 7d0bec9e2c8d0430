"""A cohort goes on past broken slides, and lists each in one line."""

import csv
from pathlib import Path

import numpy as np
import tifffile
from tests.pathology.broken import BROKEN, tags, tiff, tissue
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


def test_every_kind_of_broken_slide_beside_a_good_one(tmp_path: Path, sparra: Sparra) -> None:
    paths = {}
    for number, (name, (damage, _)) in enumerate(BROKEN.items()):
        paths[f"P{number:02d}"] = (name, tmp_path / f"slide-{number:02d}.svs")
        damage(paths[f"P{number:02d}"][1])
    tiff(tmp_path / "good.svs", tissue(), **tags())
    # The good one is the last, so that all the others have failed before it.
    places = {subject: path for subject, (_, path) in paths.items()} | {"P99": tmp_path / "good.svs"}
    rows = [f"{subject},slide,{path}" for subject, path in places.items()]
    (tmp_path / "images.csv").write_text("\n".join(["subject_id,modality,path", *rows]) + "\n")
    (tmp_path / "subjects.csv").write_text("\n".join(["subject_id", *places]) + "\n")
    (tmp_path / "study.yaml").write_text(
        "cohort: {subjects: subjects.csv, images: images.csv, time_unit: days}\nworkers: 1\n"
        "slide: {tile_um: 64, smallest_tissue_um2: 5000}\n"
    )

    code, printed = sparra("extract", tmp_path / "study.yaml")

    assert code == 1, printed
    assert "Traceback" not in printed
    with (tmp_path / "output" / "failures.csv").open(newline="") as handle:
        listed = [row for row in csv.DictReader(handle) if row["what"] != "no usable image"]
    assert sorted(row["subject_id"] for row in listed) == sorted(paths)
    for row in listed:
        name, path = paths[row["subject_id"]]
        line = f"{row['what']} {row['mend']}"
        assert BROKEN[name][1] in line, (name, line)
        assert "\n" not in line
        assert str(path) in "".join(row.values())
        told = [one for one in printed.splitlines() if f"(subject {row['subject_id']}): " in one]
        assert sum(BROKEN[name][1] in one for one in told) == 1, (name, told)
    assert [bag.stem.rpartition("-")[0] for bag in (tmp_path / "output" / "features" / "slide").glob("*.h5")] == ["P99"]
