"""Whole-slide images in micrometres: opening, resolution, and reading with true resampling."""

import math
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sparra.pathology.decoders import open_decoder
from sparra.pathology.decoders.base import WHITE
from sparra.pathology.resolution import MppPolicy, resolve_mpp

# A level this much coarser than asked for is still taken, and a reduction this close to a whole number is one:
# scans at 40x call 0.2500 and 0.2527 the same.
LEVEL_TOLERANCE = 1.02
LANCZOS_RADIUS = 3
# Closer than this part of a pixel to the picture's own grid, pixels are taken as they are.
GRID_TOLERANCE = 1e-3
# Source pixels along a side that one block of an overview may need, so that memory stays bounded.
LARGEST_BLOCK_PX = 2048


class Slide:
    """A whole-slide image addressed in µm from the top-left corner of level 0.

    Parameters
    ----------
    path : Path
        TIFF, OME-TIFF, DICOM, or any other file that OpenSlide opens; or a folder with one slide's DICOM files.
    mpp : float, optional
        µm per pixel of level 0; replaces what the file says. Needed where the file says nothing.
    policy : MppPolicy, optional
        What may stand in where neither says it.

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
    Reads are thread-safe.
    """

    def __init__(self, path: Path, mpp: float | None = None, policy: MppPolicy | None = None) -> None:
        self.path = path
        self._decoder = open_decoder(path)
        self.dimensions: tuple[int, int] = self._decoder.level_dimensions[0]
        try:
            self.resolution = resolve_mpp(self._decoder.header, self.dimensions, mpp, policy or MppPolicy(), path)
        except BaseException:
            self._decoder.close()
            raise
        self._downsamples = _true_downsamples(self._decoder.level_dimensions)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoder.close()

    @property
    def size_um(self) -> tuple[float, float]:
        """(width, height) of the slide in µm."""
        return self.dimensions[0] * self.resolution.x, self.dimensions[1] * self.resolution.y

    def describe(self) -> dict[str, Any]:
        """Return JSON-ready technical facts; nothing that could identify a patient, no free-text header."""
        header = self._decoder.header
        return {
            "mpp_x": self.resolution.x,
            "mpp_y": self.resolution.y,
            "mpp_source": self.resolution.source,
            "mpp_in_header": header.mpp[0] if header.mpp else None,
            "level_dimensions": [list(size) for size in self._decoder.level_dimensions],
            "objective_power": header.objective_power,
            "vendor": header.vendor,
            "quickhash": header.quickhash,
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
        for level, (width, height) in enumerate(self._decoder.level_dimensions):
            for corner in ((0, 0), (width - 1, height - 1)):
                self._decoder.read(level, corner, (1, 1))

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
        downsample = self._downsamples[level]
        first = (corner_um[0] / mpp[0] / downsample, corner_um[1] / mpp[1] / downsample)
        span = (extent_um[0] / mpp[0] / downsample, extent_um[1] / mpp[1] / downsample)
        x, y = (_plan_axis(first[axis], span[axis], size_px[axis]) for axis in (0, 1))
        origin = (-float(x.outside), -float(y.outside))
        inside = None
        if x.length and y.length:
            inside = self._decoder.read(level, (x.start, y.start), (x.length, y.length))
            origin = (inside.corner[0] - x.outside, inside.corner[1] - y.outside)
        if inside and not (x.outside or y.outside):
            region = inside.picture
        else:
            region = Image.new("RGB", (x.outside + x.length, y.outside + y.length), WHITE)
            if inside:
                region.paste(inside.picture, (x.outside, y.outside))
        return _resampled(region, (first[0] - origin[0], first[1] - origin[1]), span, size_px)


def check_slide(path: Path, mpp: float | None = None, policy: MppPolicy | None = None) -> None:
    """Check that a slide opens, has a resolution, and is whole; decodes a few tiles only.

    Parameters
    ----------
    path : Path
    mpp : float, optional
        µm per pixel of level 0 from images.csv.
    policy : MppPolicy, optional
        What may stand in where neither the table nor the file says it.

    Raises
    ------
    UserError
        If the file is absent, unreadable or cut off, or its resolution is unknown or absurd.
    """
    with Slide(path, mpp, policy) as slide:
        slide.check_readable()


class _Axis(NamedTuple):
    """What to read along one axis in pixels of the level: `length` from `start`, `outside` before the border."""

    start: int
    length: int
    outside: int


def _plan_axis(first: float, span: float, size_px: int) -> _Axis:
    """Plan a read of `span` pixels from `first`, with a margin for the filter unless none is needed."""
    if _on_grid(first, span, size_px):
        begin, end = round(first), round(first + span)
    else:
        scale = span / size_px
        margin = math.ceil(LANCZOS_RADIUS * max(1.0, scale, _averaged_px(scale))) + _averaged_px(scale) + 1
        begin, end = math.floor(first) - margin, math.ceil(first + span) + margin
    outside = min(max(0, -begin), end - begin)
    return _Axis(max(0, begin), max(0, end - max(0, begin)), outside)


def _on_grid(first: float, span: float, size_px: int) -> bool:
    """Whether each pixel asked for is a whole number of pixels of the level."""
    factor = max(1, round(span / size_px))
    return abs(span - factor * size_px) < GRID_TOLERANCE and abs(first - round(first)) < GRID_TOLERANCE


def _resampled(
    region: Image.Image, first: tuple[float, float], span: tuple[float, float], size_px: tuple[int, int]
) -> NDArray[np.uint8]:
    """Resample the box from `first` with sides `span` to `size_px`.

    A reduction by about two averages pixels, as scanners do where they make a pyramid's levels; what is left is
    done by Lanczos.
    """
    if all(_on_grid(first[axis], span[axis], size_px[axis]) for axis in (0, 1)):
        factors = (max(1, round(span[0] / size_px[0])), max(1, round(span[1] / size_px[1])))
        corner = (round(first[0]), round(first[1]))
        box = (*corner, corner[0] + factors[0] * size_px[0], corner[1] + factors[1] * size_px[1])
        exact = region if box == (0, 0, *region.size) else region.crop(box)
        return np.asarray(exact if factors == (1, 1) else exact.reduce(factors), dtype=np.uint8)
    x, y = (_averaged_px(span[axis] / size_px[axis]) for axis in (0, 1))
    if (x, y) != (1, 1):
        # The means are taken on a grid that keeps its place relative to the box.
        left, top = int(first[0]) % x, int(first[1]) % y
        region = region.reduce((x, y), box=(left, top, *region.size))
        first = ((first[0] - left) / x, (first[1] - top) / y)
        span = (span[0] / x, span[1] / y)
    box_px = (first[0], first[1], first[0] + span[0], first[1] + span[1])
    return np.asarray(region.resize(size_px, Image.Resampling.LANCZOS, box=box_px), dtype=np.uint8)


def _averaged_px(scale: float) -> int:
    """Return how many pixels along a side are averaged before Lanczos reduces by the rest of `scale`.

    Of a large reduction at least three fold is left to Lanczos, so that a picture read in blocks has no seams.
    """
    whole = scale * LEVEL_TOLERANCE
    return max(1, math.floor(whole if whole < LANCZOS_RADIUS else scale / LANCZOS_RADIUS))


def _true_downsamples(sizes: tuple[tuple[int, int], ...]) -> list[float]:
    """Return the factor of each level, integer where the sizes agree with one.

    Divided sizes give a 2:1 level of a slide with odd sides 2.0005, which shifts far tiles.
    """
    factors = []
    full = sizes[0]
    for size in sizes:
        factor = (full[0] / size[0] + full[1] / size[1]) / 2
        whole = round(factor)
        agrees = all(abs(length / whole - side) < 1 for length, side in zip(full, size, strict=True))
        factors.append(float(whole) if agrees else factor)
    return factors
