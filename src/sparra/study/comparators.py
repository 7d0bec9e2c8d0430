"""What the methods are held against: no model at all, the clinic alone, clinic and imaging, late fusion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from sparra.cohort.splits import Fold, Folds
from sparra.cohort.tables import Subject
from sparra.errors import UserError
from sparra.registry import nearest_name
from sparra.study.layout import StudyLayout
from sparra.study.learn import Method, subjects_with_graph
from sparra.study.records import COLUMNS, FoldRecords, Judged, Name, horizons_of, joined
from sparra.study.rules import rules_of
from sparra.study.settings import StudySettings
from sparra.study.stages import GraphIndex
from sparra.survival.brier import kaplan_meier_null
from sparra.survival.clinical import Covariate, Kind, find_covariates, fit_clinical_cox
from sparra.survival.fusion import fit_late_fusion
from sparra.survival.outcomes import FloatArray, FollowUp, RiskScores, SurvivalCurves
from sparra.survival.time_grid import TimeGrid

# Not "null", which table readers take for a missing value.
NULL = Name("none", "none", "Kaplan–Meier")
CLINICAL = Name("clinical", "clinical", "Cox")
LATE = "late fusion"
WITH_CLINICAL = "clinical + "


@dataclass(frozen=True)
class _Risks:
    """A network's cross-fitted risks of training subjects and its risks of test subjects, by id."""

    train: pd.Series
    test: pd.Series


def read_subjects_table(layout: StudyLayout) -> pd.DataFrame:
    """Return the study's subjects with all covariates as text, indexed by subject_id."""
    table = pd.read_csv(layout.subjects, dtype=str, keep_default_na=False).set_index("subject_id")
    event = table["event"].str.lower().isin(("1", "true"))
    return table.assign(time=table["time"].astype(float), event=event)


def clinical_covariates(settings: StudySettings, subjects: pd.DataFrame) -> list[Covariate]:
    """Return the covariates of the clinical comparator: those that the settings name, or those found by name.

    Raises
    ------
    UserError
        If a named column is absent, or a value is none of its column's kind.
    """
    named = settings.evaluation.clinical
    absent = [column for column in named or () if column not in subjects]
    if absent:
        what = f"evaluation.clinical names the column '{absent[0]}', which is absent"
        raise UserError(what, settings.cohort.subjects, nearest_name(absent[0], list(subjects.columns)))
    try:
        found = find_covariates(subjects if named is None else subjects[list(dict.fromkeys(named))])
    except UserError as error:
        mend = f"{error.mend}; or name in evaluation.clinical the columns to use" if error.mend else error.mend
        raise UserError(error.what, settings.cohort.subjects, mend) from None
    if named is None:
        return found
    by_column = {covariate.column: covariate for covariate in found}
    chosen = []
    for column in named:
        numeric = pd.to_numeric(subjects[column].replace("", np.nan), errors="coerce").notna()
        kind: Kind = "number" if bool((numeric | (subjects[column] == "")).all()) else "category"
        chosen.append(by_column.get(column) or Covariate(column, column, kind))
    return chosen


def check_covariates(settings: StudySettings, subjects: Sequence[Subject]) -> None:
    """Read the covariates of the clinical comparator once, before anything is extracted or trained.

    Raises
    ------
    UserError
        As `clinical_covariates`.
    """
    clinical_covariates(settings, pd.DataFrame([dict(subject.covariates) for subject in subjects]).fillna(""))


def judge_comparators(
    settings: StudySettings,
    layout: StudyLayout,
    index: GraphIndex,
    folds: Folds,
    grid: TimeGrid,
    methods: Sequence[Method],
) -> dict[str, pd.DataFrame]:
    """Fit the comparators in every fold, on the same training parts as the methods, and judge them alike.

    The imaging risk beside the clinical covariates, and the risks that late fusion joins, are the networks' own:
    those of training subjects are cross-fitted. In the protocol ``paper`` they are not, so there only the
    Kaplan–Meier null and the clinical model are judged.

    Returns
    -------
    dict of str to DataFrame
        Tables as in `records.COLUMNS`.
    """
    subjects = read_subjects_table(layout)
    covariates = clinical_covariates(settings, subjects)
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    for number, fold in enumerate(folds):
        judge = _FoldJudge(settings, index, subjects, covariates, fold, number, grid)
        for records in judge.all([m for m in methods if m.fold == number], layout):
            for name, rows in tables.items():
                rows.append(records.table(name))
    return {name: joined(name, rows) for name, rows in tables.items()}


class _FoldJudge:
    """Fits and judges the comparators of one fold."""

    def __init__(
        self,
        settings: StudySettings,
        index: GraphIndex,
        subjects: pd.DataFrame,
        covariates: list[Covariate],
        fold: Fold,
        number: int,
        grid: TimeGrid,
    ) -> None:
        self.settings, self.index, self.grid = settings, index, grid
        self.subjects, self.covariates = subjects, covariates
        self.fold, self.number = fold, number

    def all(self, methods: Sequence[Method], layout: StudyLayout) -> list[FoldRecords]:
        """Return the records of every comparator that there is anything to fit for."""
        train, test = ([name for name in part if name in self.index] for part in (self.fold.train, self.fold.test))
        done = [self._null(train, test)]
        if self.covariates:
            done.append(self._clinical(train, test))
        if self.settings.protocol == "paper":
            return done
        risks = {method: self._network_risks(method, layout) for method in methods}
        if self.covariates:
            done += [self._with_clinical(method, risk) for method, risk in risks.items()]
        for aggregator in dict.fromkeys(method.aggregator for method in methods):
            parts = {m.modality: r for m, r in risks.items() if m.aggregator == aggregator and m.modality != "joint"}
            if len(parts) > 1:
                done.append(self._late_fusion(aggregator, {str(name): risk for name, risk in parts.items()}))
        return done

    def _records(self, train: list[str], test: list[str]) -> FoldRecords:
        evaluation = self.settings.evaluation
        horizons = horizons_of(evaluation, self.settings.cohort.time_unit, self.grid)
        rules = rules_of(self.settings, self.grid)
        parts = self._follow_up(train), self._follow_up(test)
        return FoldRecords(self.fold.repeat, self.number, *parts, test, rules, self.grid, horizons, evaluation.cut)

    def _follow_up(self, names: list[str]) -> FollowUp:
        rows = self.subjects.loc[names]
        return FollowUp(rows["time"].to_numpy(), rows["event"].to_numpy())

    def _network_risks(self, method: Method, layout: StudyLayout) -> _Risks:
        folder = layout.model(method.modality, method.aggregator, method.fold)
        stored = load_file(folder / "embeddings.safetensors")
        train, test = (subjects_with_graph(self.index, method, part) for part in (self.fold.train, self.fold.test))
        return _Risks(pd.Series(stored["train_risk"], train), pd.Series(stored["test_risk"], test))

    def _null(self, train: list[str], test: list[str]) -> FoldRecords:
        records = self._records(train, test)

        def survival(times: FloatArray) -> SurvivalCurves:
            return kaplan_meier_null(records.train, times, len(test))

        records.add(NULL, Judged(RiskScores(np.zeros(len(train))), RiskScores(np.zeros(len(test))), survival))
        return records

    def _clinical(self, train: list[str], test: list[str]) -> FoldRecords:
        return self._cox(CLINICAL, train, test, {})

    def _with_clinical(self, method: Method, risks: _Risks) -> FoldRecords:
        name = Name(f"{WITH_CLINICAL}{method.modality}", method.aggregator, "Cox")
        train, test = list(risks.train.index), list(risks.test.index)
        return self._cox(name, train, test, {"imaging": (risks.train.to_numpy(), risks.test.to_numpy())})

    def _cox(
        self, name: Name, train: list[str], test: list[str], risks: dict[str, tuple[NDArray[np.float64], ...]]
    ) -> FoldRecords:
        records = self._records(train, test)
        seen, asked = ({key: parts[k] for key, parts in risks.items()} for k in (0, 1))
        known, others = self.subjects.loc[train], self.subjects.loc[test]
        try:
            fitted = fit_clinical_cox(known, records.train, self.covariates, **seen)
            train_risk, test_risk = fitted.predict_risk(known, **seen), fitted.predict_risk(others, **asked)
        except UserError as error:
            records.add_undefined(name, str(error))
            return records
        records.add(name, Judged(train_risk, test_risk, lambda times: fitted.predict_survival(others, times, **asked)))
        return records

    def _late_fusion(self, aggregator: str, risks: dict[str, _Risks]) -> FoldRecords:
        name = Name(LATE, aggregator, "Cox")
        train, test = (
            sorted(set().union(*(getattr(r, part).index for r in risks.values()))) for part in ("train", "test")
        )
        records = self._records(train, test)
        seen, asked = (
            {m: getattr(r, part).reindex(ids).to_numpy() for m, r in risks.items()}
            for part, ids in (("train", train), ("test", test))
        )
        try:
            fused = fit_late_fusion(dict(seen), records.train)
        except UserError as error:
            records.add_undefined(name, str(error))
            return records

        def survival(times: FloatArray) -> SurvivalCurves:
            return fused.predict_survival(dict(asked), times)

        records.add(name, Judged(fused.predict_risk(dict(seen)), fused.predict_risk(dict(asked)), survival))
        return records
