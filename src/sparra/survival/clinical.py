"""The clinical comparator: a Cox model of stage, grade, age and sex, where a cohort has them."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from sparra.errors import UserError
from sparra.survival.cox import CoxFit, fit_cox
from sparra.survival.outcomes import FloatArray, FollowUp, RiskScores, SurvivalCurves

Kind = Literal["number", "stage", "grade", "category"]

# Column names, in lower case, by which cohorts, TCGA-CDR, GDC, cBioPortal and TCIA call a covariate.
_NAMES: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "age": (
        "number",
        ("age", "age_at_initial_pathologic_diagnosis", "age_at_diagnosis", "age_at_index", "age_years"),
    ),
    "stage": (
        "stage",
        (
            "stage",
            "ajcc_stage",
            "ajcc_pathologic_stage",
            "ajcc_pathologic_tumor_stage",
            "pathologic_stage",
            "clinical_stage",
            "tumor_stage",
        ),
    ),
    "grade": (
        "grade",
        ("grade", "histological_grade", "tumor_grade", "neoplasm_histologic_grade", "isup_grade", "fuhrman_grade"),
    ),
    "sex": ("category", ("sex", "gender", "is_female", "is_male", "biological_sex")),
}
_UNKNOWN = {
    *("", "nan", "na", "n/a", "none", "unknown", "not available", "not reported", "not applicable"),
    *("[not available]", "[not applicable]", "[unknown]", "[discrepancy]", "[not evaluated]", "'--", "--", "x"),
    *("gx", "stage x"),
}
# Known to registries, but no place on a scale of 1 to 4.
_UNSTAGED = {"gb", "high grade", "low grade", "stage 0", "stage is", "is", "i/ii nos"}
_ROMAN = {"i": 1.0, "ii": 2.0, "iii": 3.0, "iv": 4.0}
_STAGE = re.compile(r"(?:ajcc\s*)?(?:stage\s*)?(?:(iv|iii|ii|i)|([1-4]))\s*[a-d]?[1-3]?")
_GRADE = re.compile(r"(?:grade\s*|g\s*)?(?:(iv|iii|ii|i)|([1-4]))")
_SCALES: dict[Kind, re.Pattern[str]] = {"stage": _STAGE, "grade": _GRADE}


class Covariate(NamedTuple):
    """A column of the subjects' table and how it is read.

    Attributes
    ----------
    name : str
        ``age``, ``stage``, ``grade``, ``sex``, or the column's own name.
    column : str
    kind : {"number", "stage", "grade", "category"}
        A stage or grade is ordered: one number from 1 to 4, one coefficient (a linear trend in the log
        hazard). A category has a coefficient for each value but the commonest of the training part.
    """

    name: str
    column: str
    kind: Kind


def find_covariates(subjects: pd.DataFrame) -> list[Covariate]:
    """Return which of age, stage, grade and sex the table has, by their usual column names.

    A column without two different known values among the subjects is left out. A stage or grade that is written in
    other words throughout (low, intermediate, high) is a category: their order is not ours to guess.

    Raises
    ------
    UserError
        If a value is none of its column's kind.
    """
    by_lower = {str(column).strip().lower(): str(column) for column in subjects.columns}
    found = []
    for name, (kind, aliases) in _NAMES.items():
        column = next((by_lower[alias] for alias in aliases if alias in by_lower), None)
        if column is None:
            continue
        covariate = Covariate(name, column, "category" if _is_in_other_words(subjects[column], kind) else kind)
        if _n_known_values(read_covariate(subjects, covariate)) > 1:
            found.append(covariate)
    return found


def parse_stage(text: object) -> float:
    """Return an AJCC stage as 1 to 4, sub-stages joined ("Stage IIIA", "iva", 3); NaN where unknown."""
    return _ordered(text, _STAGE, "stage")


def parse_grade(text: object) -> float:
    """Return a grade as 1 to 4 ("G3", "Grade 2", 4); NaN where unknown ("GX", "[Not Available]")."""
    return _ordered(text, _GRADE, "grade")


def read_covariate(subjects: pd.DataFrame, covariate: Covariate) -> pd.Series:
    """Return a column as numbers, or as text for a category; NaN where unknown.

    Raises
    ------
    UserError
        If a value is none of the kind's.
    """
    if covariate.column not in subjects:
        raise UserError(f"the subjects' table has no column '{covariate.column}'")
    column = subjects[covariate.column]
    if covariate.kind == "number":
        return column.map(lambda value: _number(value, covariate.column)).astype(float)
    if covariate.kind == "category":
        return column.map(lambda value: np.nan if _is_unknown(value) else _text(value)).astype(object)
    parse = parse_stage if covariate.kind == "stage" else parse_grade
    try:
        return column.map(parse).astype(float)
    except UserError as error:
        raise UserError(f"in column '{covariate.column}' {error.what}", mend=error.mend) from None


@dataclass(frozen=True)
class ClinicalDesign:
    """How covariates become numbers, as fitted on a training part.

    Attributes
    ----------
    covariates : tuple of Covariate
        Those that vary in the training part.
    fill : dict of str to float
        Imputed value of each number, stage or grade: the training median.
    levels : dict of str to tuple of str
        Values of each category in the training part, the commonest (the reference) first.
    columns : tuple of str
        Names of the design's columns, such as ``age``, ``stage``, ``sex=male``.
    """

    covariates: tuple[Covariate, ...]
    fill: dict[str, float]
    levels: dict[str, tuple[str, ...]]
    columns: tuple[str, ...]

    def apply(self, subjects: pd.DataFrame) -> FloatArray:
        """Return the design matrix of other subjects, shape (n, q); nothing is missing in it.

        An unknown number takes the training median, an unknown or new category the reference.
        """
        columns: list[FloatArray] = []
        for covariate in self.covariates:
            values = read_covariate(subjects, covariate)
            if covariate.kind == "category":
                columns += [np.asarray(values == level, dtype=np.float64) for level in self.levels[covariate.name][1:]]
            else:
                columns.append(values.fillna(self.fill[covariate.name]).to_numpy(dtype=np.float64))
        return np.column_stack(columns) if columns else np.zeros((len(subjects), 0))


def fit_clinical_design(subjects: pd.DataFrame, covariates: list[Covariate] | None = None) -> ClinicalDesign:
    """Learn medians and categories from a training part.

    Parameters
    ----------
    subjects : DataFrame
        One row a training subject.
    covariates : list of Covariate, optional
        By default those that `find_covariates` finds. One that does not vary here is left out.
    """
    wanted = find_covariates(subjects) if covariates is None else covariates
    kept: list[Covariate] = []
    fill: dict[str, float] = {}
    levels: dict[str, tuple[str, ...]] = {}
    columns: list[str] = []
    for covariate in wanted:
        values = read_covariate(subjects, covariate)
        if _n_known_values(values) < 2:
            continue
        kept.append(covariate)
        if covariate.kind == "category":
            levels[covariate.name] = _commonest_first(values)
            columns += [f"{covariate.name}={level}" for level in levels[covariate.name][1:]]
        else:
            fill[covariate.name] = float(values.median())
            columns.append(covariate.name)
    return ClinicalDesign(tuple(kept), fill, levels, tuple(columns))


@dataclass(frozen=True)
class FittedClinicalCox:
    """A Cox model of clinical covariates, and of further risks if it was given any.

    Attributes
    ----------
    design : ClinicalDesign
    further : tuple of str
        Names of the further risks, such as ``imaging``; they follow the design's columns.
    cox : CoxFit
    """

    design: ClinicalDesign
    further: tuple[str, ...]
    cox: CoxFit

    def predict_risk(self, subjects: pd.DataFrame, **risks: ArrayLike) -> RiskScores:
        """Return one risk a subject; `risks` names each further risk, shape (n,)."""
        return self.cox.predict_risk(self._matrix(subjects, risks))

    def predict_survival(self, subjects: pd.DataFrame, times: ArrayLike, **risks: ArrayLike) -> SurvivalCurves:
        """Return S(t) at `times` for each subject."""
        return self.cox.predict_survival(self._matrix(subjects, risks), times)

    def summary(self) -> pd.DataFrame:
        """Return covariate, hazard_ratio, lower, upper (95 %, Wald), p; one row a column of the design."""
        ratio, lower, upper = self.cox.hazard_ratio
        return pd.DataFrame(
            {
                "covariate": [*self.design.columns, *self.further],
                "hazard_ratio": ratio,
                "lower": lower,
                "upper": upper,
                "p": self.cox.p,
            }
        )

    def _matrix(self, subjects: pd.DataFrame, risks: dict[str, ArrayLike]) -> FloatArray:
        return _joined(self.design.apply(subjects), self.further, risks)


def fit_clinical_cox(
    subjects: pd.DataFrame,
    follow_up: FollowUp,
    covariates: list[Covariate] | None = None,
    **risks: ArrayLike,
) -> FittedClinicalCox:
    """Fit the clinical comparator, or clinical + imaging, to a training part.

    Parameters
    ----------
    subjects : DataFrame
        One row a training subject.
    follow_up : FollowUp
        Of the same subjects.
    covariates : list of Covariate, optional
        As for `fit_clinical_design`.
    **risks : array-like, shape (n,)
        Further risks by name. Those of training subjects must be cross-fitted (by models that never saw
        the subject): in-sample risks look better than they are and would take all the weight.

    Raises
    ------
    UserError
        If no covariate varies, the numbers of rows disagree or the likelihood has no maximum.
    """
    if len(subjects) != len(follow_up):
        raise UserError(f"there are {len(subjects)} rows of covariates but follow-up of {len(follow_up)} subjects")
    design = fit_clinical_design(subjects, covariates)
    names = tuple(risks)
    matrix = _joined(design.apply(subjects), names, risks)
    if matrix.shape[1] == 0:
        raise UserError(
            "none of stage, grade, age and sex is known and varies", mend="add such a column to subjects.csv"
        )
    cox = fit_cox(matrix, follow_up)
    if cox.reason:
        raise UserError(f"the clinical Cox model could not be fitted: {cox.reason}", mend="leave a covariate out")
    return FittedClinicalCox(design, names, cox)


def _joined(matrix: FloatArray, names: tuple[str, ...], risks: dict[str, ArrayLike]) -> FloatArray:
    if set(names) != set(risks):
        raise UserError(f"the model needs the risks {list(names)} but got {list(risks)}")
    further = [np.asarray(risks[name], dtype=np.float64) for name in names]
    return np.column_stack([matrix, *further]) if further else matrix


def _commonest_first(values: pd.Series) -> tuple[str, ...]:
    counts = Counter(str(value) for value in values.dropna())
    return tuple(sorted(counts, key=lambda level: (-counts[level], level)))


def _n_known_values(values: pd.Series) -> int:
    return int(values.dropna().nunique())


def _is_unknown(value: object) -> bool:
    return str(value).strip().lower() in _UNKNOWN


def _is_in_other_words(column: pd.Series, kind: Kind) -> bool:
    """Tell whether a stage or grade has known values, and none of them is on the scale of 1 to 4."""
    if kind not in _SCALES:
        return False
    known = {_on_scale(value) for value in column if not _is_unknown(value) and _text(value) not in _UNSTAGED}
    return bool(known) and not any(_SCALES[kind].fullmatch(word) for word in known)


def _on_scale(value: object) -> str:
    """Return a value as the scales' patterns take it: a whole number may have come as 2.0."""
    return re.sub(r"\.0$", "", _text(value))


def _text(value: object) -> str:
    return str(value).strip().lower()


def _number(value: object, column: str) -> float:
    if _is_unknown(value):
        return float("nan")
    try:
        return float(str(value))
    except ValueError:
        raise UserError(f"'{value}' in column '{column}' is not a number") from None


def _ordered(text: object, pattern: re.Pattern[str], kind: str) -> float:
    """Return 1 to 4 from a roman or arabic number."""
    word = _text(text)
    if word in _UNKNOWN or word in _UNSTAGED:
        return float("nan")
    match = pattern.fullmatch(_on_scale(text))
    if match is None:
        mend = f"Write 1 to 4 or I to IV throughout, or other words throughout, and leave an unknown {kind} empty"
        raise UserError(f"'{text}' is not a {kind}", mend=mend)
    roman, arabic = match.groups()
    return _ROMAN[roman] if roman else float(arabic)
