"""Compiled loops of a bias and ReLU: forward in place, a bit a value kept, gradients by these bits.

Arrays of bfloat16 come as their bits, int16, as in `kernels`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparra.compiled import compiled_in_order


@compiled_in_order
def pack_positive(values: NDArray[Any], packed: NDArray[np.uint8]) -> None:
    """Set bit c % 8 of byte c // 8 of each row of `packed` where value c is positive; `values` (n, width) are bits."""
    width = values.shape[1]
    for row in range(values.shape[0]):
        for octet in range(packed.shape[1]):
            byte = 0
            for lane in range(min(8, width - 8 * octet)):
                byte |= (values[row, 8 * octet + lane] > 0) << lane
            packed[row, octet] = byte


@compiled_in_order
def _mask_row(gradient: NDArray[Any], packed: NDArray[np.uint8], masks: NDArray[Any], out: NDArray[Any]) -> None:
    for octet in range(len(packed)):
        lanes = masks[packed[octet]]
        start = 8 * octet
        if start + 8 <= len(gradient):
            for lane in range(8):
                out[start + lane] = gradient[start + lane] & lanes[lane]
        else:
            for lane in range(len(gradient) - start):
                out[start + lane] = gradient[start + lane] & lanes[lane]


@compiled_in_order
def where_packed(
    gradients: NDArray[np.int32],
    packed: NDArray[np.uint8],
    rows: NDArray[np.int64],
    masks: NDArray[np.int32],
    out: NDArray[np.int32],
    sums: NDArray[np.float32],
) -> None:
    """Copy `gradients` (n, width) where the bits of row `rows` of `packed` are set, else 0; add columns to `sums`.

    Floats come as their bits; `masks` are `BIT_MASKS` of their type.
    """
    values = out.view(np.float32)
    for place in range(len(rows)):
        _mask_row(gradients[place], packed[rows[place]], masks, out[place])
        for column in range(out.shape[1]):
            sums[column] += values[place, column]


@compiled_in_order
def where_packed_bits(
    gradients: NDArray[np.int16],
    packed: NDArray[np.uint8],
    rows: NDArray[np.int64],
    masks: NDArray[np.int16],
    out: NDArray[np.int16],
    sums: NDArray[np.float32],
) -> None:
    """As `where_packed`, of bfloat16."""
    width = out.shape[1]
    bits = np.zeros(width, np.int32)
    decoded = bits.view(np.float32)
    for place in range(len(rows)):
        _mask_row(gradients[place], packed[rows[place]], masks, out[place])
        for column in range(width):
            bits[column] = np.int32(out[place, column]) << 16
        for column in range(width):
            sums[column] += decoded[column]


@compiled_in_order
def add_bias_relu(values: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Replace `values` (n, width) by relu(values + bias); NaN stays."""
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            shifted = values[row, column] + bias[column]
            values[row, column] = np.float32(0) if shifted < 0 else shifted


@compiled_in_order
def add_bias_relu_bits(values: NDArray[np.int16], bias: NDArray[np.float32]) -> None:
    """As `add_bias_relu`, of bfloat16 given as bits; the sum is rounded to the nearest, ties to even."""
    width = values.shape[1]
    bits = np.zeros(width, np.int32)
    decoded = bits.view(np.float32)
    for row in range(values.shape[0]):
        for column in range(width):
            bits[column] = np.int32(values[row, column]) << 16
        for column in range(width):
            shifted = decoded[column] + bias[column]
            decoded[column] = np.float32(0) if shifted < 0 else shifted
        for column in range(width):
            values[row, column] = (bits[column] + 0x7FFF + ((bits[column] >> 16) & 1)) >> 16
