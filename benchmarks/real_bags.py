"""KIRC bags of HIPT on the published splits: `python -m benchmarks.real_bags [--seeds 5] [--summary]`.

All methods are trained alike, with the published training settings (20 epochs, batches of 32, learning rate 3e-4). The
direct risk is the network's own. The second stage is a ridge Cox model tuned on embeddings of the training patients by
networks that never saw them (`--second-stage`; four times the training). Edges join regions of similar features, since
the bags hold no positions. The data are looked for in ``$SPARRA_DATA``, else in ``../shared/data``.
"""

import argparse
import json
import os
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.parts.paired import compare
from sparra.bags.readers import import_bag
from sparra.cohort.splits import Fold, match_folds, read_folds
from sparra.errors import UserError
from sparra.files import read_json, write_json, write_text
from sparra.graphs.build import build_graph, merge_graphs
from sparra.graphs.settings import GraphSettings
from sparra.models.registry import aggregators
from sparra.survival.models import fit_survival_model
from sparra.training.crossfit import cross_fitted_embeddings
from sparra.training.fit import fit_aggregator
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData

RESULTS = Path(__file__).parent / "results"
DATA = Path(os.environ.get("SPARRA_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
TRAINING = TrainingSettings(device="cpu")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("mean", {}),
    "abmil": ("abmil", {}),
    "released": ("sparra", {"preset": "released"}),
    "paper": ("sparra", {"preset": "paper"}),
    "default": ("sparra", {"preset": "default"}),
    # `default` is an ensemble of three: what the same does for ABMIL.
    "abmil_ensemble": ("abmil", {"ensemble": 3}),
}
# One seed for each (seed, fold), the same for every method.
FOLDS_PER_SEED = 100


def load_subjects(folder: Path) -> dict[str, SubjectData]:
    """Return every KIRC case whose bags are there, with one graph over all of its slides."""
    if not (folder / "tcga_kirc_kich.csv").exists():
        raise UserError("the HIPT bags are not here", folder, "Set SPARRA_DATA to the folder that holds hipt-rcc")
    table = pd.read_csv(folder / "tcga_kirc_kich.csv")
    table = table[table["oncotree_code"] == "CCRCC"].sort_values(["case_id", "slide_id"])
    subjects = {}
    for name, rows in table.groupby("case_id"):
        paths = [folder / "bags" / f"{slide.removesuffix('.svs')}.pt" for slide in rows["slide_id"]]
        graphs = [build_graph(import_bag(path, "slide"), GraphSettings(), path.stem) for path in paths if path.exists()]
        if graphs:
            first = rows.iloc[0]
            # The source codes the opposite of an event: censorship 1 is censored.
            event = not bool(first["censorship"])
            graph = merge_graphs(graphs)
            subjects[str(name)] = SubjectData(str(name), {"slide": graph}, float(first["survival_months"]), event)
    return subjects


def run_method(
    method: str, fold: Fold, subjects: dict[str, SubjectData], seed: int, second_stage: bool
) -> dict[str, np.ndarray]:
    """Train on the fold's training part; return risks of its test part, ``direct`` and perhaps ``coxph``."""
    train, test = ([subjects[name] for name in names] for names in (fold.train, fold.test))
    name, values = METHODS[method]
    settings = aggregators[name].settings.model_validate(values)
    own_seed = FOLDS_PER_SEED * seed + fold.fold
    fitted = fit_aggregator(name, settings, TRAINING, train, own_seed)
    predicted = fitted.predict(test)
    risks = {"direct": predicted.risk}
    if second_stage:
        crossed = cross_fitted_embeddings(name, settings, TRAINING, train, own_seed, outer=fitted)
        times, events = [item.time for item in train], [item.event for item in train]
        cox = fit_survival_model("CoxPH", crossed.embedding, times, events, seed=own_seed)
        risks["coxph"] = np.asarray(cox.predict_risk(predicted.embedding).values)
    return risks


def run(folder: Path, data: Path, seeds: range, methods: list[str], second_stage: bool) -> None:
    """Fit whatever is not in the tables yet; one table a seed and fold."""
    subjects = load_subjects(data)
    folds = list(match_folds(read_folds(data / "splits"), subjects).folds)
    for seed in seeds:
        for fold in folds:
            path = folder / f"{seed}-{fold.fold}.csv"
            table = pd.read_csv(path) if path.exists() else _test_patients(fold, subjects, seed)
            for method in methods:
                if method in table and (f"{method}_coxph" in table or not second_stage):
                    continue
                started = perf_counter()
                risks = run_method(method, fold, subjects, seed, second_stage)
                if method not in table:
                    table[method] = risks["direct"]
                if second_stage:
                    table[f"{method}_coxph"] = risks["coxph"]
                write_text(path, table.to_csv(index=False, float_format="%.6g"))
                print(f"seed {seed} fold {fold.fold} {method}: {perf_counter() - started:.0f} s", flush=True)


def _test_patients(fold: Fold, subjects: dict[str, SubjectData], seed: int) -> pd.DataFrame:
    test = [subjects[name] for name in fold.test]
    rows = [{"patient": item.subject_id, "time": item.time, "event": item.event} for item in test]
    return pd.DataFrame(rows).assign(seed=seed, fold=fold.fold)


def collect(folder: Path, columns: list[str], n_folds: int = 5) -> tuple[pd.DataFrame, int]:
    """Join the tables of the seeds for which all `columns` are finished in all folds."""
    tables = [table for path in sorted(folder.glob("*-*.csv")) if set(columns) <= set(table := pd.read_csv(path))]
    if not tables:
        return pd.DataFrame(), 0
    joined = pd.concat(tables, ignore_index=True)
    complete = joined.groupby("seed")["fold"].nunique() == n_folds
    seeds = complete.index[complete]
    joined = joined[joined["seed"].isin(seeds)]
    return joined.assign(group=joined["seed"] * FOLDS_PER_SEED + joined["fold"]), len(seeds)


def summarise(table: pd.DataFrame, methods: list[str], suffix: str) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return one row a method, and the figures; names of figures end in `suffix`."""
    names = {method: f"{method}{suffix}" for method in methods}
    compared = compare(table, list(names.values()))
    rows, figures = [], {}
    for method, column in names.items():
        by_seed = [compare(part, [column]).value[column] for _, part in table.groupby("seed")]
        difference, low, high = compared.difference(names["default"], column)
        value = compared.value[column]
        spread = np.std(by_seed, ddof=1) if len(by_seed) > 1 else float("nan")
        rows.append([method, suffix or "_direct", value, spread, difference, low, high])
        figures[column] = value
        if method in ("mean", "abmil"):
            key = f"default_minus_{method}{suffix}"
            figures |= {key: difference, f"{key}_low": low, f"{key}_high": high}
    columns = ["method", "risk", "c_index", "sd_of_seeds", "default_minus", "low", "high"]
    return pd.DataFrame(rows, columns=columns), figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), choices=list(METHODS), help="what to run, and to compare"
    )
    parser.add_argument("--second-stage", action="store_true", help="also ridge Cox on cross-fitted embeddings")
    parser.add_argument("--summary", action="store_true", help="print what is finished for all of --methods")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = RESULTS / "real_bags"
    if not arguments.summary:
        run(folder, DATA / "hipt-rcc", range(arguments.seeds), arguments.methods, arguments.second_stage)
    if not any(folder.glob("*-*.csv")):
        reprint()
        return
    summaries, figures = [], {}
    for suffix in ("", "_coxph"):
        # The second stage is compared among those that have it.
        finished = [method for method in arguments.methods if collect(folder, [f"{method}{suffix}"])[1]]
        columns = [f"{method}{suffix}" for method in finished]
        table, n_seeds = collect(folder, columns) if finished else (pd.DataFrame(), 0)
        figures[f"seeds{suffix}"] = n_seeds
        if n_seeds and "default" in finished:
            summary, values = summarise(table, finished, suffix)
            summaries.append(summary)
            figures |= values
    rounded = {key: round(value, 4) for key, value in figures.items()}
    text = pd.concat(summaries).to_csv(index=False, float_format="%.4f") if summaries else ""
    if arguments.methods == list(METHODS):
        write_text(RESULTS / "real_bags.csv", text)
        write_json(RESULTS / "real_bags.json", rounded)
    print(text)
    print(json.dumps(rounded))


def reprint() -> None:
    """Print the saved table and figures; the patients' own risks are derived from the data and not kept with them."""
    print((RESULTS / "real_bags.csv").read_text())
    print(json.dumps(read_json(RESULTS / "real_bags.json")))


if __name__ == "__main__":
    main()
