"""Runs, zones, dependence and neighbourhood differences against the manual's definitions, voxel by voxel."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sparra.radiology.radiomics.emphasis import DEPENDENCE_IBSI_IDS, DISTANCE_ZONE_IBSI_IDS, RUN_IBSI_IDS, ZONE_IBSI_IDS
from sparra.radiology.radiomics.kernels import DIRECTIONS
from sparra.radiology.radiomics.texture import TEXTURE_IBSI_IDS, Aggregation, texture_features

ALL = list(TEXTURE_IBSI_IDS)
NEIGHBOURS = [step for step in product((-1, 0, 1), repeat=3) if step != (0, 0, 0)]


@pytest.fixture
def patches() -> np.ndarray:
    """Eight patches of all kinds of masks, with levels 0 (outside) to 4."""
    rng = np.random.default_rng(11)
    levels = rng.integers(1, 5, (8, 4, 5, 3))
    outside = rng.random(levels.shape) < np.linspace(0, 0.7, 8)[:, None, None, None]
    return np.where(outside, 0, levels)


def at(levels: np.ndarray, voxel: tuple[int, ...]) -> int:
    inside = all(0 <= v < n for v, n in zip(voxel, levels.shape, strict=True))
    return int(levels[voxel]) if inside else 0


def runs(levels: np.ndarray) -> Counter:
    """Count (level, length) of the longest runs along the 13 directions."""
    found: Counter = Counter()
    for step in DIRECTIONS:
        for voxel in np.argwhere(levels):
            level = at(levels, tuple(voxel))
            if at(levels, tuple(voxel - step)) == level:
                continue
            length = 1
            while at(levels, tuple(voxel + length * np.array(step))) == level:
                length += 1
            found[level, length] += 1
    return found


def zones(levels: np.ndarray) -> tuple[Counter, Counter]:
    """Count (level, voxels) and (level, distance from the border) of the 26-connected zones."""
    depth = np.zeros(levels.shape, int)
    inside = np.pad(levels > 0, 1)
    while inside.any():
        depth += inside[1:-1, 1:-1, 1:-1]
        inside = ndimage.binary_erosion(inside)
    by_size, by_depth = Counter(), Counter()
    for level in np.unique(levels[levels > 0]):
        labels, count = ndimage.label(levels == level, np.ones((3, 3, 3)))
        for zone in range(1, count + 1):
            by_size[int(level), int((labels == zone).sum())] += 1
            by_depth[int(level), int(depth[labels == zone].min())] += 1
    return by_size, by_depth


def dependence(levels: np.ndarray, coarseness: int) -> Counter:
    """Count (level, 1 + neighbours within `coarseness`)."""
    found: Counter = Counter()
    for voxel in np.argwhere(levels):
        level = at(levels, tuple(voxel))
        around = [at(levels, tuple(voxel + step)) for step in NEIGHBOURS]
        found[level, 1 + sum(a > 0 and abs(a - level) <= coarseness for a in around)] += 1
    return found


def sums(counts: Counter, voxels: int) -> list[float]:
    """The sums of the IBSI reference manual over a matrix, term by term."""
    cells = [(i, j, c) for (i, j), c in counts.items()]
    total = sum(c for _, _, c in cells)
    of_level, of_size = Counter(), Counter()
    for i, j, c in cells:
        of_level[i] += c
        of_size[j] += c
    mean_i, mean_j = sum(i * c for i, _, c in cells) / total, sum(j * c for _, j, c in cells) / total
    return [
        sum(c / j**2 for i, j, c in cells) / total,
        sum(c * j**2 for i, j, c in cells) / total,
        sum(c / i**2 for i, j, c in cells) / total,
        sum(c * i**2 for i, j, c in cells) / total,
        sum(c / i**2 / j**2 for i, j, c in cells) / total,
        sum(c * i**2 / j**2 for i, j, c in cells) / total,
        sum(c * j**2 / i**2 for i, j, c in cells) / total,
        sum(c * i**2 * j**2 for i, j, c in cells) / total,
        sum(c**2 for c in of_level.values()) / total,
        sum(c**2 for c in of_level.values()) / total**2,
        sum(c**2 for c in of_size.values()) / total,
        sum(c**2 for c in of_size.values()) / total**2,
        total / voxels,
        sum(c * (i - mean_i) ** 2 for i, j, c in cells) / total,
        sum(c * (j - mean_j) ** 2 for i, j, c in cells) / total,
        -sum(c / total * np.log2(c / total) for _, _, c in cells),
        sum((c / total) ** 2 for _, _, c in cells),
    ]


@pytest.mark.parametrize("coarseness", [0, 1])
def test_counting_families_agree_with_brute_force(patches: np.ndarray, coarseness: int) -> None:
    found = texture_features(patches, 4, ALL, coarseness=coarseness)
    for row, levels in enumerate(patches):
        voxels = int((levels > 0).sum())
        by_size, by_depth = zones(levels)
        for names, counts, divisor in (
            (RUN_IBSI_IDS, runs(levels), 13 * voxels),
            (ZONE_IBSI_IDS, by_size, voxels),
            (DISTANCE_ZONE_IBSI_IDS, by_depth, voxels),
            (DEPENDENCE_IBSI_IDS, dependence(levels, coarseness), voxels),
        ):
            for name, expected in zip(names, sums(counts, divisor), strict=False):
                assert found[name][row] == pytest.approx(expected, rel=1e-9, abs=1e-9), (row, name)


def test_neighbourhood_differences_agree_with_brute_force(patches: np.ndarray) -> None:
    found = texture_features(patches, 4, ["ngtdm"])
    for row, levels in enumerate(patches):
        n, s = Counter(), Counter()
        for voxel in np.argwhere(levels):
            around = [a for step in NEIGHBOURS if (a := at(levels, tuple(voxel + step)))]
            if around:
                level = at(levels, tuple(voxel))
                n[level] += 1
                s[level] += abs(level - np.mean(around))
        total = sum(n.values())
        p = {i: c / total for i, c in n.items()}
        pairs = [(i, j) for i in p for j in p]
        expected = {
            "ngt_coarseness": 1 / sum(p[i] * s[i] for i in p),
            "ngt_contrast": sum(p[i] * p[j] * (i - j) ** 2 for i, j in pairs)
            / (len(p) * (len(p) - 1))
            * sum(s.values())
            / total,
            "ngt_busyness": sum(p[i] * s[i] for i in p) / sum(abs(i * p[i] - j * p[j]) for i, j in pairs),
            "ngt_complexity": sum(abs(i - j) * (p[i] * s[i] + p[j] * s[j]) / (p[i] + p[j]) for i, j in pairs) / total,
            "ngt_strength": sum((p[i] + p[j]) * (i - j) ** 2 for i, j in pairs) / sum(s.values()),
        }
        for name, value in expected.items():
            assert found[name][row] == pytest.approx(value, rel=1e-9), (row, name)


@pytest.mark.parametrize("aggregation", ["3d_merged", "3d_averaged", "2d_averaged", "2d_merged", "2.5d_merged"])
def test_patches_do_not_mix(patches: np.ndarray, aggregation: Aggregation) -> None:
    together = texture_features(patches, 4, ALL, aggregation)
    for row, levels in enumerate(patches):
        alone = texture_features(levels[None], 4, ALL, aggregation)
        for name, value in alone.items():
            assert together[name][row] == pytest.approx(value[0], rel=1e-12), name


@pytest.mark.parametrize("aggregation", ["2d_averaged", "2d_merged", "2.5d_averaged", "2.5d_merged"])
def test_one_slice_repeated_with_gaps_is_that_slice(aggregation: Aggregation) -> None:
    """Slices apart have no neighbours across them, so averages over equal slices are the slice's own."""
    rng = np.random.default_rng(2)
    slice_ = np.where(rng.random((6, 7)) < 0.2, 0, rng.integers(1, 4, (6, 7)))
    stack = np.stack([slice_, np.zeros_like(slice_), slice_])
    one = texture_features(slice_[None, None], 3, ALL, aggregation)
    three = texture_features(stack[None], 3, ALL, aggregation)
    for name, value in one.items():
        extensive = name.endswith(("_glnu", "rlnu", "zsnu", "zdnu", "dcnu")) or name.startswith("ngt_")
        if not (extensive and aggregation.startswith("2.5d")):
            assert three[name][0] == pytest.approx(value[0], rel=1e-12), name


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_turning_a_patch_by_a_right_angle_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 4, (4, 4, 4))
    levels[0, 0, 0] = 1
    plane = [(0, 1), (0, 2), (1, 2)][rng.integers(3)]
    before = texture_features(levels[None], 3, ALL)
    after = texture_features(np.rot90(levels, axes=plane)[None], 3, ALL)
    for name, value in before.items():
        assert after[name][0] == pytest.approx(value[0], rel=1e-9, abs=1e-12), name


def test_a_lonely_voxel_is_finite() -> None:
    levels = np.zeros((1, 3, 3, 3), int)
    levels[0, 1, 1, 1] = 2
    found = texture_features(levels, 3, ALL)
    assert all(np.isfinite(value[0]) for value in found.values())
    assert found["ngt_coarseness"][0] == 1e6
    assert found["szm_sze"][0] == found["rlm_sre"][0] == found["ngl_lde"][0] == 1
