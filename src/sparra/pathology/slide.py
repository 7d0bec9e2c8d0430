"""Whole-slide images in micrometres: opening, resolution, and reading with true resampling."""

import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sparra.pathology.decoders import open_decoder
from sparra.pathology.decoders.base import WHITE, Region, Room
from sparra.pathology.resampling import SCALE_TOLERANCE, averaged, plan_axis, resample
from sparra.pathology.resolution import MppPolicy, Resolution, resolve_mpp

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
        self._room = Room()
        self.dimensions: tuple[int, int] = self._decoder.level_dimensions[0]
        try:
            self.resolution = resolve_mpp(self._decoder.header, self.dimensions, mpp, policy or MppPolicy(), path)
        except BaseException:
            self._decoder.close()
            raise
        self._downsamples = _true_downsamples(self._decoder.level_dimensions)
        finest = max(self.resolution.x, self.resolution.y)
        self._coarsest_first = sorted(
            ((level, factor * finest) for level, factor in enumerate(self._downsamples)), key=lambda pair: -pair[1]
        )

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
        tile = np.empty((size_px, size_px, 3), dtype=np.uint8)
        self.read_um_into(x_um, y_um, size_um, tile)
        return tile

    def read_um_into(self, x_um: float, y_um: float, size_um: float, tile: NDArray[np.uint8]) -> None:
        """Read as `read_um` into a C-contiguous `tile`, shape (size_px, size_px, 3)."""
        self._read_box((x_um, y_um), (size_um, size_um), tile)

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
                part = np.empty((size[1], size[0], 3), dtype=np.uint8)
                self._read_box((left * mpp, top * mpp), (size[0] * mpp, size[1] * mpp), part)
                picture[top : top + size[1], left : left + size[0]] = part
        return picture

    def forget(self) -> None:
        """Let go of the decoded pixels that are kept for neighbouring reads, such as before another level is read."""
        self._decoder.forget()

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
        for level, level_mpp in self._coarsest_first:
            if level_mpp <= mpp * SCALE_TOLERANCE:
                return level
        return 0

    def _read_box(self, corner_um: tuple[float, float], extent_um: tuple[float, float], out: NDArray[np.uint8]) -> None:
        height, width, _ = out.shape
        mpp = self.resolution
        level = self._level_for(min(extent_um[0] / width, extent_um[1] / height))
        downsample = self._downsamples[level]
        first = (corner_um[0] / mpp.x / downsample, corner_um[1] / mpp.y / downsample)
        span = (extent_um[0] / mpp.x / downsample, extent_um[1] / mpp.y / downsample)
        x, y = plan_axis(first[0], span[0], width), plan_axis(first[1], span[1], height)
        factor = (x.factor, y.factor)
        if x.aligned and y.aligned:
            into = out if x.exact and y.exact else self._room(y.means, x.means)
            region = self._read_padded(level, (x.begin, y.begin), factor, into)
            if region.pixels is out:
                return
        else:
            whole = self._read_padded(
                level, (x.begin, y.begin), (1, 1), self._room(y.means * y.factor, x.means * x.factor)
            )
            region = Region(averaged(whole.pixels, factor), whole.corner)
        first = ((first[0] - region.corner[0]) / x.factor, (first[1] - region.corner[1]) / y.factor)
        resample(region.pixels, first, (span[0] / x.factor, span[1] / y.factor), out)

    def _read_padded(
        self, level: int, begin: tuple[int, int], factor: tuple[int, int], into: NDArray[np.uint8]
    ) -> Region:
        """Read means, into `into` if possible, from pixel `begin` of a level; if negative, there it is white."""
        size = (into.shape[1], into.shape[0])
        if begin[0] >= 0 and begin[1] >= 0:
            return self._decoder.read(level, begin, size, factor, into)
        outside = [min(max(0, -begin[axis] // factor[axis]), size[axis]) for axis in (0, 1)]
        into.fill(WHITE)
        inside = (size[0] - outside[0], size[1] - outside[1])
        if min(inside) == 0:
            return Region(into, begin)
        read = self._decoder.read(level, (max(0, begin[0]), max(0, begin[1])), inside, factor)
        into[outside[1] :, outside[0] :] = read.pixels
        return Region(into, (read.corner[0] - outside[0] * factor[0], read.corner[1] - outside[1] * factor[1]))


def check_slide(path: Path, mpp: float | None = None, policy: MppPolicy | None = None) -> Resolution:
    """Check that a slide opens, has a resolution, and is whole; decodes a few tiles only.

    Parameters
    ----------
    path : Path
    mpp : float, optional
        µm per pixel of level 0 from images.csv.
    policy : MppPolicy, optional
        What may stand in where neither the table nor the file says it.

    Returns
    -------
    Resolution
        Of level 0.

    Raises
    ------
    UserError
        If the file is absent, unreadable or cut off, or its resolution is unknown or absurd.
    """
    with Slide(path, mpp, policy) as slide:
        slide.check_readable()
        return slide.resolution


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
