"""Judging every method in every fold: survival models on its embeddings, and its own risk."""

from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.numpy import load_file

from sparra.cohort.problems import Problem
from sparra.cohort.splits import Folds, read_folds
from sparra.errors import UserError
from sparra.files import write_text
from sparra.study.comparators import judge_comparators
from sparra.study.conclude import write_conclusions
from sparra.study.layout import StudyLayout
from sparra.study.learn import Method, is_trained, methods_of, read_follow_up, subjects_with_graph
from sparra.study.pool import Item, Track, run_items
from sparra.study.records import COLUMNS, METRICS, FoldRecords, Judged, Name, horizons_of
from sparra.study.rules import rules_of
from sparra.study.settings import StudySettings
from sparra.study.sidecar import begin, is_current, make_key, mark_done
from sparra.study.stages import GraphIndex
from sparra.survival.bootstrap import c_index_intervals
from sparra.survival.models import FittedSurvivalModel
from sparra.survival.outcomes import FloatArray, FollowUp, RiskScores, SurvivalCurves
from sparra.survival.published import pooled_mean_groups, screening_threshold
from sparra.survival.summary import NETWORK
from sparra.survival.time_grid import TimeGrid, declare_time_grid

UNTRAINED = "the fold could not be trained or evaluated, see failures.csv"


def evaluate_methods(
    settings: StudySettings, layout: StudyLayout, index_path: Path, index: GraphIndex, folds: Folds, track: Track
) -> list[Problem]:
    """Evaluate every trained method that is not up to date, then gather the tables and draw the conclusions."""
    grid = time_grid_of(settings, layout, folds)
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
    tables = {name: _gathered(layout, evaluated, f"{name}.csv") for name in COLUMNS}
    absent = [_undefined_rows(settings, method, folds) for method in asked if method not in evaluated]
    tables["metrics"] = pd.concat([tables["metrics"], *absent], ignore_index=True)
    if settings.protocol == "paper":
        tables["predictions"]["group"] = pooled_mean_groups(tables["predictions"])
    compared = judge_comparators(settings, layout, index, folds, grid, evaluated)
    for name, table in tables.items():
        _write(layout.evaluation_table(name), table)
        _write(layout.comparator_table(name), compared[name])
    _write(layout.intervals, c_index_intervals(tables["predictions"], settings.seed))
    _write(layout.comparator_table(layout.intervals.stem), c_index_intervals(compared["predictions"], settings.seed))
    write_conclusions(settings, layout, folds, tables, compared)
    return problems


def _is_evaluated(settings: StudySettings, layout: StudyLayout, method: Method, grid: TimeGrid) -> bool:
    inputs, parameters = _inputs(layout, method), _parameters(settings, method, grid)
    return is_current(_folder(layout, method), "evaluate", inputs, parameters)


def _gathered(layout: StudyLayout, methods: list[Method], name: str) -> pd.DataFrame:
    paths = [_folder(layout, method) / name for method in methods]
    tables = [pd.read_csv(path, dtype={"subject_id": str, "reason": str}, keep_default_na=False) for path in paths]
    joined = pd.concat(tables, ignore_index=True)
    numbers = [column for column in ("value", "auc") if column in joined]
    return joined.assign(**{column: pd.to_numeric(joined[column]) for column in numbers})


def _undefined_rows(settings: StudySettings, method: Method, folds: Folds) -> pd.DataFrame:
    """Return the rows of a fold that failed: without them, its absence would not show in the means."""
    repeat = list(folds)[method.fold].repeat
    rows = [
        [method.modality, method.aggregator, model, metric, repeat, method.fold, float("nan"), UNTRAINED]
        for model in (NETWORK, *settings.evaluation.survival_models)
        for metric in METRICS
    ]
    return pd.DataFrame(rows, columns=COLUMNS["metrics"])


def _write(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def time_grid_of(settings: StudySettings, layout: StudyLayout, folds: Folds) -> TimeGrid:
    """Declare one grid for all methods and folds, from the follow-up of all subjects alone."""
    follow_up = read_follow_up(layout).loc[folds.subject_ids]
    tests = [follow_up.index.get_indexer(pd.Index(fold.test)) for fold in folds]
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
    stage = settings.evaluation
    evaluation = stage.model_dump(mode="json", exclude={"clinical"}) | {"screening_p": stage.screening_p}
    if stage.screening_adjustment == "none":
        del evaluation["screening_adjustment"]  # Results of before it could be set stay up to date.
    # In the protocol "paper" a study that says null screens nothing, one that says nothing screens: both look alike.
    in_force = screening_threshold(stage.screening, settings.protocol, method.aggregator)
    screening = {"screening_p": in_force} if settings.protocol == "paper" else {}
    return {
        **screening,
        "method": str(method),
        "evaluation": evaluation,
        "protocol": settings.protocol,
        "time_unit": settings.cohort.time_unit,
        "tau": grid.tau,
        "first_time": float(grid.times[0]),
        "seed": settings.seed,
    }


def evaluate_method(
    settings: StudySettings, layout: StudyLayout, index: GraphIndex, method: Method, grid: TimeGrid
) -> None:
    """Fit the survival models of one method in one fold; write its tables, the sidecar last."""
    key = make_key("evaluate", _inputs(layout, method), _parameters(settings, method, grid))
    folder = _folder(layout, method)
    begin(folder)
    fold = list(read_folds(layout.folds))[method.fold]
    follow_up = read_follow_up(layout)
    train_ids, test_ids = (subjects_with_graph(index, method, part) for part in (fold.train, fold.test))
    train, test = (follow_up_of(follow_up.loc[ids]) for ids in (train_ids, test_ids))
    embeddings = load_file(_embeddings(layout, method))
    rules = rules_of(settings, grid)
    horizons = horizons_of(settings.evaluation, settings.cohort.time_unit, grid)
    records = FoldRecords(
        fold.repeat, method.fold, train, test, test_ids, rules, grid, horizons, settings.evaluation.cut
    )
    own = Judged(RiskScores(embeddings["train_risk"]), RiskScores(embeddings["test_risk"]), lambda _: None)
    records.add(Name(method.modality, method.aggregator, NETWORK), own)
    for model in settings.evaluation.survival_models:
        name = Name(method.modality, method.aggregator, model)
        try:
            fitted = rules.fit(model, embeddings["train"], train, method)
        except UserError as error:
            records.add_undefined(name, str(error))
        else:
            records.add(name, _judged(fitted, embeddings["train"], embeddings["test"]))
    for table in COLUMNS:
        _write(folder / f"{table}.csv", records.table(table))
    mark_done(folder, key)


def _judged(fitted: FittedSurvivalModel, train: FloatArray, test: FloatArray) -> Judged:
    def survival(times: FloatArray) -> SurvivalCurves | None:
        return fitted.predict_survival(test, times)

    return Judged(fitted.predict_risk(train), fitted.predict_risk(test), survival)


def follow_up_of(table: pd.DataFrame) -> FollowUp:
    """Return the follow-up in a table as `read_follow_up` gives it."""
    return FollowUp(table["time"].to_numpy(), table["event"].to_numpy())
