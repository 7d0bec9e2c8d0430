"""The two protocols as two sets of rules: how a survival model is fitted, and how a fold is judged."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparra.study.learn import Method
from sparra.study.settings import StudySettings
from sparra.survival.metrics import evaluate_fold
from sparra.survival.models import FittedSurvivalModel, fit_survival_model
from sparra.survival.outcomes import FloatArray, FollowUp, MetricValue, RiskScores, SurvivalCurves
from sparra.survival.published import evaluate_paper_fold, fit_paper_model, paper_times, screening_threshold
from sparra.survival.time_grid import TimeGrid


class Rules(Protocol):
    """What a protocol decides in the second stage."""

    def times(self, test: FollowUp) -> FloatArray:
        """Return the times at which a fold with this test part is judged."""
        ...

    def fit(self, name: str, features: NDArray[np.floating], train: FollowUp, method: Method) -> FittedSurvivalModel:
        """Tune and fit a survival model to a training part."""
        ...

    def judge(
        self, train: FollowUp, test: FollowUp, risk: RiskScores, survival: SurvivalCurves | None, times: FloatArray
    ) -> dict[str, MetricValue]:
        """Return the metrics of a fold's test part."""
        ...


def rules_of(settings: StudySettings, grid: TimeGrid) -> Rules:
    """Return the rules of the study's protocol."""
    return PaperRules(settings) if settings.protocol == "paper" else SoundRules(settings, grid)


@dataclass(frozen=True)
class SoundRules:
    """Every step nested in the training part, one time grid and one horizon for all."""

    settings: StudySettings
    grid: TimeGrid

    def times(self, test: FollowUp) -> FloatArray:
        """Return the declared grid."""
        return self.grid.times

    def fit(self, name: str, features: NDArray[np.floating], train: FollowUp, method: Method) -> FittedSurvivalModel:
        """Tune by the C-index in event-stratified inner folds, screening anew in each."""
        evaluation = self.settings.evaluation
        return fit_survival_model(
            name,
            features,
            train.time,
            train.event,
            seed=method.seed(self.settings.seed),
            inner_folds=evaluation.inner_folds,
            screening_p=screening_threshold(evaluation.screening, "sound", method.aggregator),
            screening_adjustment=evaluation.screening_adjustment,
        )

    def judge(
        self, train: FollowUp, test: FollowUp, risk: RiskScores, survival: SurvivalCurves | None, times: FloatArray
    ) -> dict[str, MetricValue]:
        """Judge up to the declared horizon."""
        return evaluate_fold(train, test, risk, survival, times, self.grid.tau)


@dataclass(frozen=True)
class PaperRules:
    """As the paper's released code; see `sparra.survival.published`."""

    settings: StudySettings

    def times(self, test: FollowUp) -> FloatArray:
        """Return the test part's own weekly grid."""
        return paper_times(test, self.settings.cohort.time_unit)

    def fit(self, name: str, features: NDArray[np.floating], train: FollowUp, method: Method) -> FittedSurvivalModel:
        """Select features on the whole training part and tune by the AUC; p < 0.2 unless the study says otherwise."""
        threshold = screening_threshold(self.settings.evaluation.screening, "paper", method.aggregator)
        unit = self.settings.cohort.time_unit
        return fit_paper_model(name, features, train.time, train.event, time_unit=unit, screening_p=threshold)

    def judge(
        self, train: FollowUp, test: FollowUp, risk: RiskScores, survival: SurvivalCurves | None, times: FloatArray
    ) -> dict[str, MetricValue]:
        """Judge without a horizon, on the test part's own times."""
        return evaluate_paper_fold(train, test, risk, survival, times)
