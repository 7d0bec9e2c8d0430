from itertools import product

import numpy as np
import pytest

from sparra.radiology.radiomics.cooccurrence import COOCCURRENCE_IBSI_IDS, cooccurrence_features
from sparra.radiology.radiomics.kernels import DIRECTIONS
from sparra.radiology.radiomics.texture import texture_features


def brute_force_matrix(levels: np.ndarray, n: int) -> np.ndarray:
    """Visit each voxel and all its 26 neighbours."""
    counts = np.zeros((n, n))
    for voxel in product(*[range(s) for s in levels.shape]):
        for step in product((-1, 0, 1), repeat=3):
            other = tuple(np.add(voxel, step))
            outside = any(not 0 <= o < s for o, s in zip(other, levels.shape, strict=True))
            if step == (0, 0, 0) or outside or not levels[voxel] or not levels[other]:
                continue
            counts[levels[voxel] - 1, levels[other] - 1] += 1
    return counts / counts.sum()


def brute_force_features(p: np.ndarray) -> dict[str, float]:
    """The sums of the IBSI reference manual, term by term."""
    n = len(p)
    cells = [(i + 1, j + 1, p[i, j]) for i in range(n) for j in range(n)]
    row, column = p.sum(axis=1), p.sum(axis=0)
    mean = sum(i * q for i, j, q in cells)
    var = sum((i - mean) ** 2 * q for i, j, q in cells)
    diff = {k: sum(q for i, j, q in cells if abs(i - j) == k) for k in range(n)}
    total = {k: sum(q for i, j, q in cells if i + j == k) for k in range(2, 2 * n + 1)}
    diff_avg = sum(k * q for k, q in diff.items())
    sum_avg = sum(k * q for k, q in total.items())
    hxy = entropy(q for _, _, q in cells)
    hx = entropy(row)
    hxy1 = -sum(q * np.log2(row[i - 1] * column[j - 1]) for i, j, q in cells if q > 0)
    hxy2 = entropy(row[i - 1] * column[j - 1] for i, j, _ in cells)
    return {
        "cm_joint_max": p.max(),
        "cm_joint_avg": mean,
        "cm_joint_var": var,
        "cm_joint_entr": hxy,
        "cm_diff_avg": diff_avg,
        "cm_diff_var": sum((k - diff_avg) ** 2 * q for k, q in diff.items()),
        "cm_diff_entr": entropy(diff.values()),
        "cm_sum_avg": sum_avg,
        "cm_sum_var": sum((k - sum_avg) ** 2 * q for k, q in total.items()),
        "cm_sum_entr": entropy(total.values()),
        "cm_energy": sum(q**2 for _, _, q in cells),
        "cm_contrast": sum((i - j) ** 2 * q for i, j, q in cells),
        "cm_dissimilarity": sum(abs(i - j) * q for i, j, q in cells),
        "cm_inv_diff": sum(q / (1 + abs(i - j)) for i, j, q in cells),
        "cm_inv_diff_norm": sum(q / (1 + abs(i - j) / n) for i, j, q in cells),
        "cm_inv_diff_mom": sum(q / (1 + (i - j) ** 2) for i, j, q in cells),
        "cm_inv_diff_mom_norm": sum(q / (1 + (i - j) ** 2 / n**2) for i, j, q in cells),
        "cm_inv_var": 2 * sum(q / (i - j) ** 2 for i, j, q in cells if j > i),
        "cm_corr": (sum(i * j * q for i, j, q in cells) - mean**2) / var,
        "cm_auto_corr": sum(i * j * q for i, j, q in cells),
        "cm_clust_tend": sum((i + j - 2 * mean) ** 2 * q for i, j, q in cells),
        "cm_clust_shade": sum((i + j - 2 * mean) ** 3 * q for i, j, q in cells),
        "cm_clust_prom": sum((i + j - 2 * mean) ** 4 * q for i, j, q in cells),
        "cm_info_corr1": (hxy - hxy1) / hx,
        "cm_info_corr2": np.sqrt(1 - np.exp(-2 * (hxy2 - hxy))),
    }


def entropy(probabilities: object) -> float:
    return -sum(q * np.log2(q) for q in probabilities if q > 0)  # type: ignore[attr-defined]


@pytest.fixture
def patches() -> np.ndarray:
    """Nine patches of all kinds of masks, with levels 0 (outside) to 5."""
    rng = np.random.default_rng(7)
    levels = rng.integers(1, 6, (9, 4, 5, 3))
    outside = rng.random(levels.shape) < np.linspace(0, 0.8, 9)[:, None, None, None]
    return np.where(outside, 0, levels)


def test_thirteen_directions_and_their_opposites_are_all_neighbours() -> None:
    opposite = {tuple(-s for s in step) for step in DIRECTIONS}
    assert len(DIRECTIONS) == 13
    assert len(opposite | set(DIRECTIONS)) == 26


def test_features_agree_with_brute_force(patches: np.ndarray) -> None:
    together = texture_features(patches, 5, ["glcm"])
    assert tuple(together) == tuple(COOCCURRENCE_IBSI_IDS)
    for row, levels in enumerate(patches):
        matrix = brute_force_matrix(levels, 5)
        alone = cooccurrence_features(matrix[None])
        for name, value in brute_force_features(matrix).items():
            assert alone[name][0] == pytest.approx(value, rel=1e-9, abs=1e-9), name
            assert together[name][row] == pytest.approx(value, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("lonely", [False, True])
def test_patch_of_one_level_has_conventional_values(lonely: bool) -> None:
    levels = np.zeros((1, 3, 3, 3), int)
    levels[0, 0, 0, 0] = 4
    if not lonely:
        levels[:] = 4
    found = {k: v[0] for k, v in texture_features(levels, 6, ["glcm"]).items()}
    assert found["cm_corr"] == 1
    assert found["cm_info_corr1"] == found["cm_info_corr2"] == 0
    assert found["cm_joint_avg"] == 4
    assert found["cm_energy"] == found["cm_inv_diff"] == 1
    assert found["cm_contrast"] == found["cm_joint_entr"] == found["cm_joint_var"] == 0


def test_isolated_voxels_count_as_their_own_neighbours() -> None:
    levels = np.zeros((1, 3, 3, 3), int)
    levels[0, 0, 0, 0], levels[0, 2, 2, 2] = 1, 3
    expected = cooccurrence_features(np.diag([0.5, 0, 0.5])[None])
    found = texture_features(levels, 3, ["glcm"])
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name)
