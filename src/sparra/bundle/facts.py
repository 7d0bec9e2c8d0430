"""What a bundle tells of the study behind it, in aggregate: the kind of its images, the cohort, the performance."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparra.bags import read_bag
from sparra.bundle.compare import source_resolution, weight_digests
from sparra.bundle.content import CohortSummary, Figure, InputKind
from sparra.errors import UserError
from sparra.modality import Modality
from sparra.study.comparators import read_subjects_table
from sparra.study.layout import StudyLayout
from sparra.study.stages import stored_kind
from sparra.survival.groups import kaplan_meier
from sparra.survival.summary import NETWORK, summarise_metrics
from sparra.training.subjects import SubjectData

METRIC_NAMES = {"c_index": "C-index", "c_ipcw": "C-IPCW", "c_auc": "C-AUC", "ibs": "integrated Brier score"}
C_INDEX = "C-index (mean within folds, bootstrap over patients)"
CALIBRATION_SLOPE = "calibration slope"
# Ages of so few patients say too much of each.
_FEWEST_AGES = 10


def input_kind(layout: StudyLayout, subjects: Sequence[SubjectData], modality: Modality) -> InputKind:
    """Gather of what kind the training images of one modality are, from the bags behind the subjects' graphs.

    Raises
    ------
    UserError
        If their encoders had different weights.
    """
    keys = [key for subject in subjects if modality in subject.graphs for key in subject.graphs[modality].images]
    bags = [layout.bag(modality, key) for key in keys]
    kinds = [stored_kind(path) for path in bags]
    provenances = [dict(read_bag(path).provenance) for path in bags]
    weights = Counter(weight_digests(provenance) for provenance in provenances)
    if len([digests for digests in weights if digests]) > 1:
        raise UserError(f"the {modality} images were encoded with different weights", layout.root, "Extract anew")
    source: dict[str, tuple[float, float]] = {}
    for provenance in provenances:
        for name, value in source_resolution(provenance).items():
            least, most = source.get(name, (value, value))
            source[name] = min(least, value), max(most, value)
    known = {key: [kind[key] for kind in kinds if kind.get(key)] for key in ("patch", "tile_mpp")}
    return InputKind(
        features=kinds[0]["features"],
        names=kinds[0]["names"],
        patch=float(np.median(known["patch"])) if known["patch"] else None,
        tile_mpp=float(np.median(known["tile_mpp"])) if known["tile_mpp"] else None,
        weights=max(weights),
        source=source,
        n_images=len(keys),
    )


def cohort_summary(layout: StudyLayout, subjects: Sequence[SubjectData]) -> CohortSummary:
    """Describe the training cohort without a word of any one patient."""
    time, event = np.array([s.time for s in subjects]), np.array([s.event for s in subjects])
    having = {name: sum(name in s.graphs for s in subjects) for name in ("ct", "slide")}
    both = sum(set(s.graphs) >= {"ct", "slide"} for s in subjects)
    table = read_subjects_table(layout).loc[[s.subject_id for s in subjects]]
    return CohortSummary(
        n_subjects=len(subjects),
        n_events=int(event.sum()),
        with_modality={"ct": having["ct"], "slide": having["slide"], "both": both},
        median_follow_up=_median_follow_up(time, event),
        longest_follow_up=float(time.max()),
        age=_ages(table),
    )


def _median_follow_up(time: NDArray[np.float64], event: NDArray[np.bool_]) -> float | None:
    """Return the median of the censoring time (reverse Kaplan–Meier; Schemper & Smith 1996)."""
    curve = kaplan_meier(time, ~event)
    reached = np.flatnonzero(curve.survival <= 0.5)
    return float(curve.times[reached[0]]) if reached.size else None


def _ages(table: pd.DataFrame) -> dict[str, float] | None:
    column = next((name for name in table.columns if str(name).lower() == "age"), None)
    if column is None:
        return None
    ages = pd.to_numeric(table[column], errors="coerce").dropna()
    if len(ages) < _FEWEST_AGES:
        return None
    lower, upper = np.percentile(ages, (25, 75))
    figures = {"n": len(ages), "mean": ages.mean(), "sd": ages.std(), "lower": lower, "upper": upper}
    return {name: float(value) for name, value in figures.items()}


def performance(layout: StudyLayout, modality: str, aggregator: str, model: str) -> tuple[Figure, ...]:
    """Return the study's out-of-fold figures of one method."""
    method = {"modality": modality, "aggregator": aggregator, "model": model}
    interval = _rows(layout.intervals, method)
    figures = [
        Figure(
            name=C_INDEX,
            value=_number(row["c_index"]),
            lower=_number(row["lower"]),
            upper=_number(row["upper"]),
            note=str(row["reason"]),
        )
        for _, row in interval.iterrows()
    ]
    metrics = _rows(layout.metrics, method)
    metrics["value"] = pd.to_numeric(metrics["value"])
    summary = summarise_metrics(metrics)
    for _, row in summary[summary["model"] == model].iterrows():
        name = METRIC_NAMES.get(str(row["metric"]), str(row["metric"]))
        figures.append(Figure(name=name, value=_number(row["mean"]), sd=_number(row["sd"]), note=str(row["reason"])))
    if model != NETWORK:
        figures += _calibration(layout, method)
    return tuple(figures)


def _calibration(layout: StudyLayout, method: dict[str, str]) -> list[Figure]:
    if not layout.calibration.exists():
        return []
    return [
        Figure(
            name=f"{CALIBRATION_SLOPE} at {float(row['horizon']):g}",
            value=_number(row["slope"]),
            lower=_number(row["slope_lower"]),
            upper=_number(row["slope_upper"]),
            note=str(row["reason"]),
        )
        for _, row in _rows(layout.calibration, method).iterrows()
    ]


def _rows(path: Path, method: dict[str, str]) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    chosen = np.logical_and.reduce([table[name] == value for name, value in method.items()])
    return table[chosen].copy()


def _number(cell: object) -> float | None:
    text = str(cell)
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None
