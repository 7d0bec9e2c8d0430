"""What a contact sheet says of the slides that it shows."""

from pathlib import Path

from sparra.cohort.tables import ImageRecord
from sparra.study.layout import StudyLayout
from sparra.study.stages import _pictures


def test_captions_hold_no_name_of_a_file(tmp_path: Path) -> None:
    named = Path("/slides/DOE_JANE_1950-01-01.svs")
    slide = ImageRecord("S-7", "slide", named, None, None, None, None, 2, "slide DOE_JANE_1950-01-01.svs")
    ((caption, picture),) = _pictures([slide], StudyLayout(tmp_path))
    assert "DOE" not in caption
    assert caption.startswith("S-7-")
    assert picture.parent == tmp_path / "features" / "slide"
    assert picture.name.startswith(caption)
