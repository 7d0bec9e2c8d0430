"""Resampling of 8-bit RGB to another number of pixels: means of whole pixels, and Lanczos for what is left.

Within a grey level of Pillow's ``reduce`` and ``resize``, in a fraction of the time, without Python's lock. Lanczos
works on 16-bit numbers, of which a vector instruction multiplies twice as many as of 32-bit ones.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparra.compiled import compiled

# A reduction this close to a whole number is one: scans at 40x call 0.2500 and 0.2527 the same.
SCALE_TOLERANCE = 1.02
LANCZOS_RADIUS = 3
# Closer than this part of a pixel to the picture's own grid, pixels are taken as they are.
GRID_TOLERANCE = 1e-3
# Taps are summed six at a time, along x in runs of whole vectors, which may end that many values late.
TAPS, VECTOR, SHORTEST_RUN = 6, 32, 8
FILTERS_KEPT = 1024
# A weight of 1; 2 is the most that fits.
UNIT = 1 << 14
# Grey levels are multiplied as 1/128, and sums hold 1/32: a half rounds, and above the brightest none fits its byte.
TO_FACTOR, SUM_TO_FACTOR, TO_GREY = np.int16(7), np.int16(2), np.int16(5)
HALF, DARKEST, BRIGHTEST = np.int16(16), np.int16(0), np.int16(255 * 32)
HIGH_HALF = np.int32(16)

Pixels = NDArray[np.uint8]
Row = NDArray[np.int16]


class Axis(NamedTuple):
    """What to read along one axis: means of pixels of the level, on which the filter works.

    Attributes
    ----------
    begin : int
        First pixel of the level; negative before its border.
    means : int
    factor : int
        Pixels in a mean.
    exact : bool
        Whether the means are the pixels asked for, so that there is nothing to filter.
    """

    begin: int
    means: int
    factor: int
    exact: bool

    @property
    def aligned(self) -> bool:
        """Whether a mean begins at the border of the level, so that all reads share the same means."""
        return self.begin % self.factor == 0


def plan_axis(first: float, span: float, size_px: int) -> Axis:
    """Plan a read of `span` pixels from `first`, with a margin for the filter unless none is needed."""
    if _on_grid(first, span, size_px):
        return Axis(round(first), size_px, max(1, round(span / size_px)), True)
    factor = _averaged_px(span / size_px)
    margin = math.ceil(LANCZOS_RADIUS * max(1.0, span / size_px / factor)) + 1
    begin, end = math.floor(first / factor) - margin, math.ceil((first + span) / factor) + margin
    return Axis(begin * factor, end - begin, factor, False)


def averaged(pixels: Pixels, factor: tuple[int, int]) -> Pixels:
    """Return the means of every `factor` (x, y) pixels, halves rounded up; what is left over at the end is dropped."""
    if factor == (1, 1):
        return pixels
    x, y = factor
    means = np.empty((pixels.shape[0] // y, pixels.shape[1] // x, 3), dtype=np.uint8)
    if factor == (2, 2):
        _halve(_rows(pixels), _rows(means))
    else:
        _average(_rows(pixels), x, y, np.empty(3 * x * means.shape[1], dtype=np.uint32), _rows(means))
    return means


def resample(region: Pixels, first: tuple[float, float], span: tuple[float, float], out: Pixels) -> None:
    """Resample the box from `first` with sides `span`, both (x, y) in pixels of `region`, into all of `out`.

    By Lanczos of radius 3 (antialiasing), as in Pillow; where the pixels asked for are those of `region`, as they are.

    Parameters
    ----------
    region : ndarray of uint8, shape (rows, columns, 3)
        C-contiguous. What the filter would need beyond its border is left out and the rest weighs more.
    first, span : tuple of float
    out : ndarray of uint8, shape (height, width, 3)
        C-contiguous.
    """
    size = (out.shape[1], out.shape[0])
    if all(_on_grid(first[axis], span[axis], size[axis]) and round(span[axis]) == size[axis] for axis in (0, 1)):
        left, top = round(first[0]), round(first[1])
        out[:] = region[top : top + size[1], left : left + size[0]]
        return
    along_x, along_y = (
        _filter(round(first[axis], 6), span[axis] / size[axis], size[axis], region.shape[1 - axis]) for axis in (0, 1)
    )
    _filter_both(_rows(region), along_x, along_y, _rows(out))


def _on_grid(first: float, span: float, size_px: int) -> bool:
    """Whether each pixel asked for is a whole number of pixels of the level."""
    factor = max(1, round(span / size_px))
    return abs(span - factor * size_px) < GRID_TOLERANCE and abs(first - round(first)) < GRID_TOLERANCE


def _averaged_px(scale: float) -> int:
    """Return how many pixels along a side are averaged before Lanczos reduces by the rest of `scale`.

    Of a large reduction at least three fold is left to Lanczos, so that a picture read in blocks has no seams.
    """
    whole = scale * SCALE_TOLERANCE
    return max(1, math.floor(whole if whole < LANCZOS_RADIUS else scale / LANCZOS_RADIUS))


def _rows(pixels: Pixels) -> Pixels:
    """Return an (height, width, 3) picture as (height, 3 * width)."""
    return pixels.reshape(len(pixels), -1)


class _Filter(NamedTuple):
    """Lanczos along one axis.

    Attributes
    ----------
    first : ndarray of int64, shape (size,)
        First pixel of the source that each pixel takes from.
    weights : ndarray of int16, shape (taps, 3 * size + VECTOR)
        In units of 1 / `UNIT`, once for each colour. `taps` is a multiple of `TAPS`, with weights of 0 at the end.
    lost : ndarray of int16, shape (3 * size + VECTOR,)
        What cutting off each product takes from the sum on average.
    runs : ndarray of int64, shape (n_runs + 1,)
        Where `first` advances by other than 1, and the two ends.
    """

    first: NDArray[np.int64]
    weights: NDArray[np.int16]
    lost: NDArray[np.int16]
    runs: NDArray[np.int64]


@lru_cache(maxsize=FILTERS_KEPT)
def _filter(begin: float, scale: float, size: int, length: int) -> _Filter:
    """Make the filter of `size` pixels, each `scale` source pixels, from `begin` within `length` source pixels."""
    stretch = max(scale, 1.0)
    centres = begin + (np.arange(size) + 0.5) * scale
    reach = LANCZOS_RADIUS * stretch
    lowest = np.clip((centres - reach + 0.5).astype(np.int64), 0, length - 1)
    highest = np.clip((centres + reach + 0.5).astype(np.int64), lowest + 1, length)
    taps = int((highest - lowest).max())
    first = np.minimum(lowest, max(0, length - taps))
    place = first + np.arange(-(-taps // TAPS) * TAPS)[:, None]
    distance = (place + 0.5 - centres) / stretch
    weights = np.where(np.abs(distance) < LANCZOS_RADIUS, np.sinc(distance) * np.sinc(distance / LANCZOS_RADIUS), 0.0)
    weights[(place < lowest) | (place >= highest)] = 0.0
    weights /= weights.sum(axis=0)
    jumps = np.flatnonzero(np.diff(first) != 1) + 1
    whole = np.rint(weights * UNIT).astype(np.int16)
    # Their sum is exactly 1, or a flat picture would not stay flat.
    whole[np.abs(weights).argmax(axis=0), np.arange(size)] += (UNIT - whole.sum(axis=0)).astype(np.int16)
    return _Filter(
        first,
        np.pad(whole.repeat(3, axis=1), ((0, 0), (0, VECTOR))),
        np.pad((np.count_nonzero(whole, axis=0) // 2).repeat(3), (0, VECTOR)).astype(np.int16),
        np.concatenate([[0], jumps, [size]]).astype(np.int64),
    )


@compiled
def _halve(rows: Pixels, out: Pixels) -> None:
    """Average 2 by 2 pixels."""
    # Indices are unsigned and sums 32-bit, or the loops would not become vector instructions.
    for row in range(out.shape[0]):
        upper, lower, into = rows[2 * row], rows[2 * row + 1], out[row]
        for pixel in range(np.uint64(into.size // 3)):
            for colour in range(np.uint64(3)):
                at = np.uint64(6) * pixel + colour
                right = at + np.uint64(3)
                total = np.int32(
                    np.int32(upper[at]) + np.int32(upper[right]) + np.int32(lower[at]) + np.int32(lower[right])
                )
                into[np.uint64(3) * pixel + colour] = np.uint8(np.int32(total + np.int32(2)) >> np.int32(2))


@compiled
def _average(rows: Pixels, x: int, y: int, sums: NDArray[np.uint32], out: Pixels) -> None:
    """Average `x` by `y` pixels; `sums` is room for one row of sums."""
    step, half, area = np.uint64(3 * x), np.uint32(x * y // 2), np.uint32(x * y)
    for row in range(out.shape[0]):
        sums[:] = 0
        for down in range(y):
            line = rows[row * y + down]
            for value in range(np.uint64(sums.size)):
                sums[value] += np.uint32(line[value])
        for pixel in range(np.uint64(out.shape[1] // 3)):
            for colour in range(np.uint64(3)):
                place = step * pixel + colour
                total = half
                for across in range(np.uint64(x)):
                    total += sums[place + np.uint64(3) * across]
                out[row, np.uint64(3) * pixel + colour] = np.uint8(total // area)


@compiled
def _filter_both(rows: Pixels, along_x: _Filter, along_y: _Filter, out: Pixels) -> None:
    """Filter along x, two rows at a time, and along y."""
    first, weights, lost, runs = along_x
    y_first, y_weights, y_lost, _ = along_y
    width, taps, length = out.shape[1], y_weights.shape[0], rows.shape[1]
    source = np.zeros((2, length + 3 * weights.shape[0] + VECTOR), dtype=np.int16)
    # The last rows that are filtered along x, of which those along y take `taps`.
    ring, sums = np.zeros((taps + 2, width + VECTOR), dtype=np.int16), np.zeros(width, dtype=np.int16)
    done = y_first[0]
    for row in range(out.shape[0]):
        while done < min(rows.shape[0], y_first[row] + taps):
            for line in range(2):
                into, of = source[line], rows[min(done + line, rows.shape[0] - 1)]
                for value in range(np.uint64(length)):
                    into[value] = np.int16(of[value]) << TO_FACTOR
            upper, lower = ring[done % len(ring)], ring[(done + 1) % len(ring)]
            if runs.size * SHORTEST_RUN < first.size:
                _filter_rows(source[0], source[1], first, weights, lost, runs, upper, lower)
            else:
                _filter_pixels(source[0], first, weights, upper)
                _filter_pixels(source[1], first, weights, lower)
            done += 2
        at = 3 * row
        _filter_column(ring, y_first[row], y_weights[:, at], np.int16(HALF + y_lost[at]), sums, out[row])


@compiled
def _weighted(weight: np.int16, value: np.int16) -> np.int16:
    """Return the product of a weight and a factor as part of a sum."""
    return np.int16(np.int32(np.int32(weight) * np.int32(value)) >> HIGH_HALF)


@compiled
def _factor(total: np.int16) -> np.int16:
    """Return a sum along x, within the grey levels, as a factor along y."""
    return np.int16(min(max(total, DARKEST), BRIGHTEST) << SUM_TO_FACTOR)


@compiled
def _filter_rows(
    upper: Row, lower: Row, first: NDArray[np.int64], weights: Row, lost: Row, runs: NDArray[np.int64],
    above: Row, below: Row,
) -> None:  # fmt: skip
    """Filter two rows into `above` and `below`, in runs of pixels whose sources advance together."""
    for run in range(runs.size - 1):
        begin = np.uint64(3 * runs[run])
        # What is too much at the end of a run is overwritten by the next one.
        count = np.uint64((3 * (runs[run + 1] - runs[run]) + VECTOR - 1) // VECTOR * VECTOR)
        for group in range(0, weights.shape[0], TAPS):
            w0, w1, w2 = weights[group], weights[group + 1], weights[group + 2]
            w3, w4, w5 = weights[group + 3], weights[group + 4], weights[group + 5]
            source, last = np.uint64(3 * (first[runs[run]] + group)), group + TAPS == weights.shape[0]
            for step in range(count):
                at, p0 = begin + step, source + step
                p1, p2, p3 = p0 + np.uint64(3), p0 + np.uint64(6), p0 + np.uint64(9)
                p4, p5 = p0 + np.uint64(12), p0 + np.uint64(15)
                one, two = (above[at], below[at]) if group else (lost[at], lost[at])
                one += _weighted(w0[at], upper[p0]) + _weighted(w1[at], upper[p1]) + _weighted(w2[at], upper[p2])
                two += _weighted(w0[at], lower[p0]) + _weighted(w1[at], lower[p1]) + _weighted(w2[at], lower[p2])
                one += _weighted(w3[at], upper[p3]) + _weighted(w4[at], upper[p4]) + _weighted(w5[at], upper[p5])
                two += _weighted(w3[at], lower[p3]) + _weighted(w4[at], lower[p4]) + _weighted(w5[at], lower[p5])
                one, two = np.int16(one), np.int16(two)
                if last:
                    one, two = _factor(one), _factor(two)
                above[at], below[at] = one, two


@compiled
def _filter_pixels(source: Row, first: NDArray[np.int64], weights: Row, into: Row) -> None:
    """Do as `_filter_rows` pixel by pixel, where the runs are too short to gain from."""
    for pixel in range(np.uint64(first.size)):
        at, begin = np.uint64(3) * pixel, np.uint64(3 * first[pixel])
        for colour in range(np.uint64(3)):
            total = np.int32(0)
            for tap in range(np.uint64(weights.shape[0])):
                total += np.int32(weights[tap, at]) * np.int32(source[begin + np.uint64(3) * tap + colour])
            into[at + colour] = _factor(np.int16(total >> HIGH_HALF))


@compiled
def _filter_column(ring: Row, first: int, weights: Row, start: np.int16, sums: Row, into: Pixels) -> None:
    """Filter the rows of `ring` into one, and round it."""
    taps, rows = weights.size, len(ring)
    for group in range(0, taps, TAPS):
        place = first + group
        r0, r1, r2 = ring[place % rows], ring[(place + 1) % rows], ring[(place + 2) % rows]
        r3, r4, r5 = ring[(place + 3) % rows], ring[(place + 4) % rows], ring[(place + 5) % rows]
        w0, w1, w2 = weights[group], weights[group + 1], weights[group + 2]
        w3, w4, w5 = weights[group + 3], weights[group + 4], weights[group + 5]
        last = group + TAPS == taps
        for at in range(np.uint64(into.size)):
            value = sums[at] if group else start
            value += _weighted(w0, r0[at]) + _weighted(w1, r1[at]) + _weighted(w2, r2[at])
            value += _weighted(w3, r3[at]) + _weighted(w4, r4[at]) + _weighted(w5, r5[at])
            value = np.int16(value)
            if last:
                into[at] = np.uint8(min(max(value, DARKEST), BRIGHTEST) >> TO_GREY)
            else:
                sums[at] = value
