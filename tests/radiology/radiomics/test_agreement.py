import numpy as np
import pytest

from sparra.radiology.radiomics.agreement import intraclass_correlation

#: Six targets rated by four judges: table 2 of Shrout & Fleiss 1979.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])


def test_shrout_and_fleiss_worked_example() -> None:
    found = intraclass_correlation(SHROUT_FLEISS)
    # Table 4 of the paper; the intervals as published for it with R's psych::ICC.
    assert round(found.icc_2_1, 2) == 0.29
    assert round(found.icc_3_1, 2) == 0.71
    assert (round(found.icc_2_1_lower, 2), round(found.icc_2_1_upper, 2)) == (0.02, 0.76)
    assert (round(found.icc_3_1_lower, 2), round(found.icc_3_1_upper, 2)) == (0.34, 0.95)


def test_a_shift_by_a_condition_counts_against_agreement_only() -> None:
    truth = np.random.default_rng(0).normal(size=(30, 1))
    shifted = intraclass_correlation(truth + np.array([0.0, 5.0, -3.0]))
    assert shifted.icc_3_1 == pytest.approx(1)
    assert shifted.icc_2_1 < 0.1
    exact = intraclass_correlation(np.repeat(truth, 3, axis=1))
    assert (exact.icc_2_1, exact.icc_2_1_lower, exact.icc_3_1_upper) == (1, 1, 1)


def test_planted_shares_of_variance_are_found() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 3, (400, 1)) + rng.normal(0, 1, (1, 40)) + rng.normal(0, 2, (400, 40))
    found = intraclass_correlation(values)
    assert found.icc_2_1 == pytest.approx(9 / (9 + 1 + 4), abs=0.05)
    assert found.icc_3_1 == pytest.approx(9 / (9 + 4), abs=0.05)
    assert found.icc_2_1_lower < found.icc_2_1 < found.icc_2_1_upper


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((5, 3), 2.5), "all measurements are equal"),
        (np.ones((1, 3)), "takes two of each"),
        (np.array([[1, 2], [np.nan, 3], [4, 5]]), "not finite"),
    ],
)
def test_undefined_is_nan_with_a_reason(values: np.ndarray, reason: str) -> None:
    found = intraclass_correlation(values)
    assert np.isnan(found.icc_2_1)
    assert np.isnan(found.icc_3_1)
    assert reason in found.reason
