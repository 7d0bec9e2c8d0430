"""Compiled counting for texture matrices: each kernel walks the voxels of all patches once.

Levels come padded with a rim of zeros and flattened, so that a neighbour is a fixed number of voxels away and no
neighbour of a voxel inside the patch lies outside the array.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sparra.compiled import compiled

#: The 13 directions [z, y, x] of a voxel's 26 neighbours; the other 13 are their opposites.
DIRECTIONS = tuple(step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0))
#: Those that stay within a slice.
DIRECTIONS_2D = tuple(step for step in DIRECTIONS if step[0] == 0)


@dataclass(frozen=True)
class PaddedLevels:
    """Grey levels of many patches, ready for the kernels.

    Attributes
    ----------
    flat : ndarray of int16, shape (n_patches, n_padded_voxels)
        Levels 1 and up; 0 marks voxels that do not count and the rim.
    strides : tuple of int
        Padded voxels from one slice, row and column to the next.
    shape : tuple of int
        Extent of a patch without its rim, (z, y, x).
    """

    flat: NDArray[np.int16]
    strides: tuple[int, int, int]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, levels: NDArray[np.integer]) -> "PaddedLevels":
        """Pad levels of shape (n_patches, z, y, x)."""
        padded = np.pad(levels.astype(np.int16), ((0, 0), (1, 1), (1, 1), (1, 1)))
        _, _, height, width = padded.shape
        z, y, x = levels.shape[1:]
        return cls(padded.reshape(len(padded), -1), (height * width, width, 1), (z, y, x))

    def offsets(self, steps: tuple[tuple[int, ...], ...]) -> NDArray[np.int64]:
        """Return how many padded voxels away the neighbour at each step [z, y, x] is."""
        return np.array(steps, np.int64).reshape(-1, 3) @ np.array(self.strides, np.int64)


@compiled
def count_pairs(
    flat: NDArray[np.int16], offsets: NDArray[np.int64], slots: NDArray[np.int64], counts: NDArray[np.float64]
) -> None:
    """Add each voxel and its neighbour at each offset to ``counts[patch, slot, level - 1, neighbour's - 1]``."""
    for patch in range(len(flat)):
        for d in range(len(offsets)):
            cells = counts[patch, slots[d]]
            # Positive offsets only: the last voxels are rim.
            here, there = flat[patch, : flat.shape[1] - offsets[d]], flat[patch, offsets[d] :]
            for voxel in range(len(here)):
                if here[voxel] != 0 and there[voxel] != 0:
                    cells[here[voxel] - 1, there[voxel] - 1] += 1.0


@compiled
def count_runs(
    flat: NDArray[np.int16], offsets: NDArray[np.int64], slots: NDArray[np.int64], counts: NDArray[np.float64]
) -> None:
    """Add each longest run of one level along each offset to ``counts[patch, slot, level - 1, length - 1]``.

    Every voxel is first taken as a run of its own, since most are; then the longer runs are looked for.
    """
    histogram = np.empty(counts.shape[2] + 1)
    for patch in range(len(flat)):
        levels = flat[patch]
        histogram[:] = 0.0
        for voxel in range(len(levels)):
            histogram[levels[voxel]] += 1.0
        for d in range(len(offsets)):
            offset = offsets[d]
            cells = counts[patch, slots[d]]
            cells[:, 0] += histogram[1:]
            here, after = levels[: len(levels) - offset], levels[offset:]
            for voxel in range(len(here)):
                level = here[voxel]
                if (level == after[voxel]) & (level != 0) and levels[voxel - offset] != level:
                    end = voxel + offset
                    length = 1
                    while levels[end] == level:
                        end += offset
                        length += 1
                    cells[level - 1, length - 1] += 1.0
                    cells[level - 1, 0] -= length


@compiled
def find_zones(
    flat: NDArray[np.int16], depth: NDArray[np.int16], offsets: NDArray[np.int64], zones: NDArray[np.int32]
) -> int:
    """Find the connected zones of one level; a patch's levels are used up in `flat`.

    Writes (patch, level, size, smallest depth) into the rows of `zones`, which has room for one zone a voxel, and
    returns how many there are. `offsets` holds every neighbour, opposites included.
    """
    found = 0
    stack = np.empty(flat.shape[1], np.int64)
    for patch in range(len(flat)):
        for seed in range(flat.shape[1]):
            level = flat[patch, seed]
            if level == 0:
                continue
            size, nearest, waiting = 0, depth[patch, seed], 1
            stack[0] = seed
            flat[patch, seed] = 0
            while waiting > 0:
                waiting -= 1
                voxel = stack[waiting]
                size += 1
                nearest = min(nearest, depth[patch, voxel])
                for d in range(len(offsets)):
                    other = voxel + offsets[d]
                    if flat[patch, other] == level:
                        flat[patch, other] = 0
                        stack[waiting] = other
                        waiting += 1
            zones[found, 0] = patch
            zones[found, 1] = level
            zones[found, 2] = size
            zones[found, 3] = nearest
            found += 1
    return found


@compiled
def compare_neighbours(
    flat: NDArray[np.int16],
    offsets: NDArray[np.int64],
    coarseness: int,
    dependence: NDArray[np.float64],
    differences: NDArray[np.float64],
) -> None:
    """Compare each voxel with all its neighbours (`offsets`, opposites included) for NGLDM and NGTDM at once.

    Adds to ``dependence[patch, level - 1, k]``, k being the neighbours whose level differs by at most `coarseness`,
    and to ``differences[patch, 0, level - 1]`` (voxels that have neighbours) and ``differences[patch, 1, level - 1]``
    (absolute difference from the neighbours' mean).
    """
    # No neighbour of the voxels from `first` to `last` lies outside the array, and what is cut off is rim.
    first = offsets.max()
    last = flat.shape[1] - first
    total = np.empty(last - first, np.int32)
    neighbours = np.empty(last - first, np.int16)
    alike = np.empty(last - first, np.int16)
    for patch in range(len(flat)):
        here = flat[patch, first:last]
        total[:] = 0
        neighbours[:] = 0
        alike[:] = 0
        for d in range(len(offsets)):
            there = flat[patch, first + offsets[d] : last + offsets[d]]
            # Without branches, so that it vectorises.
            for voxel in range(len(here)):
                counted = there[voxel] != 0
                total[voxel] += there[voxel]
                neighbours[voxel] += counted
                alike[voxel] += counted & (abs(here[voxel] - there[voxel]) <= coarseness)
        for voxel in range(len(here)):
            level = here[voxel]
            if level == 0:
                continue
            dependence[patch, level - 1, alike[voxel]] += 1.0
            if neighbours[voxel] > 0:
                differences[patch, 0, level - 1] += 1.0
                differences[patch, 1, level - 1] += abs(level - total[voxel] / neighbours[voxel])
