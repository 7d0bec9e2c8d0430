"""Whole-slide images in micrometres: opening, resolution, and reading with true resampling."""

import math
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from sparra.errors import UserError

SMALLEST_MPP, LARGEST_MPP, LARGEST_ANISOTROPY = 0.05, 20.0, 0.05
MPP_MEND = "Give the true µm per pixel of level 0 in the 'mpp' column of images.csv"
# A level this much coarser than asked for is still taken: 20x scans call 0.2500 and 0.2513 the same.
LEVEL_TOLERANCE = 1.01
LANCZOS_RADIUS = 3
# Source pixels along a side that one block of an overview may need, so that memory stays bounded.
LARGEST_BLOCK_PX = 2048


@dataclass(frozen=True)
class Resolution:
    """Micrometres per pixel at level 0.

    Attributes
    ----------
    x, y : float
        µm per pixel along each axis.
    source : {"table", "metadata"}
        Whether it was supplied (images.csv) or read in the file.
    """

    x: float
    y: float
    source: Literal["table", "metadata"]


class Slide:
    """A whole-slide image addressed in µm from the top-left corner of level 0.

    Parameters
    ----------
    path : Path
        Any file that OpenSlide opens.
    mpp : float, optional
        µm per pixel of level 0; replaces what the file says. Needed where the file says nothing.

    Attributes
    ----------
    dimensions : tuple of int
        (width, height) of level 0 in pixels.
    resolution : Resolution

    Raises
    ------
    UserError
        If the file is absent, is no readable slide, or its resolution is unknown or absurd.

    Notes
    -----
    Reads are thread-safe, as OpenSlide's are.
    """

    def __init__(self, path: Path, mpp: float | None = None) -> None:
        self.path = path
        if not path.exists():
            raise UserError("the slide does not exist", where=path, mend="Correct the path in images.csv")
        try:
            self._handle = openslide.OpenSlide(path)
        except (openslide.OpenSlideError, OSError) as error:
            raise UserError(
                f"OpenSlide cannot open this file as a slide ({_reason(error, path)})",
                where=path,
                mend="Copy it again if it was cut off, or convert it to a pyramidal TIFF",
            ) from None
        try:
            self.resolution = _resolve_mpp(self._handle.properties, mpp, path)
        except UserError:
            self._handle.close()
            raise
        self.dimensions: tuple[int, int] = self._handle.dimensions
        self._downsamples = _true_downsamples(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()

    @property
    def size_um(self) -> tuple[float, float]:
        """(width, height) of the slide in µm."""
        return self.dimensions[0] * self.resolution.x, self.dimensions[1] * self.resolution.y

    def describe(self) -> dict[str, Any]:
        """Return JSON-ready technical facts; nothing that could identify a patient, no free-text header."""
        properties = self._handle.properties
        return {
            "mpp_x": self.resolution.x,
            "mpp_y": self.resolution.y,
            "mpp_source": self.resolution.source,
            "mpp_in_header": _number(properties.get(openslide.PROPERTY_NAME_MPP_X)),
            "level_dimensions": [list(size) for size in self._handle.level_dimensions],
            "objective_power": _number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
            "vendor": properties.get(openslide.PROPERTY_NAME_VENDOR),
            "quickhash": properties.get(openslide.PROPERTY_NAME_QUICKHASH1),
        }

    def read_um(self, x_um: float, y_um: float, size_um: float, size_px: int) -> NDArray[np.uint8]:
        """Read a square resampled to exactly ``size_um / size_px`` µm a pixel.

        The coarsest level that is not coarser than asked for is read and reduced by an antialiasing Lanczos
        filter, with the fraction of a pixel at the corner respected, so that a scan at 40x and one at 20x of
        the same tissue give the same picture.

        Parameters
        ----------
        x_um, y_um : float
            Top-left corner, µm from the top-left corner of level 0; may lie outside the slide.
        size_um : float
            Side of the square in µm.
        size_px : int
            Side of the result in pixels.

        Returns
        -------
        ndarray of uint8, shape (size_px, size_px, 3)
            RGB; white beyond the border and where the slide is transparent.

        Raises
        ------
        UserError
            If the file is damaged there.
        """
        return self._read_box((x_um, y_um), (size_um, size_um), (size_px, size_px))

    def level_mpp(self, mpp: float) -> float:
        """Return the µm per pixel of the level read for `mpp`; above `mpp` where pixels are enlarged."""
        return self.resolution.x * self._downsamples[self._level_for(mpp)]

    def overview(self, mpp: float) -> NDArray[np.uint8]:
        """Read the whole slide at `mpp` µm a pixel, block by block.

        Returns
        -------
        ndarray of uint8, shape (ceil(height_um / mpp), ceil(width_um / mpp), 3)
            Pixel (row, column) covers ``[column, column + 1] * mpp`` by ``[row, row + 1] * mpp`` µm.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        width, height = (max(1, math.ceil(side / mpp - 1e-6)) for side in self.size_um)
        block = max(1, int(LARGEST_BLOCK_PX * self.level_mpp(mpp) / mpp))
        picture = np.empty((height, width, 3), dtype=np.uint8)
        for top in range(0, height, block):
            for left in range(0, width, block):
                size = (min(block, width - left), min(block, height - top))
                picture[top : top + size[1], left : left + size[0]] = self._read_box(
                    (left * mpp, top * mpp), (size[0] * mpp, size[1] * mpp), size
                )
        return picture

    def check_readable(self) -> None:
        """Decode the first and the last pixel of every level, which a truncated file cannot give.

        Raises
        ------
        UserError
            If one cannot be read.
        """
        for level, (width, height) in enumerate(self._handle.level_dimensions):
            factor = self._handle.level_downsamples[level]
            for x, y in ((0, 0), (width - 1, height - 1)):
                self._read_region((math.floor(x * factor), math.floor(y * factor)), level, (1, 1))

    def _level_for(self, mpp: float) -> int:
        """Return the coarsest level whose pixels are not coarser than `mpp`."""
        fine_enough = [
            level
            for level, factor in enumerate(self._downsamples)
            if factor * max(self.resolution.x, self.resolution.y) <= mpp * LEVEL_TOLERANCE
        ]
        return max(fine_enough, key=self._downsamples.__getitem__, default=0)

    def _read_box(
        self, corner_um: tuple[float, float], extent_um: tuple[float, float], size_px: tuple[int, int]
    ) -> NDArray[np.uint8]:
        mpp = (self.resolution.x, self.resolution.y)
        level = self._level_for(min(extent_um[axis] / size_px[axis] for axis in (0, 1)))
        downsample, openslide_downsample = self._downsamples[level], self._handle.level_downsamples[level]
        x, y = (
            _plan_axis(
                corner_um[axis] / mpp[axis] / downsample,
                extent_um[axis] / mpp[axis] / downsample,
                size_px[axis],
                openslide_downsample,
            )
            for axis in (0, 1)
        )
        region = Image.new("RGB", (x.outside + x.length, y.outside + y.length), (255, 255, 255))
        if x.length and y.length:
            inside = self._read_region((x.start, y.start), level, (x.length, y.length))
            region.paste(inside, (x.outside, y.outside))
        box = (x.first, y.first, x.first + x.span, y.first + y.span)
        resampled = region.resize(size_px, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
        return np.asarray(resampled, dtype=np.uint8)

    def _read_region(self, start: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        try:
            region = self._handle.read_region(start, level, size)
        except (openslide.OpenSlideError, OSError) as error:
            raise UserError(
                f"the slide is damaged or cut off ({_reason(error, self.path)})",
                where=self.path,
                mend="Copy it again from its source",
            ) from None
        alpha = region.getchannel("A")
        if alpha.getextrema() == (255, 255):
            return region.convert("RGB")
        white = Image.new("RGB", size, (255, 255, 255))
        white.paste(region, mask=alpha)
        return white


def check_slide(path: Path, mpp: float | None = None) -> None:
    """Check that a slide opens, has a resolution, and is whole; decodes a few tiles only.

    Parameters
    ----------
    path : Path
    mpp : float, optional
        µm per pixel of level 0 from images.csv.

    Raises
    ------
    UserError
        If the file is absent, unreadable or cut off, or its resolution is unknown or absurd.
    """
    with Slide(path, mpp) as slide:
        slide.check_readable()


class _Axis(NamedTuple):
    """What to read along one axis: `start` in pixels of level 0, all else in pixels of the level."""

    start: int
    length: int
    outside: int
    first: float
    span: float


def _plan_axis(first: float, span: float, size_px: int, downsample: float) -> _Axis:
    """Plan a read of `span` level pixels from `first`, with a margin for the filter.

    OpenSlide takes the corner in whole pixels of level 0 and shifts a negative one by part of a pixel, so
    what lies before the border is left to be filled in (`outside`), and `first` is counted from what is
    really read.
    """
    margin = math.ceil(LANCZOS_RADIUS * max(1.0, span / size_px)) + 1
    begin = math.floor(first) - margin
    outside = max(0, -begin)
    start = math.floor(max(0, begin) * downsample)
    origin = -outside if outside else start / downsample
    total = math.ceil(first - origin + span) + margin
    return _Axis(start, max(0, total - outside), outside, first - origin, span)


def _resolve_mpp(properties: Any, supplied: float | None, path: Path) -> Resolution:
    if supplied is not None:
        resolution = Resolution(float(supplied), float(supplied), "table")
    else:
        x = _number(properties.get(openslide.PROPERTY_NAME_MPP_X))
        y = _number(properties.get(openslide.PROPERTY_NAME_MPP_Y))
        if x is None or y is None:
            raise UserError("the slide does not say its resolution (mpp)", where=path, mend=MPP_MEND)
        resolution = Resolution(x, y, "metadata")
    place = "images.csv" if resolution.source == "table" else "the slide's header"
    for value in (resolution.x, resolution.y):
        if not SMALLEST_MPP <= value <= LARGEST_MPP:
            raise UserError(
                f"the resolution in {place}, {value:g} µm per pixel, is not between {SMALLEST_MPP} and {LARGEST_MPP:g}",
                where=path,
                mend=MPP_MEND,
            )
    if abs(resolution.x - resolution.y) > LARGEST_ANISOTROPY * min(resolution.x, resolution.y):
        raise UserError(
            f"the resolution in {place} differs along x ({resolution.x:g}) and y ({resolution.y:g} µm)",
            where=path,
            mend=MPP_MEND,
        )
    return resolution


def _true_downsamples(handle: openslide.OpenSlide) -> list[float]:
    """Return the factor of each level, integer where the sizes agree with one.

    OpenSlide divides the sizes, so a 2:1 level of a slide with odd sides has 2.0005, which shifts far tiles.
    """
    factors = []
    for size, factor in zip(handle.level_dimensions, handle.level_downsamples, strict=True):
        whole = round(factor)
        agrees = all(abs(full / whole - side) < 1 for full, side in zip(handle.dimensions, size, strict=True))
        factors.append(float(whole) if agrees else float(factor))
    return factors


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None


def _reason(error: Exception, path: Path) -> str:
    """Return the library's reason on one line, without the path that the sentence begins with."""
    return " ".join(str(error).replace(str(path), "the file").split()).rstrip(".") or type(error).__name__
