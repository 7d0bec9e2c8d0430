"""Tiled and striped TIFF, Aperio SVS and OME-TIFF, decoded tile by tile.

The pixels equal OpenSlide's; a region takes a fifth of the time, since nothing is composed in between.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.pathology.decoders.base import (
    CACHE_BYTES,
    CONVERT,
    COPY_AGAIN,
    FileBytes,
    Header,
    Region,
    as_number,
    damaged,
)
from sparra.pathology.decoders.colour_planes import are_bright, may_be_colours
from sparra.pathology.decoders.pieces import Layout, MakeRoom, PieceReader

# What tifffile remarks on a broken file names no file, and comes beside the one sentence that does; who sets up
# logging still gets it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

LARGEST_PIECE_PX = 64 << 20
LARGEST_ASPECT_CHANGE = 0.05
# Of the two letters for micro, the Greek one is written too.
UM_PER_UNIT = {"nm": 1e-3, "µm": 1.0, "\u03bcm": 1.0, "um": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
RESOLUTION_UNIT_UM = {2: 25_400.0, 3: 10_000.0}  # inch, centimetre
BLACK_IS_ZERO, RGB, YCBCR = 1, 2, 6
OLD_JPEG, JPEG = 6, 7
APERIO_YCBCR_JPEG2000 = 33003


class WrongPixels(UserError):
    """The pixels are no 8-bit RGB, or OME-XML tells of several planes, which no other decoder mends."""


class TiffDecoder:
    """Reads 8-bit RGB pyramids with tifffile (see `sparra.pathology.decoders.base.Decoder`).

    Parameters
    ----------
    path : Path
    header : Header, optional
        What OpenSlide has read; None to read it here.

    Raises
    ------
    UserError
        If the file is no TIFF, is cut off, or its pixels are of another kind.
    """

    def __init__(self, path: Path, header: Header | None = None) -> None:
        self.path = path
        try:
            self._file = tifffile.TiffFile(path)
        except Exception as error:  # tifffile raises whatever the bytes lead to
            raise damaged(error, path) from None
        try:
            levels = _pyramid(self._file, path)
            self._pages = [level.page for level in levels]
            self._planes = [level.planes for level in levels]
            for page in self._pages:
                # Looks into the file at its first use, which would move the position of a thread that reads.
                page.init_decode()
            self.header = header or _header(self._file, self._pages[0])
        except UserError:
            self._file.close()
            raise
        except Exception as error:  # so does what reads its pages and tags
            self._file.close()
            raise damaged(error, path) from None
        self.level_dimensions: tuple[tuple[int, int], ...] = tuple((p.imagewidth, p.imagelength) for p in self._pages)
        self._bytes = FileBytes(self._file.filehandle)
        layouts = [Layout((p.imagewidth, p.imagelength), _piece_shape(p)[::-1]) for p in self._pages]
        self._jpeg = [_jpeg(page) for page in self._pages]
        self._pieces = PieceReader(self._decode, layouts, CACHE_BYTES)

    def read(
        self,
        level: int,
        corner: tuple[int, int],
        size: tuple[int, int],
        factor: tuple[int, int] = (1, 1),
        into: NDArray[np.uint8] | None = None,
    ) -> Region:
        """Read a region from the pieces (tiles or strips) that it touches."""
        return self._pieces.read(level, corner, size, factor, into)

    @property
    def has_gaps(self) -> bool:
        """Whether the file lacks tiles."""
        return any(0 in plane.databytecounts for planes in self._planes for plane in planes)

    def forget(self) -> None:
        """Let go of the decoded pieces."""
        self._pieces.forget()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _decode(self, level: int, row: int, column: int, room: MakeRoom) -> NDArray[np.uint8] | None:
        """Decode one piece; None where the file holds none."""
        if (jpeg := self._jpeg[level]) is not None:
            return self._decode_jpeg(level, row * jpeg.across + column, jpeg, room)
        page = self._pages[level]
        index = row * -(-page.imagewidth // _piece_shape(page)[1]) + column
        planes = self._planes[level]
        places = [(plane, index) for plane in planes]
        if page.planarconfig == 2 and len(planes) == 1:
            count = len(page.dataoffsets) // page.samplesperpixel
            places = [(page, index + colour * count) for colour in range(3)]
        parts = [part for place in places if (part := self._decode_plane(page, *place)) is not None]
        if len(parts) < len(places):
            return None
        piece = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        if piece.shape[-1] == 3:
            return piece
        # With alpha, what is transparent is white.
        alpha = piece[..., 3:].astype(np.uint16)
        blended: NDArray[np.uint8] = ((piece[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        return blended

    def _decode_jpeg(self, level: int, index: int, jpeg: "_Jpeg", room: MakeRoom) -> NDArray[np.uint8] | None:
        """Decode a piece by the library that tifffile would use, which leaves no say in where the pixels go."""
        if not jpeg.lengths[index]:
            return None
        try:
            content = self._bytes.read(jpeg.offsets[index], jpeg.lengths[index])
            piece: NDArray[np.uint8] = imagecodecs.jpeg8_decode(
                content,
                tables=jpeg.tables,
                colorspace=jpeg.colours,
                outcolorspace=RGB,
                shape=jpeg.shape,
                out=room(*jpeg.shape),
            )
            return piece
        except Exception:  # the piece is damaged, cut off at the border, or of a kind that only tifffile knows
            self._jpeg[level] = None
            return self._decode_plane(self._pages[level], self._pages[level], index)

    def _decode_plane(self, page: Any, plane: Any, index: int) -> NDArray[np.uint8] | None:
        """Decode a piece of one of the pictures that are stored like `page`."""
        try:
            if not plane.databytecounts[index]:
                return None
            content = self._bytes.read(plane.dataoffsets[index], plane.databytecounts[index])
            decoded = page.decode(content, index, jpegtables=plane.jpegtables)[0]
        except Exception as error:  # each codec has its own errors
            raise damaged(error, self.path) from None
        piece: NDArray[np.uint8] = decoded[0]
        return piece


class _Level(NamedTuple):
    """How a level is stored: the page that says so, and the pages that hold it (itself, or one a colour)."""

    page: Any
    planes: Sequence[Any]


def _pyramid(file: tifffile.TiffFile, path: Path) -> list[_Level]:
    """Return the levels, the largest first, all of them complete and of a kind that is read."""
    if not file.pages or not file.series:
        raise UserError("the file holds no picture", where=path, mend=COPY_AGAIN)
    series = _slide_in(file, path)
    # OpenSlide would show the first of several grey pictures as the slide.
    refusal = WrongPixels if file.is_ome or series.keyframe.samplesperpixel == 1 else UserError
    in_planes = file.is_ome and may_be_colours(series, file.ome_metadata)
    if not in_planes:
        _require_one_plane(series, refusal, path)
    levels = [_Level(part.keyframe, part.pages if in_planes else [part.keyframe]) for part in series.levels]
    full = levels[0].page
    try:
        for page, planes in levels:
            _require_colour(page, path, in_planes)
            for plane in planes:
                _require_whole(page, plane, file.filehandle.size, path)
    except UserError as error:
        raise WrongPixels(error.what, error.where, error.mend) if in_planes else error from None
    if in_planes and not are_bright(series.levels[-1]):
        _require_one_plane(series, refusal, path)
    kept = [level for level in levels if _same_aspect(level.page, full)]
    return sorted(kept, key=lambda level: -level.page.imagewidth)


def _slide_in(file: tifffile.TiffFile, path: Path) -> Any:
    """Return the slide itself: of OME's pictures the largest, as scanners put label and overview before it.

    OME-XML may tell of pictures in other files, which are not looked at.
    """
    if not file.is_ome:
        return file.series[0]
    held = [series for series in file.series if series.keyframe.parent is file]
    if not held:
        raise WrongPixels("all of its OME-XML's pictures lie in other files", where=path, mend="Name one of those")
    return max(held, key=lambda series: series.keyframe.imagewidth * series.keyframe.imagelength)


def _require_one_plane(series: Any, error: type[UserError], path: Path) -> None:
    planes = {name: size for name, size in zip(series.axes, series.shape, strict=True) if size > 1}
    others = {name: size for name, size in planes.items() if name not in "YXS"}
    if others:
        held = " × ".join(f"{size} {_AXES.get(name, name)}" for name, size in others.items())
        what = f"the file holds {held} and not one picture in RGB colour"
        raise error(what, where=path, mend=CONVERT)


_AXES = {"C": "separate channels", "Z": "focal planes", "T": "time points", "I": "pictures", "Q": "pictures"}


def _require_colour(page: Any, path: Path, in_planes: bool) -> None:
    """Refuse what is not 8-bit RGB, or one of its colours."""
    if page.dtype != np.uint8:
        kind = "without a known pixel type" if page.dtype is None else f"of type {page.dtype}"
        raise WrongPixels(f"the pixels are {kind}, not 8-bit", where=path, mend=CONVERT)
    if page.samplesperpixel not in ((1,) if in_planes else (3, 4)):
        colours = "greyscale" if page.samplesperpixel == 1 else f"{page.samplesperpixel} channels"
        raise WrongPixels(f"the slide is {colours}, not RGB colour", where=path, mend=CONVERT)
    jpeg = page.compression in (OLD_JPEG, JPEG)
    if page.photometric != (BLACK_IS_ZERO if in_planes else RGB) and not (page.photometric == YCBCR and jpeg):
        raise UserError(f"the colours are stored as {page.photometric!r}, not RGB", where=path, mend=CONVERT)
    if page.compression == APERIO_YCBCR_JPEG2000:
        raise UserError("the colours are stored as YCbCr JPEG 2000", where=path, mend=CONVERT)
    height, width = _piece_shape(page)
    if height * width > LARGEST_PIECE_PX:
        what = f"the picture is stored in pieces of {width} × {height} pixels, too large to read one by one"
        raise UserError(what, where=path, mend=CONVERT)


def _require_whole(page: Any, plane: Any, size: int, path: Path) -> None:
    pieces = -(-page.imagelength // _piece_shape(page)[0]) * -(-page.imagewidth // _piece_shape(page)[1])
    if min(len(plane.dataoffsets), len(plane.databytecounts)) < pieces:
        raise UserError("the file lacks part of the list of its tiles", where=path, mend=COPY_AGAIN)
    end = max(map(sum, zip(plane.dataoffsets, plane.databytecounts, strict=False)), default=0)
    if end > size:
        what = f"the slide is damaged or cut off: it has {size:,} bytes and its pixels reach to {end:,}"
        raise UserError(what, where=path, mend=COPY_AGAIN)


def _piece_shape(page: Any) -> tuple[int, int]:
    """Return (height, width) of a tile or strip in pixels."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


class _Jpeg(NamedTuple):
    """How to decode the pieces of a level that are plain JPEG; the fields of a page, which take longer to look up."""

    shape: tuple[int, int]
    across: int
    offsets: Sequence[int]
    lengths: Sequence[int]
    tables: bytes | None
    colours: int | None


def _jpeg(page: Any) -> _Jpeg | None:
    """Return how a page's pieces are decoded if they are 8-bit RGB JPEG, else None."""
    if page.compression != JPEG or page.planarconfig != 1 or page.samplesperpixel != 3 or page.extrasamples:
        return None
    shape = _piece_shape(page)
    # Aperio writes RGB, not the YCbCr of other JPEG, without a header that would say so.
    colours = RGB if page.photometric == RGB and not page.is_jfif else None
    across = -(-page.imagewidth // shape[1])
    return _Jpeg(shape, across, page.dataoffsets, page.databytecounts, page.jpegtables, colours)


def _same_aspect(page: Any, full: Any) -> bool:
    across, down = full.imagewidth / page.imagewidth, full.imagelength / page.imagelength
    # A level of a few pixels cannot have the aspect of the full picture.
    return bool(abs(across / down - 1) < LARGEST_ASPECT_CHANGE + 1 / min(page.imagewidth, page.imagelength))


def _header(file: tifffile.TiffFile, page: Any) -> Header:
    """Read the resolution: OME-XML first, then Aperio's text, then the resolution tags."""
    text = file.ome_metadata if file.is_ome else None
    mpp, power = _of_ome(text, (page.imagewidth, page.imagelength)) if text else (None, None)
    fields = dict(_text_fields(page.description or ""))
    if mpp is None and (value := as_number(fields.get("MPP"))):
        mpp = (value, value)
    return Header(
        vendor="ome-tiff" if file.is_ome else "tiff",
        mpp=mpp or mpp_of_tags(page),
        objective_power=power or as_number(fields.get("AppMag")),
    )


def _text_fields(description: str) -> Iterator[tuple[str, str]]:
    """Yield the ``name = value`` parts of an Aperio-style description."""
    for match in re.finditer(r"(?:^|[|\s])(MPP|AppMag)\s*=\s*([0-9.eE+-]+)", description[:100_000]):
        yield match[1], match[2]


def mpp_of_tags(page: Any) -> tuple[float, float] | None:
    """Return µm per pixel along (x, y) by the TIFF resolution tags; None where they carry no unit."""
    unit = RESOLUTION_UNIT_UM.get(int(page.tags["ResolutionUnit"].value) if "ResolutionUnit" in page.tags else 0)
    if unit is None or "XResolution" not in page.tags or "YResolution" not in page.tags:
        return None
    pixels = []
    for name in ("XResolution", "YResolution"):
        numerator, denominator = page.tags[name].value
        if not numerator or not denominator:
            return None
        pixels.append(unit * denominator / numerator)
    return pixels[0], pixels[1]


def _of_ome(xml: str, size: tuple[int, int]) -> tuple[tuple[float, float] | None, float | None]:
    """Return µm per pixel and objective power by an OME-XML header of its picture of `size` (width, height)."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None, None
    images = root.findall(".//{*}Image")
    image = next((image for image in images if _size_of(image) == size), images[0] if images else root)
    used, objectives = image.find("{*}ObjectiveSettings"), root.findall(".//{*}Objective")
    named = [objective for objective in objectives if used is not None and objective.get("ID") == used.get("ID")]
    power = next((as_number(objective.get("NominalMagnification")) for objective in named or objectives), None)
    pixels = image.find("{*}Pixels")
    if pixels is None:
        return None, power
    sizes = []
    for axis in "XY":
        value = as_number(pixels.get(f"PhysicalSize{axis}"))
        scale = UM_PER_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        sizes.append(value * scale if value and scale else None)
    x, y = sizes
    return ((x, y) if x and y else None), power


def _size_of(image: ElementTree.Element) -> tuple[float | None, float | None]:
    """Return (width, height) in pixels of a picture of an OME-XML header."""
    pixels = image.find("{*}Pixels")
    return (None, None) if pixels is None else (as_number(pixels.get("SizeX")), as_number(pixels.get("SizeY")))
