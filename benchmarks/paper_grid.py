"""The paper's whole evaluation of one feature set: 4 survival models, 4 metrics, 5 hold-outs, tuned on its grids.

``python -m benchmarks.paper_grid`` makes 1,792 features (768 of CT, 1,024 of slides, as SegVol's and UNI's means) of
205 patients, divides them five times 80 : 20 by event, keeps in each training part the features with a univariate
Cox p below 0.2, tunes RSF, CoxPH, Coxnet and FSVM on the paper's grids in five inner folds, and computes C-index,
C-IPCW, C-AUC and IBS. Twice: as the protocol ``paper`` does it (tuned by the AUC, screened on the whole training part)
and as ``sound`` does (tuned by the C-index, screened anew in each inner fold). Hold-outs run in two processes of one
thread each. One JSON line: ``seconds`` of the paper's, ``seconds_sound``; for each the metrics that are defined
(``values``: FSVM has no IBS, so at most 75 of 80), the mean ``c_index``, and the processor seconds each model took, of
all hold-outs together; half their sum is what two cores of one's own need.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.cox_ridge import cohort
from sparra.survival.metrics import evaluate_fold
from sparra.survival.models import fit_survival_model
from sparra.survival.outcomes import FloatArray, FollowUp
from sparra.survival.published import evaluate_paper_fold, fit_paper_model, paper_times
from sparra.survival.time_grid import TimeGrid, declare_time_grid

MODELS = ("RSF", "CoxPH", "Coxnet", "FSVM")
N_FEATURES = 1792
N_SUBJECTS = 205
HOLD_OUTS = 5
SCREENING_P = 0.2

Result = tuple[dict[str, float], dict[str, dict[str, float]]]


def hold_out(follow_up: FollowUp, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a training part of 80 % and of its test part, with the same share of events."""
    rng = np.random.default_rng([100, seed])
    test = []
    for group in (np.flatnonzero(follow_up.event), np.flatnonzero(~follow_up.event)):
        shuffled = rng.permutation(group)
        test.append(shuffled[: round(0.2 * len(group))])
    rows = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(follow_up)), rows), rows


def judge(features: FloatArray, follow_up: FollowUp, grid: TimeGrid, seed: int, protocol: str) -> Result:
    """Return the processor seconds each model took on one hold-out, and its metrics."""
    rows, test_rows = hold_out(follow_up, seed)
    train, test = follow_up[rows], follow_up[test_rows]
    times = paper_times(test, "days") if protocol == "paper" else grid.times
    seconds, values = {}, {}
    with threadpool_limits(1):
        for name in MODELS:
            start = time.process_time()
            known = (name, features[rows], train.time, train.event)
            if protocol == "paper":
                model = fit_paper_model(*known, time_unit="days", screening_p=SCREENING_P)
            else:
                model = fit_survival_model(*known, seed=seed, screening_p=SCREENING_P)
            risk = model.predict_risk(features[test_rows])
            survival = model.predict_survival(features[test_rows], times)
            if protocol == "paper":
                found = evaluate_paper_fold(train, test, risk, survival, times)
            else:
                found = evaluate_fold(train, test, risk, survival, times, grid.tau)
            values[name] = {metric: value.value for metric, value in found.items()}
            seconds[name] = time.process_time() - start
            print(f"{protocol}, {seed}, {name}: {seconds[name]:.1f} s, {model.chosen}", file=sys.stderr, flush=True)
    return seconds, values


def run(protocol: str, workers: int) -> dict[str, float]:
    """Return the figures of all hold-outs under one protocol; making the cohort is not timed."""
    features, follow_up = cohort(N_SUBJECTS, N_FEATURES)
    start = time.perf_counter()
    tests = [hold_out(follow_up, seed)[1] for seed in range(HOLD_OUTS)]
    grid = declare_time_grid(follow_up.time, follow_up.event, test_parts=tests)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pending = [pool.submit(judge, features, follow_up, grid, seed, protocol) for seed in range(HOLD_OUTS)]
        results = [future.result() for future in pending]
    seconds = time.perf_counter() - start
    metrics = np.array([[list(values[name].values()) for name in MODELS] for _, values in results])
    return {
        "seconds": seconds,
        "values": float(np.isfinite(metrics).sum()),
        "c_index": float(np.nanmean(metrics[..., 0])),
        **{f"cpu_{name}": sum(spent[name] for spent, _ in results) for name in MODELS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    workers = parser.parse_args().workers
    figures = run("paper", workers) | {f"{name}_sound": value for name, value in run("sound", workers).items()}
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
