"""What the evaluation comes to: comparisons, calibration, decision curves, added value; one table each."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from sparra.cohort.splits import Folds
from sparra.errors import UserError
from sparra.files import write_text
from sparra.report.results import describe
from sparra.study.comparators import CLINICAL, LATE, WITH_CLINICAL, clinical_covariates, read_subjects_table
from sparra.study.layout import StudyLayout
from sparra.study.records import KEYS, Name
from sparra.study.settings import StudySettings
from sparra.survival.added_value import added_value
from sparra.survival.calibration import calibrate
from sparra.survival.clinical import Covariate
from sparra.survival.comparison import PairedComparison, compare_predictions, holm
from sparra.survival.decision import decision_curve
from sparra.survival.outcomes import FollowUp, RiskScores, SurvivalCurves
from sparra.survival.summary import NETWORK

SPARRA = "sparra"
LEVEL = 0.05
THRESHOLDS = np.linspace(0.01, 0.99, 99)
NAMES = [f"{side}_{key}" for side in ("first", "second") for key in KEYS]
COMPARISON_COLUMNS = [
    "question", *NAMES, "c_index_first", "c_index_second", "difference", "lower", "upper", "p_bootstrap",
    "t", "p", "p_holm", "n_patients", "n_folds", "reason", "sentence",
]  # fmt: skip
CALIBRATION_COLUMNS = [
    *KEYS, "horizon", "n_subjects", "n_events", "slope", "slope_lower", "slope_upper", "observed", "predicted",
    "ici", "e50", "e90", "reason",
]  # fmt: skip
DECISION_COLUMNS = [*KEYS, "horizon", "threshold", "net_benefit", "treat_all", "reason"]
ADDED_COLUMNS = [
    "modality", "aggregator", "covariates", "n_subjects", "n_events", "chi_square", "df", "p", "p_uncorrected",
    "hazard_ratio", "lower", "upper", "reason",
]  # fmt: skip
_Pair = tuple[str, Name, Name]


def write_conclusions(
    settings: StudySettings,
    layout: StudyLayout,
    folds: Folds,
    tables: dict[str, pd.DataFrame],
    comparators: dict[str, pd.DataFrame],
) -> None:
    """Write ``comparisons.csv``, ``calibration.csv``, ``decision.csv`` and ``added_value.csv``.

    Parameters
    ----------
    settings : StudySettings
    layout : StudyLayout
    folds : Folds
    tables, comparators : dict of str to DataFrame
        As in `records.COLUMNS`, of the methods and of what they are held against.
    """
    predictions = pd.concat([tables["predictions"], comparators["predictions"]], ignore_index=True)
    survival = pd.concat([tables["survival"], comparators["survival"]], ignore_index=True)
    ratio = float(np.mean([len(fold.test) / len(fold.train) for fold in folds]))
    _write(layout.comparisons, comparisons(predictions, ratio, settings.seed), COMPARISON_COLUMNS)
    calibration, decision = judge_probabilities(survival)
    _write(layout.calibration, calibration, CALIBRATION_COLUMNS)
    _write(layout.decision, decision, DECISION_COLUMNS)
    subjects = read_subjects_table(layout)
    covariates = clinical_covariates(settings, subjects)
    _write(layout.added_value, added_values(tables["predictions"], subjects, covariates), ADDED_COLUMNS)


def _write(path: Path, table: pd.DataFrame, columns: list[str]) -> None:
    write_text(path, table.reindex(columns=columns).to_csv(index=False, lineterminator="\n"))


def comparisons(predictions: pd.DataFrame, test_to_train: float, seed: int) -> pd.DataFrame:
    """Compare every pair that a reader asks about, and adjust the p-values for their number.

    Parameters
    ----------
    predictions : DataFrame
        Out-of-fold, of methods and comparators.
    test_to_train : float
    seed : int
    """
    by_name = {Name(*map(str, key)): rows for key, rows in predictions.groupby(KEYS, sort=False)}
    rows = []
    for question, first, second in pairs(list(by_name)):
        found = compare_predictions(by_name[first], by_name[second], test_to_train=test_to_train, seed=seed)
        rows.append((question, first, second, found))
    adjusted = holm([found.p for *_, found in rows])
    records = []
    for (question, first, second, found), p_holm in zip(rows, adjusted, strict=True):
        values = asdict(found)
        values |= {"c_index_first": values.pop("first"), "c_index_second": values.pop("second"), "p_holm": p_holm}
        values |= dict(zip(NAMES, (*first, *second), strict=True))
        sentence = sentence_of(describe(*first), describe(*second), found, float(p_holm))
        records.append({"question": question, **values, "sentence": sentence})
    return pd.DataFrame(records, columns=COMPARISON_COLUMNS)


def pairs(names: Sequence[Name]) -> Iterator[_Pair]:
    """Yield what is compared with what.

    - aggregation: SPARRA and each other aggregator (without SPARRA: all pairs), same images, same model;
    - images: both kinds of images and either alone, same aggregator, same model;
    - fusion: the joint model and late fusion, by the networks' own risks;
    - added value: clinical with imaging, and clinical alone.
    """
    known = set(names)
    methods = [name for name in names if name.modality in ("ct", "slide", "joint")]
    yield from _aggregation_pairs(methods)
    for name in (name for name in methods if name.modality == "joint"):
        alone = [name._replace(modality=modality) for modality in ("ct", "slide")]
        yield from (("images", name, other) for other in alone if other in known)
        late = Name(LATE, name.aggregator, "Cox")
        if name.model == NETWORK and late in known:
            yield "fusion", name, late
    if CLINICAL in known:
        yield from (("added value", name, CLINICAL) for name in names if name.modality.startswith(WITH_CLINICAL))


def _aggregation_pairs(methods: Sequence[Name]) -> Iterator[_Pair]:
    with_sparra = {name[0::2] for name in methods if name.aggregator == SPARRA}
    for one, other in combinations(methods, 2):
        first, second = (other, one) if other.aggregator == SPARRA else (one, other)
        rivals = first[0::2] == second[0::2]
        if rivals and (first.aggregator == SPARRA or first[0::2] not in with_sparra):
            yield "aggregation", first, second


def sentence_of(first: str, second: str, found: PairedComparison, p_holm: float) -> str:
    """Return the result of a comparison as a sentence.

    A difference is called one only if the interval leaves zero out and the adjusted p is below 0.05.
    """
    subject = f"{first[0].upper()}{first[1:]}"
    if not np.isfinite(found.difference):
        return f"{subject} and {second} could not be compared: {found.reason}."
    side = "higher" if found.difference >= 0 else "lower"
    numbers = (
        f"{subject} had a C-index {abs(found.difference):.3f} {side} than {second} ({found.first:.3f} and "
        f"{found.second:.3f}; 95 % interval of the difference {found.lower:.3f} to {found.upper:.3f}; "
    )
    if not np.isfinite(found.p):
        return f"{numbers}no test: {found.reason})."
    test = f"corrected resampled t-test p {_p(found.p)}, after Holm {_p(p_holm)})"
    outside = found.lower > 0 or found.upper < 0
    if outside and p_holm < LEVEL:
        return f"{numbers}{test}: a difference."
    return f"{numbers}{test}: no difference was shown."


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def judge_probabilities(survival: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return calibration and net benefit of each method at each horizon, over its first repeat.

    Each patient counts once, with the prediction of the first fold that tested the patient.
    """
    calibrations, curves = [], []
    for key, rows in survival.groupby([*KEYS, "horizon"], sort=False):
        *name, at = key if isinstance(key, tuple) else (key,)
        horizon = float(str(at))
        once = rows.sort_values("fold", kind="stable").drop_duplicates("subject_id")
        follow_up = FollowUp(once["time"].to_numpy(float), once["event"].to_numpy(bool))
        predicted = SurvivalCurves(np.array([horizon]), once["survival"].to_numpy(float)[:, None])
        named = dict(zip(KEYS, map(str, name), strict=True))
        found = asdict(calibrate(follow_up, _without_folds(once, predicted), horizon))
        calibrations.append({**named, **{c: found[c] for c in CALIBRATION_COLUMNS if c in found}})
        curve = decision_curve(follow_up, predicted, horizon, THRESHOLDS)
        benefit = pd.DataFrame(
            {"threshold": curve.thresholds, "net_benefit": curve.model, "treat_all": curve.treat_all}
        )
        curves.append(benefit.assign(**named, horizon=horizon, reason=curve.reason))
    decision = pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=DECISION_COLUMNS)
    return pd.DataFrame(calibrations, columns=CALIBRATION_COLUMNS), decision


def _without_folds(once: pd.DataFrame, predicted: SurvivalCurves) -> SurvivalCurves:
    """Return the mean for all where a fold's patients have one prediction, as by the Kaplan–Meier null.

    Such predictions differ by the luck of the training parts alone: the fewer events in one, the more in its test
    part. A slope of that would be no calibration.
    """
    if (once.groupby("fold")["survival"].nunique() > 1).any():
        return predicted
    return SurvivalCurves(predicted.times, np.full_like(predicted.values, predicted.values.mean()))


def added_values(predictions: pd.DataFrame, subjects: pd.DataFrame, covariates: list[Covariate]) -> pd.DataFrame:
    """Return the likelihood ratio of clinical + imaging against clinical for each network's out-of-fold risk.

    `p` is corrected for what the folds share, `p_uncorrected` that of the chi-square; see `AddedValue`.
    """
    rows = []
    own = predictions[(predictions["model"] == NETWORK)] if covariates else predictions.iloc[:0]
    for key, table in own.groupby(["modality", "aggregator"], sort=False):
        modality, aggregator = key
        once = table.sort_values("fold", kind="stable").drop_duplicates("subject_id")
        follow_up = FollowUp(once["time"].to_numpy(float), once["event"].to_numpy(bool))
        imaging = RiskScores(once["risk"].to_numpy(float))
        row = {"modality": modality, "aggregator": aggregator, "n_subjects": len(once)}
        try:
            found = added_value(
                subjects.loc[once["subject_id"]], follow_up, imaging, fold=once["fold"], covariates=covariates
            )
        except UserError as error:
            rows.append(row | {"reason": str(error)})
            continue
        test = found.likelihood_ratio
        row |= {"covariates": " ".join(found.columns), "n_events": found.n_events, "reason": test.reason}
        row |= {"chi_square": test.statistic, "df": test.df, "p": found.p, "p_uncorrected": test.p}
        rows.append(row | {"hazard_ratio": found.hazard_ratio, "lower": found.lower, "upper": found.upper})
    return pd.DataFrame(rows, columns=ADDED_COLUMNS)
