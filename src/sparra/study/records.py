"""The rows that one fold adds to the tables of the evaluation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparra.study.rules import Rules
from sparra.survival.groups import risk_groups
from sparra.survival.metrics import auc_curve
from sparra.survival.outcomes import FloatArray, FollowUp, RiskScores, SurvivalCurves, undefined
from sparra.survival.settings import EvaluationSettings
from sparra.survival.time_grid import TimeGrid

METRICS = ("c_index", "c_ipcw", "c_auc", "ibs")
KEYS = ["modality", "aggregator", "model"]
COLUMNS = {
    "metrics": [*KEYS, "metric", "repeat", "fold", "value", "reason"],
    "predictions": [*KEYS, "repeat", "fold", "subject_id", "time", "event", "risk", "group"],
    "survival": [*KEYS, "repeat", "fold", "subject_id", "time", "event", "horizon", "survival"],
    "auc": [*KEYS, "repeat", "fold", "at", "auc"],
}
CLINICAL_YEARS = (1.0, 3.0, 5.0)
YEAR_IN = {"days": 365.25, "months": 12.0, "years": 1.0}


class Name(NamedTuple):
    """A method as the tables name it."""

    modality: str
    aggregator: str
    model: str


class Judged(NamedTuple):
    """A model's predictions for one fold.

    Attributes
    ----------
    train_risk, risk : RiskScores
        Of the training and the test part.
    survival : callable
        ``survival(times)`` gives the test part's curves, or None if the model has none.
    """

    train_risk: RiskScores
    risk: RiskScores
    survival: Callable[[FloatArray], SurvivalCurves | None]


def horizons_of(evaluation: EvaluationSettings, time_unit: str, grid: TimeGrid) -> FloatArray:
    """Return the times at which calibration and decision curves are drawn, below τ.

    Those of the settings, or 1, 3 and 5 years as far as they lie before τ, or else the middle of the grid.
    """
    asked = evaluation.horizons or [years * YEAR_IN[time_unit] for years in CLINICAL_YEARS]
    kept = [float(time) for time in asked if time < grid.tau]
    return np.array(kept or [float(np.median(grid.times))])


@dataclass
class FoldRecords:
    """Rows of one fold, gathered method by method.

    Attributes
    ----------
    repeat, fold : int
        `fold` is the place among all folds of all repeats.
    train, test : FollowUp
    test_ids : list of str
    rules : Rules
    grid : TimeGrid
    horizons : ndarray, shape (H,)
    cut : {"median", "mean"}
        Of the training risks.
    """

    repeat: int
    fold: int
    train: FollowUp
    test: FollowUp
    test_ids: list[str]
    rules: Rules
    grid: TimeGrid
    horizons: FloatArray
    cut: Any
    _tables: dict[str, list[pd.DataFrame]] = field(default_factory=lambda: {name: [] for name in COLUMNS})

    def add(self, name: Name, judged: Judged) -> None:
        """Judge a model's predictions and keep them."""
        times = self.rules.times(self.test)
        values = self.rules.judge(self.train, self.test, judged.risk, judged.survival(times), times)
        self._keep("metrics", name, metric=list(values), value=[v.value for v in values.values()],
                   reason=[v.reason for v in values.values()])  # fmt: skip
        groups = risk_groups(judged.train_risk, judged.risk, self.cut)
        subjects: dict[str, Any] = {
            "subject_id": self.test_ids,
            "time": self.test.time,
            "event": self.test.event.astype(int),
        }
        self._keep("predictions", name, **subjects, risk=judged.risk.values, group=groups)
        curve = auc_curve(self.train, self.test.censored_at(self.grid.tau), judged.risk, self.grid.times)
        self._keep("auc", name, at=curve.times, auc=curve.values)
        curves = judged.survival(self.horizons)
        if curves is not None:
            n, k = curves.values.shape
            repeated: dict[str, Any] = {key: np.repeat(np.asarray(value), k) for key, value in subjects.items()}
            self._keep("survival", name, **repeated, horizon=np.tile(self.horizons, n), survival=curves.values.ravel())

    def add_undefined(self, name: Name, reason: str) -> None:
        """Keep that a model could not be fitted, and why."""
        values = [undefined(reason)] * len(METRICS)
        self._keep(
            "metrics", name, metric=list(METRICS), value=[v.value for v in values], reason=[reason] * len(values)
        )

    def table(self, name: str) -> pd.DataFrame:
        """Return one of the tables of `COLUMNS`."""
        return joined(name, self._tables[name])

    def _keep(self, table: str, name: Name, **columns: "list[Any] | NDArray[Any]") -> None:
        rows = pd.DataFrame(columns)
        rows = rows.assign(**name._asdict(), repeat=self.repeat, fold=self.fold)
        self._tables[table].append(rows[COLUMNS[table]])


def joined(name: str, tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Join tables of one kind; without any, an empty one."""
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS[name])
