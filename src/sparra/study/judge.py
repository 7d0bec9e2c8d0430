"""Judging every method in every fold: survival models on its embeddings, and its own risk."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from sparra.cohort.problems import Problem
from sparra.cohort.splits import Folds, read_folds
from sparra.errors import UserError
from sparra.files import write_text
from sparra.study.layout import StudyLayout
from sparra.study.learn import Method, is_trained, methods_of, read_follow_up, subjects_with_graph
from sparra.study.pool import Item, Track, run_items
from sparra.study.rules import Rules, rules_of
from sparra.study.settings import StudySettings
from sparra.study.sidecar import begin, is_current, make_key, mark_done
from sparra.study.stages import GraphIndex
from sparra.survival.bootstrap import c_index_intervals
from sparra.survival.groups import risk_groups
from sparra.survival.outcomes import FollowUp, MetricValue, RiskScores, SurvivalCurves
from sparra.survival.published import pooled_mean_groups
from sparra.survival.summary import NETWORK
from sparra.survival.time_grid import TimeGrid, declare_time_grid

METRICS = ("c_index", "c_ipcw", "c_auc", "ibs")
METRIC_COLUMNS = ["modality", "aggregator", "model", "metric", "repeat", "fold", "value", "reason"]
Judged = tuple[RiskScores, RiskScores, SurvivalCurves | None]


def evaluate_methods(
    settings: StudySettings, layout: StudyLayout, index_path: Path, index: GraphIndex, folds: Folds, track: Track
) -> list[Problem]:
    """Evaluate every trained method that is not up to date, then gather all tables into two."""
    grid = _time_grid(settings, layout, folds)
    asked = methods_of(settings, index, folds)
    # A method whose training failed has no part in it, though an older model of it may still lie there.
    trained = [method for method in asked if is_trained(settings, layout, index_path, method)]
    items = [
        Item("", str(method), (settings, layout, index, method, grid))
        for method in trained
        if not _is_evaluated(settings, layout, method, grid)
    ]
    problems = run_items("evaluate", evaluate_method, items, settings.n_workers, track)
    evaluated = [method for method in trained if _is_evaluated(settings, layout, method, grid)]
    if not evaluated:
        why = f": {problems[0].what}" if problems else ""
        raise UserError(f"no method could be trained and evaluated{why}", layout.failures, "See its rows")
    metrics = _gathered(layout, evaluated, "metrics.csv")
    absent = [_undefined_rows(settings, method, folds) for method in asked if method not in evaluated]
    _write(layout.metrics, pd.concat([metrics, *absent], ignore_index=True))
    predictions = _gathered(layout, evaluated, "predictions.csv")
    if settings.protocol == "paper":
        predictions["group"] = pooled_mean_groups(predictions)
    _write(layout.predictions, predictions)
    _write(layout.intervals, c_index_intervals(predictions, settings.seed))
    return problems


def _is_evaluated(settings: StudySettings, layout: StudyLayout, method: Method, grid: TimeGrid) -> bool:
    inputs, parameters = _inputs(layout, method), _parameters(settings, method, grid)
    return is_current(_folder(layout, method), "evaluate", inputs, parameters)


def _gathered(layout: StudyLayout, methods: list[Method], name: str) -> pd.DataFrame:
    paths = [_folder(layout, method) / name for method in methods]
    tables = [pd.read_csv(path, dtype={"subject_id": str}, keep_default_na=False) for path in paths]
    return pd.concat(tables, ignore_index=True)


def _undefined_rows(settings: StudySettings, method: Method, folds: Folds) -> pd.DataFrame:
    """Return the rows of a fold that failed: without them, its absence would not show in the means."""
    value = MetricValue(float("nan"), "the fold could not be trained or evaluated, see failures.csv")
    models = (NETWORK, *settings.evaluation.survival_models)
    repeat = list(folds)[method.fold].repeat
    rows = [_metric_row(method, repeat, model, metric, value) for model in models for metric in METRICS]
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def _write(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _time_grid(settings: StudySettings, layout: StudyLayout, folds: Folds) -> TimeGrid:
    """Declare one grid for all methods and folds, from the follow-up of all subjects alone."""
    follow_up = read_follow_up(layout).loc[folds.subject_ids]
    tests = [follow_up.index.get_indexer(pd.Index(fold.test)).astype(np.intp) for fold in folds]
    horizon = settings.evaluation.horizon
    return declare_time_grid(follow_up["time"].to_numpy(), follow_up["event"].to_numpy(), horizon, tests)


def _folder(layout: StudyLayout, method: Method) -> Path:
    return layout.evaluation(method.modality, method.aggregator, method.fold)


def _embeddings(layout: StudyLayout, method: Method) -> Path:
    return layout.model(method.modality, method.aggregator, method.fold) / "embeddings.safetensors"


def _inputs(layout: StudyLayout, method: Method) -> dict[str, Path]:
    return {
        "embeddings": _embeddings(layout, method),
        "subjects": layout.subjects,
        "folds": layout.folds,
    }


def _parameters(settings: StudySettings, method: Method, grid: TimeGrid) -> dict[str, Any]:
    return {
        "method": str(method),
        "evaluation": settings.evaluation.model_dump(mode="json"),
        "protocol": settings.protocol,
        "time_unit": settings.cohort.time_unit,
        "tau": grid.tau,
        "first_time": float(grid.times[0]),
        "seed": settings.seed,
    }


def evaluate_method(
    settings: StudySettings, layout: StudyLayout, index: GraphIndex, method: Method, grid: TimeGrid
) -> None:
    """Fit the survival models of one method in one fold; write metrics and predictions, the sidecar last."""
    key = make_key("evaluate", _inputs(layout, method), _parameters(settings, method, grid))
    begin(_folder(layout, method))
    fold = list(read_folds(layout.folds))[method.fold]
    follow_up = read_follow_up(layout)
    train, test = (
        _follow_up_of(follow_up.loc[subjects_with_graph(index, method, part)]) for part in (fold.train, fold.test)
    )
    test_ids = subjects_with_graph(index, method, fold.test)
    embeddings = load_file(_embeddings(layout, method))
    rules = rules_of(settings, grid)
    times = rules.times(test)
    metrics, predictions = [], []
    for model, judged in _all_models(settings, method, embeddings, train, rules, times):
        if isinstance(judged, UserError):
            values = {metric: MetricValue(float("nan"), str(judged)) for metric in METRICS}
        else:
            train_risk, risk, survival = judged
            values = rules.judge(train, test, risk, survival, times)
            groups = risk_groups(train_risk, risk, settings.evaluation.cut)
            predictions.append(_prediction_rows(method, fold.repeat, model, test_ids, test, risk, groups))
        metrics += [_metric_row(method, fold.repeat, model, metric, value) for metric, value in values.items()]
    folder = _folder(layout, method)
    _write(folder / "metrics.csv", pd.DataFrame(metrics, columns=METRIC_COLUMNS))
    _write(folder / "predictions.csv", pd.concat(predictions))
    mark_done(folder, key)


def _all_models(
    settings: StudySettings,
    method: Method,
    embeddings: dict[str, NDArray[Any]],
    train: FollowUp,
    rules: Rules,
    times: NDArray[np.float64],
) -> Iterator[tuple[str, Judged | UserError]]:
    """Yield the network's own risk, then each survival model, or the error that kept it from fitting."""
    yield NETWORK, (RiskScores(embeddings["train_risk"]), RiskScores(embeddings["test_risk"]), None)
    for name in settings.evaluation.survival_models:
        try:
            fitted = rules.fit(name, embeddings["train"], train, method)
        except UserError as error:
            yield name, error
            continue
        survival = fitted.predict_survival(embeddings["test"], times)
        yield (
            name,
            (fitted.predict_risk(embeddings["train"]), fitted.predict_risk(embeddings["test"]), survival),
        )


def _follow_up_of(table: pd.DataFrame) -> FollowUp:
    return FollowUp(table["time"].to_numpy(), table["event"].to_numpy())


def _metric_row(method: Method, repeat: int, model: str, metric: str, value: MetricValue) -> list[Any]:
    return [method.modality, method.aggregator, model, metric, repeat, method.fold, value.value, value.reason]


def _prediction_rows(
    method: Method,
    repeat: int,
    model: str,
    subject_ids: list[str],
    follow_up: FollowUp,
    risk: RiskScores,
    groups: NDArray[np.str_],
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "modality": method.modality,
            "aggregator": method.aggregator,
            "model": model,
            "repeat": repeat,
            "fold": method.fold,
            "subject_id": subject_ids,
            "time": follow_up.time,
            "event": follow_up.event.astype(int),
            "risk": risk.values,
            "group": groups,
        }
    )
