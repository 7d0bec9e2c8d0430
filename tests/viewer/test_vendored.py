"""OpenSeadragon is the file that docs/report.md names."""

import hashlib
import re
from importlib.resources import files
from pathlib import Path

STATIC = files("sparra.viewer") / "static"


def test_the_vendored_library_is_unchanged_and_comes_with_its_licence() -> None:
    content = (STATIC / "openseadragon.min.js").read_bytes()
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    assert hashlib.sha256(content).hexdigest() in page
    version = re.search(rb"openseadragon (\d+\.\d+\.\d+)", content)
    assert version is not None
    assert f"OpenSeadragon](https://openseadragon.github.io) {version[1].decode()} " in page
    licence = (STATIC / "openseadragon.LICENSE.txt").read_text()
    assert "Redistribution and use in source and binary forms" in licence


def test_no_page_asks_for_anything_elsewhere() -> None:
    for name in ("index.html", "viewer.css", "viewer.js", "patients.js", "slide.js", "ct.js", "follow_up.js"):
        text = (STATIC / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.", text), name
