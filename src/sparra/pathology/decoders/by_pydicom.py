"""DICOM whole-slide files that OpenSlide refuses, such as those without an image type."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.filereader import read_partial
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
)

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
    new_pixels,
)
from sparra.pathology.decoders.pieces import Layout, MakeRoom, PieceReader

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
SERIES = 0x0020000E
NOT_THE_SLIDE = {"LABEL", "OVERVIEW", "THUMBNAIL"}
# Border frames looked at for their order, and the largest spread of padding in grey levels.
ORDER_FRAMES, FLAT_PADDING = 8, 3.0
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
JPEG_2000 = (JPEG2000, JPEG2000Lossless)


@dataclass(frozen=True)
class _Level:
    """One file: its pixel matrix, tile size, and where each tile's bytes lie."""

    path: Path
    width: int
    height: int
    tile: tuple[int, int]
    photometric: str
    syntax: str
    frame_at: dict[tuple[int, int], int]
    spans: list[tuple[int, int]]


class DicomDecoder:
    """Reads DICOM whole-slide microscopy with pydicom (see `sparra.pathology.decoders.base.Decoder`).

    Parameters
    ----------
    paths : list of Path
        One file a level, in any order.

    Raises
    ------
    UserError
        If none is a readable whole-slide image in 8-bit RGB.
    """

    def __init__(self, paths: list[Path]) -> None:
        levels = [found for path in paths if (found := _read_level(path)) is not None]
        if not levels:
            raise UserError("no DICOM file here holds a whole-slide image", where=paths[0], mend=CONVERT)
        levels.sort(key=lambda pair: -pair[0].width)
        self._levels = [level for level, _ in levels]
        self.header = levels[0][1]
        self.level_dimensions: tuple[tuple[int, int], ...] = tuple((lv.width, lv.height) for lv in self._levels)
        self._files: dict[Path, BinaryIO] = {level.path: level.path.open("rb") for level in self._levels}
        self._bytes = {path: FileBytes(file) for path, file in self._files.items()}
        layouts = [Layout((level.width, level.height), level.tile[::-1]) for level in self._levels]
        self._frames = PieceReader(self._decode, layouts, CACHE_BYTES)

    def read(
        self,
        level: int,
        corner: tuple[int, int],
        size: tuple[int, int],
        factor: tuple[int, int] = (1, 1),
        into: NDArray[np.uint8] | None = None,
    ) -> Region:
        """Read a region from the frames that it touches."""
        return self._frames.read(level, corner, size, factor, into)

    def forget(self) -> None:
        """Let go of the decoded pieces."""
        self._frames.forget()

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _decode(self, level: int, row: int, column: int, room: MakeRoom) -> NDArray[np.uint8] | None:
        matrix = self._levels[level]
        frame = matrix.frame_at.get((row, column))
        if frame is None:
            return None
        start, length = matrix.spans[frame]
        try:
            content = self._bytes[matrix.path].read(start, length)
            return _pixels(content, matrix, room)
        except Exception as error:  # each codec has its own errors
            raise damaged(error, matrix.path) from None


def require_one_slide(files: list[Path], folder: Path) -> None:
    """Refuse whole-slide files of several series, each of which is a slide of its own.

    Raises
    ------
    UserError
        If there are several.
    """
    found = {series for file in files if (series := _series_of(file)) is not None}
    if len(found) > 1:
        what = f"the folder holds {len(found)} slides (series of DICOM files)"
        raise UserError(what, where=folder, mend="Give each slide a folder of its own, or name one of its files")


def _series_of(path: Path) -> str | None:
    """Return the series that a whole-slide file belongs to; None of labels, overviews and other kinds of file."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = read_partial(file, stop_when=lambda tag, *_: tag > SERIES)
    except Exception:  # pydicom raises whatever the bytes lead to; who reads the file tells of it
        return None
    if data.get("SOPClassUID") != WHOLE_SLIDE or NOT_THE_SLIDE & set(data.get("ImageType") or ()):
        return None
    series = data.get("SeriesInstanceUID")
    return None if series is None else str(series)


def _pixels(content: bytes, matrix: _Level, room: MakeRoom = new_pixels) -> NDArray[np.uint8]:
    if matrix.syntax == JPEGBaseline8Bit:
        # Headers call the colours RGB where the JPEG holds YCbCr; then the JPEG's own markers count.
        declared = None if matrix.photometric == "RGB" else "YCBCR"
        pixels = imagecodecs.jpeg8_decode(content, colorspace=declared, outcolorspace="RGB", out=room(*matrix.tile))
    elif matrix.syntax in JPEG_2000:
        pixels = imagecodecs.jpeg2k_decode(content)
    else:
        pixels = np.frombuffer(content, np.uint8)[: 3 * matrix.tile[0] * matrix.tile[1]]
    shaped: NDArray[np.uint8] = pixels.reshape(*matrix.tile, 3)
    return shaped


def _read_level(path: Path) -> tuple[_Level, Header] | None:
    """Read one file's header; None if it is not a level of the slide itself."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that are too long for their kind
            data = pydicom.dcmread(file, stop_before_pixels=True)
            if data.get("SOPClassUID") != WHOLE_SLIDE or NOT_THE_SLIDE & set(data.get("ImageType") or ()):
                return None
            _require_readable(data, path)
            spans = _frame_spans(file, data)
            level = _level(path, data, spans)
            if "DimensionOrganizationType" not in data and "PerFrameFunctionalGroupsSequence" not in data:
                level = _ordered_by_padding(level, file)
    except UserError:
        raise
    except Exception as error:  # pydicom raises whatever the bytes lead to
        raise damaged(error, path) from None
    if spans and spans[-1][0] + spans[-1][1] > path.stat().st_size:
        raise UserError("the file is cut off before its last frame", where=path, mend=COPY_AGAIN)
    return level, Header(vendor="dicom", mpp=_mpp(data), objective_power=_power(data))


def _require_readable(data: Any, path: Path) -> None:
    syntax = data.file_meta.TransferSyntaxUID
    if data.get("SamplesPerPixel") != 3 or data.get("BitsAllocated") != 8:
        raise UserError("the DICOM slide is not in 8-bit RGB colour", where=path, mend=CONVERT)
    planes = int(data.get("TotalPixelMatrixFocalPlanes") or 1)
    if planes > 1:
        raise UserError(f"the file holds {planes} focal planes and not one picture in RGB colour", path, CONVERT)
    if syntax not in (JPEGBaseline8Bit, *JPEG_2000, *NATIVE) or (syntax in NATIVE and data.get("PlanarConfiguration")):
        raise UserError(f"the DICOM slide is compressed in a way that is not read ({syntax.name})", path, CONVERT)


def _level(path: Path, data: Any, spans: list[tuple[int, int]]) -> _Level:
    tile = (int(data.Rows), int(data.Columns))
    width, height = int(data.TotalPixelMatrixColumns), int(data.TotalPixelMatrixRows)
    across, down = -(-width // tile[1]), -(-height // tile[0])
    if "PerFrameFunctionalGroupsSequence" in data and data.get("DimensionOrganizationType") != "TILED_FULL":
        places = [frame.PlanePositionSlideSequence[0] for frame in data.PerFrameFunctionalGroupsSequence]
        frame_at = {
            (
                (int(place.RowPositionInTotalImagePixelMatrix) - 1) // tile[0],
                (int(place.ColumnPositionInTotalImagePixelMatrix) - 1) // tile[1],
            ): frame
            for frame, place in enumerate(places)
        }
        if len(frame_at) < len(places):
            what = f"{len(places)} frames lie at {len(frame_at)} places, as in a focal stack, and not in one picture"
            raise UserError(what, where=path, mend=CONVERT)
    else:
        frame_at = {divmod(frame, across): frame for frame in range(across * down)}
    if max(frame_at.values(), default=0) >= len(spans):
        what = f"the file holds {len(spans)} frames where {width} × {height} pixels need {len(frame_at)}"
        raise UserError(what, where=path, mend=COPY_AGAIN)
    syntax = str(data.file_meta.TransferSyntaxUID)
    return _Level(path, width, height, tile, str(data.PhotometricInterpretation), syntax, frame_at, spans)


def _ordered_by_padding(level: _Level, file: BinaryIO) -> _Level:
    """Find the order of the frames where the header does not declare it.

    The standard's order is row by row, but files exist that go column by column. Frames at the right and bottom
    border are filled up with one colour, which shows the order that the writer meant.
    """
    height, width = level.tile
    across, down = -(-level.width // width), -(-level.height // height)
    by_column = replace(level, frame_at={(row, col): col * down + row for row in range(down) for col in range(across)})
    borders = [(row, across - 1) for row in range(down)] + [(down - 1, col) for col in range(across - 1)]
    chosen = borders[:: max(1, len(borders) // ORDER_FRAMES)]
    spreads = []
    for order in (level, by_column):
        padding = [_padding(order, place, file) for place in chosen]
        values = [float(part.std()) for part in padding if part.size]
        spreads.append(np.median(values) if values else 0.0)
    if min(spreads) > FLAT_PADDING:
        what = "the file does not say in which order its frames lie, and their borders do not show it"
        raise UserError(what, where=level.path, mend=CONVERT)
    return level if spreads[0] <= spreads[1] else by_column


def _padding(level: _Level, place: tuple[int, int], file: BinaryIO) -> NDArray[np.uint8]:
    """Return the pixels of a border frame that lie beyond the slide."""
    start, length = level.spans[level.frame_at[place]]
    file.seek(start)
    tile = _pixels(file.read(length), level)
    # JPEG rings for eight pixels beyond an edge.
    right = tile[:, level.width - place[1] * level.tile[1] + 8 :].reshape(-1, 3)
    bottom = tile[level.height - place[0] * level.tile[0] + 8 :].reshape(-1, 3)
    return np.concatenate([right, bottom])


def _frame_spans(file: BinaryIO, data: Any) -> list[tuple[int, int]]:
    """Return (first byte, length) of each frame; `file` stands before the pixel data's tag."""
    frames = int(data.get("NumberOfFrames") or 1)
    syntax = data.file_meta.TransferSyntaxUID
    file.seek(8 if syntax == ImplicitVRLittleEndian else 12, 1)
    if syntax in NATIVE:
        size, start = int(data.Rows) * int(data.Columns) * 3, file.tell()
        return [(start + frame * size, size) for frame in range(frames)]
    parse_basic_offsets(file)
    fragments, starts = parse_fragments(file)
    if fragments != frames:
        raise ValueError(f"{fragments} fragments for {frames} frames")
    spans = []
    for start in starts:
        file.seek(start + 4)
        spans.append((start + 8, int.from_bytes(file.read(4), "little")))
    return spans


def _mpp(data: Any) -> tuple[float, float] | None:
    """Return µm per pixel: the spacing given, else the size of the imaged volume over its pixels."""
    shared = data.get("SharedFunctionalGroupsSequence")
    measures = shared[0].get("PixelMeasuresSequence") if shared else None
    spacing = measures[0].get("PixelSpacing") if measures else None
    if spacing:
        return float(spacing[1]) * 1e3, float(spacing[0]) * 1e3
    width, height = as_number(data.get("ImagedVolumeWidth")), as_number(data.get("ImagedVolumeHeight"))
    if not width or not height:
        return None
    return width * 1e3 / data.TotalPixelMatrixColumns, height * 1e3 / data.TotalPixelMatrixRows


def _power(data: Any) -> float | None:
    path = data.get("OpticalPathSequence")
    return as_number(path[0].get("ObjectiveLensPower")) if path else None
