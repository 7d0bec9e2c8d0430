from itertools import product

import numpy as np
import pytest
from skimage.feature import graycomatrix, graycoprops

from sparra.pathology.encoders.stains import halve, resample
from sparra.pathology.encoders.texture import (
    cooccurrence_statistics,
    gradient_statistics,
    local_binary_patterns,
)


def test_gradient_of_a_ramp_is_its_slope() -> None:
    y, x = np.indices((20, 30), dtype=np.float32)
    mean, spread = gradient_statistics(np.stack([0.3 * x + 0.4 * y, np.zeros_like(x)]))
    assert mean == pytest.approx([0.5, 0], abs=1e-5)
    assert spread == pytest.approx([0, 0], abs=2e-3)


def test_gradient_spread_is_the_standard_deviation() -> None:
    plane = np.random.default_rng(0).random((1, 40, 40), dtype=np.float32)
    magnitude = np.hypot((plane[0, 1:-1, 2:] - plane[0, 1:-1, :-2]) / 2, (plane[0, 2:, 1:-1] - plane[0, :-2, 1:-1]) / 2)
    mean, spread = gradient_statistics(plane)
    assert mean[0] == pytest.approx(magnitude.mean(), rel=1e-5)
    assert spread[0] == pytest.approx(magnitude.std(), rel=1e-3)


def test_local_binary_patterns_against_counting() -> None:
    planes = np.random.default_rng(1).integers(0, 4, (2, 9, 11)).astype(np.float32)
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    shares = np.zeros((2, 10))
    for tile, y, x in product(range(2), range(1, 8), range(1, 10)):
        bits = [planes[tile, y + dy, x + dx] >= planes[tile, y, x] for dy, dx in ring]
        changes = sum(bits[place] != bits[place - 1] for place in range(8))
        shares[tile, sum(bits) if changes <= 2 else 9] += 1 / 63
    assert local_binary_patterns(planes) == pytest.approx(shares)


@pytest.mark.parametrize("distance", [1, 4])
def test_cooccurrence_against_scikit_image(distance: int) -> None:
    levels = np.random.default_rng(2).integers(0, 16, (3, 40, 50))
    levels[1] = np.sort(levels[1], axis=0)
    statistics = cooccurrence_statistics((levels * 0.1 + 0.05).astype(np.float32), distance)
    for tile, picture in enumerate(levels.astype(np.uint8)):
        # scikit-image rounds diagonal offsets, so those reach a length of sqrt(2) times the distance.
        straight = graycomatrix(picture, [distance], [0, np.pi / 2], 16, symmetric=True)
        diagonal = graycomatrix(picture, [distance * np.sqrt(2)], [np.pi / 4, 3 * np.pi / 4], 16, symmetric=True)
        matrix = (straight.sum(axis=3) + diagonal.sum(axis=3))[..., None].astype(float)
        matrix /= matrix.sum()
        assert statistics["contrast"][tile] == pytest.approx(graycoprops(matrix, "contrast").item())
        assert statistics["correlation"][tile] == pytest.approx(graycoprops(matrix, "correlation").item())
        assert statistics["angular_second_moment"][tile] == pytest.approx(graycoprops(matrix, "ASM").item())
        seen = matrix[matrix > 0]
        assert statistics["joint_entropy"][tile] == pytest.approx(-(seen * np.log2(seen)).sum())
        gap = np.abs(np.subtract.outer(np.arange(16), np.arange(16)))
        assert statistics["inverse_difference"][tile] == pytest.approx((matrix[..., 0, 0] / (1 + gap)).sum())


def test_halving_is_the_mean_of_blocks() -> None:
    planes = np.random.default_rng(3).random((2, 8, 12), dtype=np.float32)
    assert halve(planes) == pytest.approx(planes.reshape(2, 4, 2, 6, 2).mean(axis=(2, 4)), rel=1e-6)


@pytest.mark.parametrize("side", [64, 128, 200, 400])
def test_resampling_keeps_places_and_flat_colours(side: int) -> None:
    phase = (np.arange(200) + 0.5) / 200
    tile = np.broadcast_to(128 + 90 * np.cos(2 * np.pi * 5 * phase)[None, :, None], (200, 200, 3))
    flat = np.full((200, 200, 3), 77)
    resampled = resample(np.stack([np.rint(tile), flat]).astype(np.uint8), side)
    truth = 128 + 90 * np.cos(2 * np.pi * 5 * (np.arange(side) + 0.5) / side)
    assert np.abs(resampled[0, :, :, 1] - truth[None, :])[:, 3:-3].max() < 7
    assert (resampled[1] == 77).all()
