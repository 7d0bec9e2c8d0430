"""Broken and odd slides, each with words of the one sentence that it must end in."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

TAGS: dict = {"resolution": (20_000.0, 20_000.0), "resolutionunit": "CENTIMETER", "metadata": None}
PINK = (225, 170, 200)


def tissue(side: int = 512, channels: int = 3, kind: type = np.uint8) -> np.ndarray:
    """Sharp dots in pink on glass."""
    picture = np.full((side, side, 3), 244, np.uint8)
    picture[side // 4 : -side // 4, side // 4 : -side // 4] = PINK
    dots = np.random.default_rng(0).random((side, side)) < 0.1
    picture[dots & (picture[..., 1] == 170)] = (130, 90, 160)
    return np.resize(picture, (side, side, channels)).astype(kind)


def tiff(path: Path, picture: np.ndarray, **options: object) -> None:
    tifffile.imwrite(path, picture, **{"photometric": "rgb", "tile": (256, 256), **TAGS, **options})


def tags(unit: int | str = "CENTIMETER", x: float = 20_000.0, y: float = 20_000.0) -> dict:
    return {"resolution": (x, y), "resolutionunit": unit}


def cut(path: Path, share: float) -> None:
    tiff(path, np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def overwrite_tile(path: Path, level: int = 0, compression: str = "jpeg") -> None:
    """Replace one tile's bytes by nonsense."""
    with tifffile.TiffWriter(path) as writer:
        for number in range(2):
            picture = tissue(1024)[:: 2**number, :: 2**number]
            writer.write(
                np.ascontiguousarray(picture), photometric="rgb", tile=(256, 256), compression=compression,
                subfiletype=int(number > 0), **TAGS,
            )  # fmt: skip
    with tifffile.TiffFile(path) as file:
        page = file.pages[level]
        start, length = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + length] = b"\x07" * length
    path.write_bytes(content)


def pen_only(path: Path) -> None:
    picture = np.full((512, 512, 3), 244, np.uint8)
    picture[100:400, 100:400] = (30, 60, 160)
    tiff(path, picture)


def ome(path: Path, picture: np.ndarray, axes: str, **options: object) -> None:
    metadata = {"axes": axes, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, picture, ome=True, metadata=metadata, **options)


# OpenSlide opens tiled TIFF, and would show the first plane.
TILED = {"tile": (256, 256)} | tags()


def no_pages(path: Path) -> None:
    path.write_bytes(b"II*\0" + (8).to_bytes(4, "little") + b"\0" * 8)


def huge_header(path: Path) -> None:
    """Claim two thousand million pixels a side and hold none of them."""
    tiff(path, tissue(256))
    content = path.read_bytes()
    for tag in (256, 257):
        place = content.index(tag.to_bytes(2, "little") + (4).to_bytes(2, "little"))
        content = content[: place + 8] + (2_000_000_000).to_bytes(4, "little") + content[place + 12 :]
    path.write_bytes(content)


def dicom_start(path: Path) -> None:
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 500)


Break = Callable[[Path], object]
BROKEN: dict[str, tuple[Break, str]] = {
    "missing": (lambda p: None, "does not exist"),
    "zero bytes": (lambda p: p.write_bytes(b""), "is empty (0 bytes)"),
    "folder": (lambda p: p.mkdir(), "a folder without DICOM files"),
    "text": (lambda p: p.write_text("hello"), "cannot open this file as a slide"),
    "PNG by another name": (lambda p: Image.new("RGB", (64, 64)).save(p, "PNG"), "it is a PNG picture"),
    "JPEG by another name": (lambda p: Image.new("RGB", (64, 64)).save(p, "JPEG"), "it is a JPEG picture"),
    "PDF": (lambda p: p.write_bytes(b"%PDF-1.7" + b"\0" * 300), "it is a PDF"),
    "ZIP": (lambda p: p.write_bytes(b"PK\x03\x04" + b"\0" * 300), "it is a ZIP"),
    "DICOM without content": (dicom_start, "no DICOM file here holds"),
    "cut in the header": (lambda p: cut(p, 0.0001), "cannot open this file as a slide"),
    "cut after a third": (lambda p: cut(p, 0.3), "damaged or cut off"),
    "cut near the end": (lambda p: cut(p, 0.97), "damaged or cut off"),
    "empty pyramid": (no_pages, "cannot open this file as a slide"),
    "huge header": (huge_header, "lacks part of the list of its tiles"),
    "corrupted JPEG tile": (overwrite_tile, "damaged or cut off"),
    "corrupted deflate tile": (lambda p: overwrite_tile(p, compression="deflate"), "damaged or cut off"),
    "unreadable level": (lambda p: overwrite_tile(p, level=1), "damaged or cut off"),
    "no mpp": (lambda p: tiff(p, tissue(), resolution=None, resolutionunit=None), "does not say its resolution"),
    "72 dpi": (lambda p: tiff(p, tissue(), **tags("INCH", 72.0, 72.0)), "is not between"),
    "mpp of nothing": (lambda p: tiff(p, tissue(), **tags(x=1e9, y=1e9)), "is not between"),
    "mpp differs": (lambda p: tiff(p, tissue(), **tags(x=20_000.0, y=30_000.0)), "differs along x"),
    "16-bit": (lambda p: tiff(p, tissue(kind=np.uint16)), "uint16, not 8-bit"),
    "float": (lambda p: tiff(p, tissue(kind=np.float32)), "float32, not 8-bit"),
    "greyscale": (lambda p: tiff(p, tissue()[..., 0], photometric="minisblack"), "is greyscale"),
    "five channels": (
        lambda p: tiff(p, tissue(channels=5), photometric="minisblack", planarconfig="contig"), "5 channels",
    ),
    "fluorescence": (lambda p: ome(p, np.zeros((4, 300, 300), np.uint8), "CYX"), "4 separate channels"),
    "focal planes": (lambda p: ome(p, np.zeros((3, 300, 300, 3), np.uint8), "ZYXS"), "3 focal planes"),
    "tiled channels": (
        lambda p: ome(p, np.zeros((3, 300, 300), np.uint8), "CYX", photometric="minisblack", **TILED),
        "3 separate channels",
    ),
    "tiled focal planes": (lambda p: ome(p, np.zeros((2, 300, 300, 3), np.uint8), "ZYXS", **TILED), "2 focal planes"),
    "no tissue": (lambda p: tiff(p, np.full((512, 512, 3), 244, np.uint8)), "no stained tissue"),
    "all black": (lambda p: tiff(p, np.zeros((512, 512, 3), np.uint8)), "no stained tissue"),
    "nothing but pen": (pen_only, "left out as pen"),
    "tiny": (lambda p: tiff(p, tissue(16)), "no stained tissue"),
}  # fmt: skip
