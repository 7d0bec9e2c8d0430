"""Compiled sums over the voxels of patches, and over texture matrices, most of whose cells are empty."""

import numpy as np
from numpy.typing import NDArray

from sparra.compiled import compiled

FloatArray = NDArray[np.float64]


@compiled
def summarise_pairs(
    counts: FloatArray, marginal: FloatArray, difference: FloatArray, total: FloatArray, sums: FloatArray
) -> None:
    """Sum up symmetric co-occurrence counts (n, levels, levels), each matrix normalised to 1.

    Writes the distributions of a level (n, levels), of the absolute difference (n, levels) and of the sum
    (n, 2 levels - 1) of two neighbours, and in `sums` (n, 4): the largest cell, the sum of squares, the entropy in
    bits and the covariance.
    """
    levels = counts.shape[1]
    for k in range(len(counts)):
        matrix = counts[k]
        whole = matrix.sum()
        mean = 0.0
        for i in range(levels):
            marginal[k, i] = matrix[i].sum() / whole
            mean += marginal[k, i] * (i + 1)
        largest, squares, entropy, covariance = 0.0, 0.0, 0.0, 0.0
        for i in range(levels):
            if marginal[k, i] == 0.0:
                continue
            for j in range(levels):
                if matrix[i, j] == 0.0:
                    continue
                p = matrix[i, j] / whole
                difference[k, abs(i - j)] += p
                total[k, i + j] += p
                largest = max(largest, p)
                squares += p * p
                entropy -= p * np.log2(p)
                covariance += p * (i + 1 - mean) * (j + 1 - mean)
        sums[k, 0] = largest
        sums[k, 1] = squares
        sums[k, 2] = entropy
        sums[k, 3] = covariance


@compiled
def summarise_sizes(
    counts: FloatArray, sizes: FloatArray, of_level: FloatArray, of_size: FloatArray, sums: FloatArray
) -> None:
    """Sum up counts (n, levels, sizes) of a size matrix, each normalised to 1.

    `sizes` (n or 1, sizes) holds the size of each column. Writes the distributions of level (n, levels) and size
    (n, sizes), and in `sums` (n, 7): the count, the means of i⁻²j⁻², i²j⁻², i⁻²j² and i²j², entropy in bits, and
    the sum of squares.
    """
    for k in range(len(counts)):
        matrix = counts[k]
        own = sizes[k % len(sizes)]
        whole = matrix.sum()
        low_small, high_small, low_large, high_large, entropy, squares = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(matrix.shape[0]):
            high = float((i + 1) * (i + 1))
            for j in range(matrix.shape[1]):
                if matrix[i, j] == 0.0:
                    continue
                p = matrix[i, j] / whole
                large = own[j] * own[j]
                of_level[k, i] += p
                of_size[k, j] += p
                low_small += p / (high * large)
                high_small += p * high / large
                low_large += p * large / high
                high_large += p * high * large
                entropy -= p * np.log2(p)
                squares += p * p
        sums[k, 0] = whole
        sums[k, 1] = low_small
        sums[k, 2] = high_small
        sums[k, 3] = low_large
        sums[k, 4] = high_large
        sums[k, 5] = entropy
        sums[k, 6] = squares


@compiled
def summarise_values(values: NDArray[np.floating], inside: NDArray[np.bool_], sums: FloatArray) -> None:
    """Sum up the values inside, of (n, voxels).

    Writes into `sums` (n, 6): the mean, the second to fourth central moment, the mean absolute deviation from the
    mean and the sum of squares.
    """
    for k in range(len(values)):
        count, total, squares = 0, 0.0, 0.0
        for v in range(values.shape[1]):
            if inside[k, v]:
                count += 1
                x = float(values[k, v])
                total += x
                squares += x * x
        mean = total / count
        second, third, fourth, absolute = 0.0, 0.0, 0.0, 0.0
        for v in range(values.shape[1]):
            if inside[k, v]:
                deviation = float(values[k, v]) - mean
                square = deviation * deviation
                second += square
                third += square * deviation
                fourth += square * square
                absolute += abs(deviation)
        sums[k, 0] = mean
        sums[k, 1] = second / count
        sums[k, 2] = third / count
        sums[k, 3] = fourth / count
        sums[k, 4] = absolute / count
        sums[k, 5] = squares


@compiled
def mean_deviation(ordered: NDArray[np.floating], low: float, high: float, centre: float) -> float:
    """Return the mean absolute deviation of the ordered values within [low, high] from `centre`, or their mean (NaN).

    0 where there is none.
    """
    count, total = 0, 0.0
    for v in range(len(ordered)):
        if low <= ordered[v] <= high:
            count += 1
            total += ordered[v]
    if count == 0:
        return 0.0
    middle = total / count if np.isnan(centre) else centre
    absolute = 0.0
    for v in range(len(ordered)):
        if low <= ordered[v] <= high:
            absolute += abs(ordered[v] - middle)
    return absolute / count


@compiled
def robust_deviations(
    ordered: NDArray[np.floating], low: FloatArray, high: FloatArray, median: FloatArray, found: FloatArray
) -> None:
    """Write two deviations of each row of ordered values (n, voxels), which end in infinities, into `found` (n, 2).

    The mean absolute deviation of the values within [low, high] from their mean, and of all from the median.
    """
    largest = np.finfo(np.float64).max
    for k in range(len(ordered)):
        found[k, 0] = mean_deviation(ordered[k], low[k], high[k], np.nan)
        found[k, 1] = mean_deviation(ordered[k], -largest, largest, median[k])
