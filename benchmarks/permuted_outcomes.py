"""What each protocol finds where there is nothing to find.

``python -m benchmarks.permuted_outcomes [--replicates 40] [--slow-replicates 8] [--summary] [--table]`` draws cohorts
of 150 patients and 60 features, permutes the outcomes over the patients, and runs the protocols ``sound`` (five folds)
and ``paper`` (five overlapping hold-outs) with each survival model, from two inputs:

- ``features``: the features themselves, screened at p < 0.2 as each protocol does;
- ``bags`` (the networks ``mean``, ``abmil`` and ``sparra`` by their own risk, ten epochs): noise with an offset for
  each patient; in ``paper`` fitted to 80 % of the training part.
- ``embeddings``: what an outcome-trained encoder gives. No network is needed to see what in-sample embeddings do: the
  stand-in is eight ridge Cox risks, each of 20 features drawn at random. ``sound`` cross-fits them; in ``paper`` they
  are in-sample, fitted to 80 % of the training part.

The rows are kept in ``benchmarks/results/permuted_outcomes.csv``; a run goes on where the last one stopped. One JSON
line, means over replicates: ``<protocol>_c_index_<model>`` with ``_low`` and ``_high`` (95 % interval), the same with
``_embeddings``; ``<protocol>_inner_<model>...`` the score that tuning saw (C-index or AUC); ``<protocol>_rejected...``
the share of log-rank tests with p < 0.05, as published (patients repeat) and ``paper_rejected_once...`` with one row
a patient; ``<protocol>_excess_ibs_<model>...`` the integrated Brier score less that of the Kaplan–Meier null.
``paper_optimism`` is the mean C-index of ``paper`` over all models and inputs less 0.5.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from threadpoolctl import threadpool_limits

from benchmarks.cox_ridge import cohort
from benchmarks.parts.permuted_bags import NETWORKS, network_risks, noise_bags
from sparra.cohort.draws import paper_hold_outs
from sparra.cohort.splits import Fold, stratified_folds
from sparra.errors import UserError
from sparra.files import write_text
from sparra.survival.brier import kaplan_meier_null
from sparra.survival.estimators.coxph import CoxRidge
from sparra.survival.groups import log_rank, risk_groups
from sparra.survival.metrics import c_index, evaluate_fold
from sparra.survival.models import FittedSurvivalModel, fit_survival_model
from sparra.survival.outcomes import FloatArray, FollowUp, RiskScores
from sparra.survival.published import evaluate_paper_fold, fit_paper_model, paper_times, pooled_mean_groups
from sparra.survival.time_grid import TimeGrid, declare_time_grid
from sparra.survival.tuning import heldout_parts

RESULTS = Path(__file__).parent / "results" / "permuted_outcomes.csv"
MODELS = ("CoxPH", "FSVM", "RSF", "Coxnet", "GBM")
INPUTS = ("features", "embeddings")
BAGS = "bags"
PROTOCOLS = ("sound", "paper")
N_SUBJECTS, N_FEATURES, N_FOLDS = 150, 60, 5
N_EMBEDDING, FEATURES_EACH, PENALTY = 8, 20, 1.0
SCREENING_P, LEVEL = 0.2, 0.05
NAMES = {"mean": "Mean", "abmil": "ABMIL", "sparra": "SPARRA"}
KEYS = ["replicate", "inputs", "protocol", "model"]


def permuted_cohort(replicate: int) -> tuple[FloatArray, FollowUp]:
    """Return features and the follow-up of other patients."""
    features, follow_up = cohort(N_SUBJECTS, N_FEATURES, replicate)
    return features, follow_up[np.random.default_rng([101, replicate]).permutation(N_SUBJECTS)]


def embed(seen: FloatArray, follow_up: FollowUp, asked: FloatArray) -> FloatArray:
    """Return the stand-in's embedding of `asked`, fitted to `seen` and its outcomes; shape (n, 8)."""
    rng = np.random.default_rng(102)
    columns = []
    for _ in range(N_EMBEDDING):
        chosen = rng.choice(N_FEATURES, FEATURES_EACH, replace=False)
        fitted = CoxRidge().fit(seen[:, chosen], follow_up, PENALTY, seed=0)
        known = fitted.risk(seen[:, chosen])
        columns.append((fitted.risk(asked[:, chosen]) - known.mean()) / known.std())
    return np.column_stack(columns)


def prepared(inputs: str, protocol: str, features: FloatArray, follow_up: FollowUp, fold: Fold) -> list[FloatArray]:
    """Return what the survival model gets: of the training part and of the test part."""
    train, test = rows_of(fold.train), rows_of(fold.test)
    if inputs == "features":
        return [features[train], features[test]]
    if protocol == "paper":
        fitted_to = rows_of(fold.network_train)
        return [embed(features[fitted_to], follow_up[fitted_to], features[part]) for part in (train, test)]
    known = np.empty((len(train), N_EMBEDDING))
    for heldout in heldout_parts(follow_up[train], N_FOLDS, 0):
        inside = train[~heldout]
        known[heldout] = embed(features[inside], follow_up[inside], features[train[heldout]])
    return [known, embed(features[train], follow_up[train], features[test])]


def rows_of(names: list[str]) -> np.ndarray:
    """Return the row of each patient, which is its name."""
    return np.array([int(name) for name in names])


def fit(
    protocol: str, model: str, known: FloatArray, train: FollowUp, inputs: str, replicate: int
) -> FittedSurvivalModel:
    """Tune and fit a survival model as the protocol does; embeddings are not screened."""
    screening_p = SCREENING_P if inputs == "features" else None
    if protocol == "paper":
        return fit_paper_model(model, known, train.time, train.event, time_unit="days", screening_p=screening_p)
    return fit_survival_model(model, known, train.time, train.event, seed=replicate, screening_p=screening_p)


def folds_of(protocol: str, follow_up: FollowUp, replicate: int) -> list[Fold]:
    """Return the protocol's divisions; the hold-outs are drawn anew in each replicate."""
    names = [f"{row:03d}" for row in range(N_SUBJECTS)]
    if protocol == "paper":
        return list(paper_hold_outs(names, follow_up.event, N_FOLDS, replicate))
    return list(stratified_folds(names, follow_up.event, N_FOLDS, replicate))


def judge(replicate: int, inputs: str, protocol: str, model: str) -> dict[str, float]:
    """Return one row of the table."""
    features, follow_up = permuted_cohort(replicate)
    bags = noise_bags(follow_up, replicate) if inputs == BAGS else []
    folds = folds_of(protocol, follow_up, replicate)
    grid = declare_time_grid(follow_up.time, follow_up.event, test_parts=[rows_of(fold.test) for fold in folds])
    values, tables = [], []
    for fold in folds:
        train, test = follow_up[rows_of(fold.train)], follow_up[rows_of(fold.test)]
        if inputs == BAGS:
            fitted_to = rows_of(fold.network_train if protocol == "paper" else fold.train)
            known_risk, risk = network_risks(model, bags, fitted_to, rows_of(fold.train), rows_of(fold.test))
            values.append({"c_index": c_index(test, risk).value, "inner_score": np.nan, "excess_ibs": np.nan})
        else:
            known, asked = prepared(inputs, protocol, features, follow_up, fold)
            fitted = fit(protocol, model, known, train, inputs, replicate)
            known_risk, risk = fitted.predict_risk(known), fitted.predict_risk(asked)
            values.append(_metrics(protocol, fitted, asked, risk, train, test, grid))
        groups = risk_groups(known_risk, risk, "median")
        columns = {"subject_id": fold.test, "time": test.time, "event": test.event, "risk": risk.values}
        tables.append(pd.DataFrame(columns).assign(group=groups, modality="", aggregator="", model=model))
    pooled = pd.concat(tables, ignore_index=True)
    if protocol == "paper":
        pooled["group"] = pooled_mean_groups(pooled)
    found = {name: float(np.mean([value[name] for value in values])) for name in values[0]}
    return {**found, "log_rank_p": _p(pooled), "log_rank_p_once": _p(pooled.drop_duplicates("subject_id"))}


def _metrics(
    protocol: str,
    fitted: FittedSurvivalModel,
    asked: FloatArray,
    risk: RiskScores,
    train: FollowUp,
    test: FollowUp,
    grid: TimeGrid,
) -> dict[str, float]:
    times = paper_times(test, "days") if protocol == "paper" else grid.times
    curves, null = fitted.predict_survival(asked, times), kaplan_meier_null(train, times, len(test))
    if protocol == "paper":
        found, without = (evaluate_paper_fold(train, test, risk, curve, times) for curve in (curves, null))
    else:
        found, without = (evaluate_fold(train, test, risk, curve, times, grid.tau) for curve in (curves, null))
    return {
        "c_index": found["c_index"].value,
        "inner_score": fitted.tuning.scores[fitted.tuning.best],
        "excess_ibs": found["ibs"].value - without["ibs"].value,
    }


def _p(rows: pd.DataFrame) -> float:
    return log_rank(rows["time"].to_numpy(float), rows["event"].to_numpy(bool), rows["group"].to_numpy(str)).p


def asked_for(replicates: int, slow_replicates: int) -> Iterator[tuple[int, str, str, str]]:
    """Yield what is to be judged, model by model; all but CoxPH get `slow_replicates`."""
    for model in MODELS:
        for replicate in range(replicates if model == "CoxPH" else slow_replicates):
            yield from ((replicate, inputs, protocol, model) for inputs in INPUTS for protocol in PROTOCOLS)
    for model in NETWORKS:
        for replicate in range(slow_replicates):
            yield from ((replicate, BAGS, protocol, model) for protocol in PROTOCOLS)


def run(replicates: int, slow_replicates: int) -> None:
    """Judge what the table lacks."""
    table = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame(columns=KEYS)
    done = set(table[KEYS].itertuples(index=False, name=None))
    rows = table.to_dict("records")
    for key in asked_for(replicates, slow_replicates):
        if key in done:
            continue
        start = time.process_time()
        with threadpool_limits(1):
            try:
                found = judge(*key)
            except UserError as error:  # e.g. no feature passes the screening: then there is no model to judge.
                print(f"{key}: {error}", file=sys.stderr)
                found = {}
            rows.append(dict(zip(KEYS, key, strict=True)) | found)
        print(f"{key}: {time.process_time() - start:.1f} s", file=sys.stderr, flush=True)
        write_text(RESULTS, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Return the mean over replicates with its 95 % interval (Student's t); a replicate without a model is none."""
    known = values.dropna()
    half = float(stats.t.ppf(0.975, len(known) - 1) * known.sem())
    return float(known.mean()), float(known.mean()) - half, float(known.mean()) + half


def markdown(table: pd.DataFrame) -> str:
    """Return the table of docs/evaluation.md."""
    lines = []
    for (model, inputs, protocol), rows in table.groupby(["model", "inputs", "protocol"], sort=False):
        rows = rows[rows["c_index"].notna()]
        mean, low, high = interval(rows["c_index"])
        inner = "–" if inputs == BAGS else f"{rows['inner_score'].mean():.3f}"
        counts = [int((rows[column] < LEVEL).sum()) for column in ("log_rank_p", "log_rank_p_once")]
        excess = rows["excess_ibs"].mean()
        name = NAMES.get(str(model), str(model))
        cells = [protocol, inputs, name, len(rows), f"{mean:.3f} ({low:.3f} to {high:.3f})", inner, *counts]
        cells.append(f"{excess:+.4f}" if np.isfinite(excess) else "–")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Return the figures."""
    figures: dict[str, float] = {}
    for (inputs, protocol, model), rows in table.groupby(["inputs", "protocol", "model"], sort=False):
        name = f"{str(model).lower()}{'_embeddings' if inputs == 'embeddings' else ''}"
        mean, low, high = interval(rows["c_index"])
        figures[f"{protocol}_c_index_{name}"] = mean
        figures[f"{protocol}_c_index_{name}_low"] = low
        figures[f"{protocol}_c_index_{name}_high"] = high
        figures[f"{protocol}_inner_{name}"] = rows["inner_score"].mean()
        if rows["excess_ibs"].notna().any():
            figures[f"{protocol}_excess_ibs_{name}"] = rows["excess_ibs"].mean()
    for (inputs, protocol), rows in table.groupby(["inputs", "protocol"], sort=False):
        end = "" if inputs == "features" else f"_{inputs}"
        rows = rows[rows["c_index"].notna()]
        figures[f"{protocol}_rejected{end}"] = float((rows["log_rank_p"] < LEVEL).mean())
        if protocol == "paper":
            figures[f"paper_rejected_once{end}"] = float((rows["log_rank_p_once"] < LEVEL).mean())
    by_protocol = table.groupby("protocol")["c_index"].mean()
    return figures | {f"{protocol}_optimism": by_protocol[protocol] - 0.5 for protocol in PROTOCOLS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--replicates", type=int, default=40)
    parser.add_argument("--slow-replicates", type=int, default=8)
    parser.add_argument("--summary", action="store_true", help="only tell what the table holds")
    parser.add_argument("--table", action="store_true", help="the same, with the table of docs/evaluation.md before")
    options = parser.parse_args()
    if not (options.summary or options.table):
        run(options.replicates, options.slow_replicates)
    table = pd.read_csv(RESULTS)
    if options.table:
        print(markdown(table))
    figures = summary(table)
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items() if np.isfinite(value)}))


if __name__ == "__main__":
    main()
