"""Univariate Cox regression of 1,792 features: all at once against one fit a feature.

``python -m benchmarks.screening`` fits the paper's 1,792 features (768 of CT, 1,024 of slides) of 205 patients, with
Efron ties as in the paper's code, and prints one JSON line: ``ratio`` (seconds of a loop of scikit-survival's
`CoxPHSurvivalAnalysis` / ours, the median of five), ``max_difference`` (largest difference of the coefficients of
standardised features, over all features) and the seconds. One thread for both. The loop takes about half a minute;
it is given the features standardised, as its iteration starts best there, and its variance is not asked for.
"""

import json
import statistics
import time

import numpy as np
from sksurv.linear_model import CoxPHSurvivalAnalysis
from threadpoolctl import threadpool_limits

from benchmarks.cox_ridge import cohort
from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.screening import univariate_cox

N_FEATURES = 1792
N_SUBJECTS = 205
REPEATS = 5


def one_by_one(features: FloatArray, follow_up: FollowUp) -> tuple[float, FloatArray]:
    """Return the seconds of the loop and the coefficients."""
    outcome = follow_up.structured()
    coefficients = np.empty(features.shape[1])
    start = time.perf_counter()
    for column in range(features.shape[1]):
        coefficients[column] = CoxPHSurvivalAnalysis(ties="efron").fit(features[:, [column]], outcome).coef_[0]
    return time.perf_counter() - start, coefficients


def main() -> None:
    features, follow_up = cohort(N_SUBJECTS, N_FEATURES)
    with threadpool_limits(1):
        univariate_cox(features[:, :5], follow_up)
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            fits = univariate_cox(features, follow_up)
            seconds.append(time.perf_counter() - start)
        loop_seconds, coefficients = one_by_one(features, follow_up)
    figures = {
        "ratio": loop_seconds / statistics.median(seconds),
        "max_difference": float(np.abs(fits.coefficient - coefficients).max()),
        "converged": float(fits.converged.mean()),
        "seconds": statistics.median(seconds),
        "seconds_loop": loop_seconds,
    }
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
