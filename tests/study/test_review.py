"""Manual validation: a study takes a mask only if somebody accepted it."""

import csv
from collections.abc import Callable
from pathlib import Path

from tests.study.conftest import Study

Sparra = Callable[..., tuple[int, str]]


def decide(path: Path, decisions: dict[str, tuple[str, str]]) -> None:
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        row["decision"], row["comment"] = decisions.get(row["subject_id"], ("accept", ""))
    with path.open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def test_run_honours_the_review_table(study: Study, sparra: Sparra) -> None:
    rows = [row for row in study.rows("images.csv") if row["modality"] == "ct"][:4]
    names = [row["subject_id"] for row in rows]
    study.write_rows("images.csv", rows)
    study.write_rows("subjects.csv", [row for row in study.rows("subjects.csv") if row["subject_id"] in names])
    out = study.folder / "masks"
    code, told = sparra("segment", "review", study.path("images.csv"), "--output", out, "--source", "a radiologist")
    assert code == 0, told
    decide(out / "review.csv", {names[1]: ("reject", "spleen"), names[2]: ("", "")})
    study.write_rows("images.csv", [{**row, "mask": "", "label": ""} for row in rows])
    study.change("cohort", review="masks/review.csv")
    code, told = sparra("extract", study.file)
    assert code == 1
    assert f"(subject {names[1]}): the mask was rejected in review: spleen" in told
    assert f"(subject {names[2]}): the mask has not been reviewed" in told
    with (study.output / "failures.csv").open(newline="") as handle:
        failed = {row["subject_id"]: row["stage"] for row in csv.DictReader(handle) if row["stage"] == "review"}
    assert failed == {names[1]: "review", names[2]: "review"}
    assert len(list((study.output / "features" / "ct").glob("*.h5"))) == 2
