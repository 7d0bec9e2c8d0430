"""What a user must hear of images that can be used nevertheless."""

from tests.study.conftest import Sparra, Study


def test_slides_coarser_than_their_tiles_are_noted_before_they_are_read(study: Study, sparra: Sparra) -> None:
    study.change("methods", modalities=["slide"])
    study.change("slide", mpp=0.2, tile_um=64)
    slides = sum(row["modality"] == "slide" for row in study.rows("images.csv"))
    code, printed = sparra("check", study.file)
    assert code == 0, printed
    note = f"note ({slides} bags): scanned at 0.5 µm a pixel, so tiles of 0.2 µm are enlarged and show no more"
    assert note in " ".join(printed.split())
    study.change("slide", mpp=0.5)
    code, printed = sparra("check", study.file)
    assert code == 0, printed
    assert "note" not in printed
