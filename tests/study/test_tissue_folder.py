"""A folder of outlines that fits no slide is told, for all slides would be segmented in silence."""

import json

import pytest
from tests.study.conftest import Sparra, Study


@pytest.mark.parametrize(
    ("name", "words"),
    [(None, "the folder of outlines does not exist"), ("other.geojson", "is named like a slide"), ("", "")],
)
def test_the_folder_of_outlines_is_looked_at(study: Study, sparra: Sparra, name: str | None, words: str) -> None:
    slide = next(row for row in study.rows("images.csv") if row["modality"] == "slide")
    study.write_rows("images.csv", [slide])
    study.write_rows("subjects.csv", [r for r in study.rows("subjects.csv") if r["subject_id"] == slide["subject_id"]])
    study.change("slide", tissue_folder="outlines")
    if name is not None:
        (study.folder / "outlines").mkdir()
        square = {"type": "Polygon", "coordinates": [[[0, 0], [999, 0], [999, 999], [0, 999], [0, 0]]]}
        own = f"{study.path(slide['path']).stem}.geojson"
        (study.folder / "outlines" / (name or own)).write_text(json.dumps(square))
    code, told = sparra("extract", study.file)
    assert (code == 0) == (words == ""), told
    assert words in " ".join(told.split())
    assert "Traceback" not in told


def test_an_outline_without_tissue_is_told_before_the_hours_of_extraction(study: Study, sparra: Sparra) -> None:
    rows = study.rows("images.csv")
    slide = next(row for row in rows if row["modality"] == "slide")
    study.write_rows("images.csv", [slide])
    study.write_rows("subjects.csv", [r for r in study.rows("subjects.csv") if r["subject_id"] == slide["subject_id"]])
    study.change("slide", tissue_folder="outlines")
    (study.folder / "outlines").mkdir()
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}}
    (study.folder / "outlines" / f"{study.path(slide['path']).stem}.geojson").write_text(json.dumps(point))
    code, told = sparra("check", study.file)
    assert code != 0
    assert "the annotation holds no area of tissue" in " ".join(told.split())
