"""Compiled loops of the fast path on the CPU: masks of dropout, rows of sparse products, their gradients; those of
ReLU are in `relu_kernels`.

All work in place on arrays that the caller made, so that no large temporary is allocated. Arrays of bfloat16 come as
their bits, int16; sums are always taken in float32.
"""

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparra.compiled import Kernel, compiled_in_order
from sparra.models.threads import in_threads


def as_bits(tensor: Tensor) -> NDArray[Any]:
    """View a CPU tensor of float32 or bfloat16 as integers of its width."""
    return tensor.detach().view(torch.int16 if tensor.itemsize == 2 else torch.int32).numpy()


def as_array(tensor: Tensor) -> NDArray[Any]:
    """View a CPU tensor as an array, bfloat16 as its bits."""
    tensor = tensor.detach()
    return tensor.view(torch.int16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


# Of each byte, its eight bits as masks: all ones where the bit is set.
BIT_MASKS = -np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.int64)


@compiled_in_order
def drop(
    first: int, last: int, values: NDArray[Any], key: int, lane_bits: int, threshold: int, masks: NDArray[Any]
) -> None:
    """Set each value to zero with probability threshold / 2^lane_bits.

    Value i takes bits of SplitMix64 (Steele et al. 2014) seeded with `key`, word by word, so the mask depends neither
    on the order nor on the number of threads.

    Parameters
    ----------
    first, last : int
        Range of blocks of 64 values.
    values : ndarray of int32 or int16, shape (n,)
        Bits of floats.
    key : int
    lane_bits : int
        Random bits spent on one value: 1, 2, 4, 8 or 16.
    threshold : int
    masks : ndarray of the type of `values`, shape (256, 8)
        `BIT_MASKS`.
    """
    lanes = 64 // lane_bits
    lane_mask = np.uint64((1 << lane_bits) - 1)
    for block in range(first, last):
        keep = np.uint64(0)
        for part in range(lane_bits):
            word = np.uint64(key) + np.uint64(block * lane_bits + part + 1) * np.uint64(0x9E3779B97F4A7C15)
            word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            word = word ^ (word >> np.uint64(31))
            if lane_bits == 1:
                keep = word
            else:
                for lane in range(lanes):
                    kept = ((word >> np.uint64(lane * lane_bits)) & lane_mask) >= np.uint64(threshold)
                    keep |= np.uint64(kept) << np.uint64(part * lanes + lane)
        for octet in range(8):
            row = masks[(keep >> np.uint64(8 * octet)) & np.uint64(255)]
            start = block * 64 + octet * 8
            if start + 8 <= len(values):
                for lane in range(8):
                    values[start + lane] &= row[lane]
            else:
                for place in range(start, len(values)):
                    values[place] &= row[place - start]


@compiled_in_order
def _project(first: int, last: int, rows: NDArray[Any], direction: NDArray[np.float32], out: NDArray[Any]) -> None:
    for row in range(first, last):
        lanes = np.zeros(16, np.float32)
        for start in range(0, rows.shape[1], 16):
            if start + 16 <= rows.shape[1]:
                for lane in range(16):
                    lanes[lane] += rows[row, start + lane] * direction[start + lane]
            else:
                for lane in range(rows.shape[1] - start):
                    lanes[lane] += rows[row, start + lane] * direction[start + lane]
        out[row] = lanes.sum()


@compiled_in_order
def _project_bits(first: int, last: int, rows: NDArray[Any], direction: NDArray[np.float32], out: NDArray[Any]) -> None:
    width = rows.shape[1]
    bits = np.zeros(width, np.int32)
    decoded = bits.view(np.float32)
    for row in range(first, last):
        for column in range(width):
            bits[column] = np.int32(rows[row, column]) << 16
        lanes = np.zeros(16, np.float32)
        for column in range(width):
            lanes[column % 16] += decoded[column] * direction[column]
        out[row] = lanes.sum()


def project(rows: Tensor, direction: Tensor) -> Tensor:
    """Return `rows` (n, width) times `direction` (width,) in float32."""
    out = torch.empty(len(rows), dtype=torch.float32)
    if rows.dtype == torch.bfloat16:
        in_threads(_project_bits, len(rows), as_array(rows), as_array(direction.float().contiguous()), out.numpy())
        return out
    return torch.mv(rows, direction, out=out)


# No fused multiply-add here: two nodes that have only each other as neighbours get equal scores, to the last bit,
# whatever their order, so that their tie is broken by place and not by rounding.
@cast(Callable[[Kernel], Kernel], numba.njit(cache=True, nogil=True))
def smooth_scalars(
    first: int,
    last: int,
    values: NDArray[np.float32],
    row_starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    root: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Normalised adjacency times one value a node."""
    for row in range(first, last):
        total = root[row] * values[row]
        for edge in range(row_starts[row], row_starts[row + 1]):
            total += root[columns[edge]] * values[columns[edge]]
        out[row] = root[row] * total


@compiled_in_order
def smooth_rows(
    first: int,
    last: int,
    features: NDArray[np.float32],
    row_starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    root: NDArray[np.float32],
    kept: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Rows `kept` of the normalised adjacency times `features` (n, width)."""
    width = features.shape[1]
    for place in range(first, last):
        row = kept[place]
        for column in range(width):
            out[place, column] = root[row] * root[row] * features[row, column]
        for edge in range(row_starts[row], row_starts[row + 1]):
            other = columns[edge]
            weight = root[row] * root[other]
            for column in range(width):
                out[place, column] += weight * features[other, column]


@compiled_in_order
def smooth_rows_bits(
    first: int,
    last: int,
    features: NDArray[np.int16],
    row_starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    root: NDArray[np.float32],
    kept: NDArray[np.int64],
    out: NDArray[np.int16],
) -> None:
    """As `smooth_rows`, of bfloat16 given as bits; sums are rounded once, to the nearest, ties to even."""
    width = features.shape[1]
    bits, total_bits = np.zeros((2, width), np.int32)
    decoded, total = bits.view(np.float32), total_bits.view(np.float32)
    for place in range(first, last):
        row = kept[place]
        total[:] = 0
        for edge in range(row_starts[row] - 1, row_starts[row + 1]):
            other = row if edge < row_starts[row] else columns[edge]
            weight = root[row] * root[other]
            for column in range(width):
                bits[column] = np.int32(features[other, column]) << 16
            for column in range(width):
                total[column] += weight * decoded[column]
        for column in range(width):
            out[place, column] = (total_bits[column] + 0x7FFF + ((total_bits[column] >> 16) & 1)) >> 16


@compiled_in_order
def _induced(
    row_starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    kept: NDArray[np.int64],
    place_of: NDArray[np.int64],
    out: NDArray[np.int64],
) -> int:
    count = 0
    for place in range(len(kept)):
        for edge in range(row_starts[kept[place]], row_starts[kept[place] + 1]):
            other = place_of[columns[edge]]
            if other >= 0:
                out[0, count] = place
                out[1, count] = other
                count += 1
    return count


def induced_edges(row_starts: Tensor, columns: Tensor, kept: Tensor) -> Tensor:
    """Return the edges between the nodes `kept` (ascending), numbered anew, shape (2, n_kept_edges)."""
    place_of = np.full(len(row_starts) - 1, -1)
    place_of[kept.numpy()] = np.arange(len(kept))
    room = int((row_starts[kept + 1] - row_starts[kept]).sum())
    edges = np.empty((2, room), dtype=np.int64)
    count = _induced(row_starts.numpy(), columns.numpy(), kept.numpy(), place_of, edges)
    return torch.from_numpy(np.ascontiguousarray(edges[:, :count]))


@compiled_in_order
def mark_reached(
    place_of: NDArray[np.int64],
    row_starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    reached: NDArray[np.bool_],
) -> None:
    """Mark the nodes that are, or are next to, a node whose `place_of` is not negative."""
    for row in range(len(place_of)):
        if place_of[row] >= 0:
            reached[row] = True
            for edge in range(row_starts[row], row_starts[row + 1]):
                reached[columns[edge]] = True


@compiled_in_order
def spread_rows(
    first: int,
    last: int,
    gradients: NDArray[np.float32],
    row_starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    root: NDArray[np.float32],
    place_of: NDArray[np.int64],
    rows: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Gradient of `smooth_rows` at the nodes `rows`: the sum over the kept nodes next to them, and themselves.

    ``place_of`` says which row of `gradients` belongs to a node, -1 where none does. The adjacency is symmetric.
    """
    width = gradients.shape[1]
    for place in range(first, last):
        row = rows[place]
        for column in range(width):
            out[place, column] = 0
        for edge in range(row_starts[row] - 1, row_starts[row + 1]):
            other = row if edge < row_starts[row] else columns[edge]
            source = place_of[other]
            if source >= 0:
                weight = root[row] * root[other]
                for column in range(width):
                    out[place, column] += weight * gradients[source, column]


@compiled_in_order
def spread_rows_bits(
    first: int,
    last: int,
    gradients: NDArray[np.int16],
    row_starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    root: NDArray[np.float32],
    place_of: NDArray[np.int64],
    rows: NDArray[np.int64],
    out: NDArray[np.int16],
) -> None:
    """As `spread_rows`, of bfloat16 given as bits; sums are rounded once, to the nearest, ties to even."""
    width = gradients.shape[1]
    bits, total_bits = np.zeros((2, width), np.int32)
    decoded, total = bits.view(np.float32), total_bits.view(np.float32)
    for place in range(first, last):
        row = rows[place]
        total[:] = 0
        for edge in range(row_starts[row] - 1, row_starts[row + 1]):
            other = row if edge < row_starts[row] else columns[edge]
            source = place_of[other]
            if source >= 0:
                weight = root[row] * root[other]
                for column in range(width):
                    bits[column] = np.int32(gradients[source, column]) << 16
                for column in range(width):
                    total[column] += weight * decoded[column]
        for column in range(width):
            out[place, column] = (total_bits[column] + 0x7FFF + ((total_bits[column] >> 16) & 1)) >> 16


@compiled_in_order
def mark_used(rows: NDArray[Any], magnitude: int, used: NDArray[np.bool_]) -> None:
    """Mark the rows of bits (n, width) that hold more than zeros; `magnitude` masks the sign, which a zero may have."""
    for row in range(len(rows)):
        for column in range(rows.shape[1]):
            if rows[row, column] & magnitude:
                used[row] = True
                break
