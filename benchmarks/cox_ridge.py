"""Cox regression with a ridge penalty and more features than patients: in the row space against the direct fit.

``python -m benchmarks.cox_ridge`` fits 1,536 features of 164 patients, as many as the paper's training part, at
penalties at which scikit-survival's own Newton iteration converges, and prints one JSON line: ``ratio`` (direct
seconds / ours, all penalties together; ours is the median of ten fits), ``max_difference`` (largest difference of
the linear predictors) and the seconds. One thread for both. The direct fits take about half a minute.
"""

import json
import statistics
import sys
import time
import warnings

import numpy as np
from sksurv.linear_model import CoxPHSurvivalAnalysis
from threadpoolctl import threadpool_limits

from sparra.survival.estimators.coxph import CoxRidge
from sparra.survival.outcomes import FloatArray, FollowUp

N_FEATURES = 1536
N_SUBJECTS = 164
PENALTIES = (10_000.0, 100.0)
REPEATS = 10


def cohort(n_subjects: int, n_features: int, seed: int = 0) -> tuple[FloatArray, FollowUp]:
    """Return standardised features of 20 latent factors and follow-up in days with ties, about half censored."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n_subjects, 20))
    features = factors @ rng.normal(size=(20, n_features)) + 2.0 * rng.normal(size=(n_subjects, n_features))
    death = rng.exponential(np.exp(-factors[:, 0]))
    censoring = rng.exponential(1.5, n_subjects)
    time_days = np.ceil(np.minimum(death, censoring) * 300)
    standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    return standardised, FollowUp(time_days, death <= censoring)


def ours(features: FloatArray, follow_up: FollowUp, penalty: float) -> tuple[float, FloatArray]:
    """Return the median seconds of a fit, the row space included, and the linear predictor."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        fitted = CoxRidge().fit(features, follow_up, penalty, seed=0)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), fitted.risk(features)


def direct(features: FloatArray, follow_up: FollowUp, penalty: float) -> tuple[float, FloatArray]:
    """Return the seconds of scikit-survival's fit and its linear predictor; a fit that did not converge raises."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = CoxPHSurvivalAnalysis(alpha=penalty).fit(features, follow_up.structured())
    return time.perf_counter() - start, features @ fitted.coef_


def main() -> None:
    features, follow_up = cohort(N_SUBJECTS, N_FEATURES)
    figures: dict[str, float] = {}
    totals, difference = np.zeros(2), 0.0
    with threadpool_limits(1):
        for penalty in PENALTIES:
            our_seconds, our_predictor = ours(features, follow_up, penalty)
            direct_seconds, direct_predictor = direct(features, follow_up, penalty)
            print(f"penalty {penalty:g}: {our_seconds:.4f} s, {direct_seconds:.2f} s", file=sys.stderr, flush=True)
            totals += (our_seconds, direct_seconds)
            difference = max(difference, float(np.abs(our_predictor - direct_predictor).max()))
    figures = {
        "ratio": totals[1] / totals[0],
        "max_difference": difference,
        "seconds": totals[0],
        "seconds_direct": totals[1],
    }
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
