"""Does the model find a planted biomarker? `python -m benchmarks.planted [--seeds 10] [--summary]`.

For every share of carrying nodes and every seed a new cohort (`planted_cohort.py`) is split once, 175 patients to
train and 75 to test. All methods are trained alike (`TRAINING`), with every width of the published configurations
divided by four, since a node has 64 features here and not 768 or 1024. The run is resumed where it was stopped.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.parts.paired import Comparison, compare
from benchmarks.parts.planted_cohort import PlantedCohort, simulate_planted
from sparra.errors import UserError
from sparra.files import write_text
from sparra.models.registry import aggregators
from sparra.training.fit import fit_aggregator
from sparra.training.settings import TrainingSettings

RESULTS = Path(__file__).parent / "results"
SHARES = {1: 0.01, 4: 0.04, 20: 0.20, 100: 1.0}
N_TRAINING = 175
TRAINING = TrainingSettings(epochs=30, learning_rate=1e-3, device="cpu")
NARROW = {"hidden": 64, "pooled": 32, "encoder": 64}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("mean", {"hidden": 64}),
    "abmil": ("abmil", {"hidden": 64, "attention": 64}),
    "released": ("sparra", {"preset": "released", **NARROW}),
    "paper": ("sparra", {"preset": "paper", **NARROW}),
    "default": ("sparra", {"preset": "default", **NARROW}),
    # `default` is an ensemble of three: what the same does for ABMIL.
    "abmil_ensemble": ("abmil", {"hidden": 64, "attention": 64, "ensemble": 3}),
}
ORACLE = "oracle"


def run_method(cohort: PlantedCohort, method: str, seed: int) -> tuple[np.ndarray, float]:
    """Train on the first patients; return the risks of the others and the importance's mean AUROC over them."""
    name, values = METHODS[method]
    settings = aggregators[name].settings.model_validate(values)
    fitted = fit_aggregator(name, settings, TRAINING, cohort.subjects[:N_TRAINING], seed)
    predicted = fitted.predict(cohort.subjects[N_TRAINING:])
    found = [
        roc_auc_score(carries, importance["slide"])
        for carries, importance in zip(cohort.carries[N_TRAINING:], predicted.importance, strict=True)
        if not carries.all()
    ]
    return predicted.risk, float(np.mean(found)) if found else float("nan")


def held_out_patients(cohort: PlantedCohort, share: int, seed: int) -> pd.DataFrame:
    """Return follow-up and true risk of the test patients."""
    rows = [
        {"share": share, "seed": seed, "patient": subject.subject_id, "time": subject.time, "event": subject.event}
        for subject in cohort.subjects[N_TRAINING:]
    ]
    return pd.DataFrame(rows).assign(oracle=cohort.log_hazard[N_TRAINING:])


def run(folder: Path, seeds: range, methods: list[str]) -> None:
    """Fit whatever is not in the tables yet, seed by seed, and write both tables after every cohort."""
    for seed in seeds:
        for percent, share in SHARES.items():
            path = folder / f"{percent}-{seed}.csv"
            table = pd.read_csv(path) if path.exists() else None
            wanted = [name for name in methods if table is None or name not in table]
            if not wanted:
                continue
            cohort = simulate_planted(share, seed)
            table = held_out_patients(cohort, percent, seed) if table is None else table
            for method in wanted:
                started = perf_counter()
                risk, auroc = run_method(cohort, method, seed)
                table[method], table[f"{method}_auroc"] = risk, auroc
                write_text(path, table.to_csv(index=False, float_format="%.5g"))
                print(f"{percent} % seed {seed} {method}: {auroc:.3f}, {perf_counter() - started:.0f} s", flush=True)


def collect(folder: Path, methods: list[str]) -> tuple[pd.DataFrame, list[str], int]:
    """Join the seeds that are finished for every share and all of `methods` that have any.

    Returns the table, the methods in it and the number of seeds.

    Raises
    ------
    UserError
        If nothing is finished.
    """
    tables = [pd.read_csv(path) for path in sorted(folder.glob("*-*.csv"))]
    finished = [method for method in methods if any(method in table for table in tables)]
    whole = [table for table in tables if finished and set(finished) <= set(table)]
    if whole:
        joined = pd.concat(whole, ignore_index=True)
        complete = joined.groupby("seed")["share"].nunique() == len(SHARES)
        seeds = complete.index[complete]
        if len(seeds):
            return joined[joined["seed"].isin(seeds)], finished, len(seeds)
    raise UserError("no seed is finished for all of these methods", folder, "Run without --summary, or name fewer")


def summarise(table: pd.DataFrame, methods: list[str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return one row a share and method, and the figures that `methods` allow."""
    rows, figures = [], {}
    for percent in SHARES:
        part = table[table["share"] == percent]
        part = part.assign(group=part["seed"], patient=part["seed"].astype(str) + "/" + part["patient"])
        compared = compare(part, [*methods, ORACLE])
        by_seed = {
            name: [compare(one, [name]).value[name] for _, one in part.groupby("seed")] for name in compared.value
        }
        for name, values in by_seed.items():
            spread = np.std(values, ddof=1) if len(values) > 1 else float("nan")
            row = {"share": percent, "method": name, "c_index": np.mean(values), "sd": spread}
            if f"{name}_auroc" in part:
                row["importance_auroc"] = part.groupby("seed")[f"{name}_auroc"].first().mean()
            if "default" in methods:
                row["default_minus"], row["low"], row["high"] = compared.difference("default", name)
            rows.append(row)
        figures |= _figures(part, compared, percent)
    return pd.DataFrame(rows), figures


def _figures(part: pd.DataFrame, compared: Comparison, percent: int) -> dict[str, float]:
    figures = {f"oracle_{percent}": compared.value[ORACLE]}
    rivals = [name for name in ("abmil", "mean") if {name, "default"} <= set(compared.value)]
    for rival in rivals:
        key = f"default_minus_{rival}_{percent}"
        figures[key], figures[f"{key}_low"], figures[f"{key}_high"] = compared.difference("default", rival)
    if rivals:
        best = max(value for name, value in compared.value.items() if name != ORACLE)
        figures[f"default_minus_best_{percent}"] = compared.value["default"] - best
    for prefix, name in (("", "default"), ("abmil_", "abmil")):
        if percent < 100 and name in compared.value:
            figures[f"{prefix}importance_auroc_{percent}"] = part.groupby("seed")[f"{name}_auroc"].first().mean()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), choices=list(METHODS), help="what to run, and to compare"
    )
    parser.add_argument("--summary", action="store_true", help="print what is finished for all of --methods")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = RESULTS / "planted"
    if not arguments.summary:
        run(folder, range(arguments.seeds), arguments.methods)
    table, methods, n_seeds = collect(folder, arguments.methods)
    summary, figures = summarise(table, methods)
    text = summary.to_csv(index=False, float_format="%.4f")
    if methods == list(METHODS):
        write_text(RESULTS / "planted.csv", text)
    print(text)
    print(json.dumps({**{key: round(value, 4) for key, value in figures.items()}, "seeds": n_seeds}))


if __name__ == "__main__":
    main()
