"""Every broken or odd slide ends in one clear line: a `UserError` that names the file and says what to do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.pathology.broken import BROKEN, tiff, tissue

from sparra.errors import UserError
from sparra.pathology.decoders import open_decoder
from sparra.pathology.extract import extract_slide
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import check_slide

SETTINGS = SlideSettings(tile_um=64, smallest_tissue_um2=5000)


def check_and_extract(path: Path) -> None:
    check_slide(path)
    extract_slide(path, None, SETTINGS)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_slide_is_one_clear_line(tmp_path: Path, name: str) -> None:
    damage, words = BROKEN[name]
    path = tmp_path / "slide.svs"
    damage(path)
    with pytest.raises(UserError) as caught:
        check_and_extract(path)
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "\n" not in message
    assert caught.value.mend


def test_nothing_is_printed_beside_the_error(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    tiff(path, tissue())
    content = path.read_bytes()
    path.write_bytes(content[:4] + (len(content) + 999).to_bytes(4, "little") + content[8:])  # its first page is gone
    script = (
        "import sys, pathlib\nfrom sparra.errors import UserError\nfrom sparra.pathology.slide import check_slide\n"
        "try:\n    check_slide(pathlib.Path(sys.argv[1]))\nexcept UserError:\n    print('told')"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("told\n", "")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "slide.svs"
    path.write_bytes(b"content")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # whoever runs the tests may be allowed everything
    with pytest.raises(UserError, match="permission denied"):
        check_slide(path)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("tile", [(256, 256), None])
def test_odd_but_readable(tmp_path: Path, channels: int, tile: tuple[int, int] | None) -> None:
    picture = np.full((512, 512, channels), 255, np.uint8)
    picture[..., :3] = tissue()
    path = tmp_path / "slide.tif"
    tiff(path, picture, tile=tile, extrasamples=["UNASSALPHA"] if channels == 4 else None)
    decoder = open_decoder(path)
    region = decoder.read(0, (100, 130), (300, 200))
    assert np.array_equal(region.pixels, tissue()[130:330, 100:400])
    assert len(extract_slide(path, None, SETTINGS)[0]) >= 1
