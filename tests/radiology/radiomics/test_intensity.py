import numpy as np
import pytest
from scipy import stats

from sparra.radiology.radiomics.intensity import INTENSITY_IBSI_IDS, intensity_statistics


def reference(x: np.ndarray) -> dict[str, float]:
    p10, p25, p50, p75, p90 = np.percentile(x, [10, 25, 50, 75, 90])
    robust = x[(x >= p10) & (x <= p90)]
    return {
        "stat_mean": x.mean(),
        "stat_var": x.var(),
        "stat_skew": stats.skew(x),
        "stat_kurt": stats.kurtosis(x),
        "stat_median": p50,
        "stat_min": x.min(),
        "stat_p10": p10,
        "stat_p90": p90,
        "stat_max": x.max(),
        "stat_iqr": p75 - p25,
        "stat_range": np.ptp(x),
        "stat_mad": np.abs(x - x.mean()).mean(),
        "stat_rmad": np.abs(robust - robust.mean()).mean(),
        "stat_medad": np.abs(x - p50).mean(),
        "stat_cov": x.std() / x.mean(),
        "stat_qcod": (p75 - p25) / (p75 + p25),
        "stat_energy": (x**2).sum(),
        "stat_rms": np.sqrt((x**2).mean()),
    }


def test_each_patch_agrees_with_numpy_and_scipy() -> None:
    rng = np.random.default_rng(0)
    values = np.rint(rng.normal(40, 30, (20, 216)))
    inside = rng.random(values.shape) < rng.uniform(0.1, 1, 20)[:, None]
    found = intensity_statistics(values, inside)
    assert tuple(found) == tuple(INTENSITY_IBSI_IDS)
    for row in range(len(values)):
        for name, expected in reference(values[row, inside[row]]).items():
            assert found[name][row] == pytest.approx(expected, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("count", [1, 2, 27])
def test_constant_patch_has_conventional_values(count: int) -> None:
    inside = np.arange(27)[None] < count
    found = {name: v[0] for name, v in intensity_statistics(np.full((1, 27), 37.3), inside).items()}
    assert found["stat_mean"] == pytest.approx(37.3)
    assert found["stat_energy"] == pytest.approx(count * 37.3**2)
    for name in ("stat_skew", "stat_kurt", "stat_iqr", "stat_range"):
        assert found[name] == 0, name
    for name in ("stat_var", "stat_mad", "stat_rmad", "stat_medad"):
        assert found[name] == pytest.approx(0, abs=1e-9), name


def test_what_lies_outside_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    values, inside = rng.normal(size=(4, 64)), rng.random((4, 64)) < 0.5
    first = intensity_statistics(values, inside)
    second = intensity_statistics(np.where(inside, values, 1e6), inside)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_dispersion_relative_to_a_mean_of_zero_is_undefined() -> None:
    found = intensity_statistics(np.array([[-2.0, -1.0, 1.0, 2.0]]), np.ones((1, 4), bool))
    assert np.isnan(found["stat_cov"][0])
    assert np.isnan(found["stat_qcod"][0])
