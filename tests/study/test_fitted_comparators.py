"""Comparators and what is drawn from them, against scikit-survival, plain loops and scipy's optimiser."""

from math import log

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from scipy import optimize, stats
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from sparra.cohort.splits import Folds
from sparra.study.comparators import clinical_covariates, judge_comparators, read_subjects_table
from sparra.study.conclude import added_values, comparisons
from sparra.study.layout import StudyLayout
from sparra.study.learn import Method
from sparra.study.settings import StudySettings
from sparra.survival.comparison import compare_predictions
from sparra.survival.time_grid import TimeGrid

N, N_FOLDS = 150, 3
METHODS = [Method(modality, "sparra", fold) for fold in range(N_FOLDS) for modality in ("ct", "slide", "joint")]
GRID = TimeGrid(np.linspace(30.0, 400.0, 20), 450.0)
HORIZON = 365.25


def settings_of(protocol: str) -> StudySettings:
    cohort = {"subjects": "subjects.csv", "images": "images.csv", "time_unit": "days"}
    evaluation = {"clinical": ["age", "stage", "sex"]}
    content = {"cohort": cohort, "output": "output", "evaluation": evaluation, "protocol": protocol}
    return StudySettings.model_validate(content)


class Study:
    """A folder with what the comparators read: subjects, and each network's risks of every fold."""

    def __init__(self, root) -> None:
        rng = np.random.default_rng(11)
        self.layout = StudyLayout(root)
        ids = [f"P{row:03d}" for row in range(N)]
        age, stage, male = rng.normal(60, 9, N).round(), rng.integers(1, 5, N), rng.random(N) < 0.6
        self.signal = pd.DataFrame(rng.normal(size=(N, 2)), ids, ["ct", "slide"])
        hazard = 0.03 * (age - 60) + 0.4 * stage + 0.5 * self.signal.to_numpy().sum(axis=1)
        # Whole weeks, so that there are ties.
        time = np.ceil(rng.exponential(400 * np.exp(-hazard + 1)) / 7) * 7
        censored = np.ceil(rng.uniform(100, 900, N) / 7) * 7
        table = {"subject_id": ids, "time": np.minimum(time, censored), "event": (time <= censored).astype(int)}
        missing = rng.random(N) < 0.1
        table |= {"age": np.where(missing, "", age.astype(int).astype(str)), "stage": stage}
        table |= {"sex": np.where(male, "male", "female")}
        self.layout.subjects.parent.mkdir(parents=True)
        pd.DataFrame(table).to_csv(self.layout.subjects, index=False)
        self.subjects = read_subjects_table(self.layout)
        kinds = rng.choice(["both", "ct", "slide"], N, p=[0.7, 0.15, 0.15])
        self.index = {
            name: {m: "graph" for m in ("ct", "slide") if kind in ("both", m)}
            for name, kind in zip(ids, kinds, strict=True)
        }
        fold_of = rng.permutation(np.arange(N) % N_FOLDS)
        rows = [
            (0, fold, name, "test" if fold_of[row] == fold else "train")
            for fold in range(N_FOLDS)
            for row, name in enumerate(ids)
        ]
        self.folds = Folds(pd.DataFrame(rows, columns=["repeat", "fold", "subject_id", "part"]))
        for method in METHODS:
            self._write_risks(method, rng)

    def parts(self, method: Method) -> tuple[list[str], list[str]]:
        """Return the training and test subjects of a method, by plain loops."""
        fold = list(self.folds)[method.fold]
        train, test = (
            [name for name in part if any(m in self.index[name] for m in method.modalities)]
            for part in (fold.train, fold.test)
        )
        return train, test

    def _write_risks(self, method: Method, rng: np.random.Generator) -> None:
        folder = self.layout.model(method.modality, method.aggregator, method.fold)
        folder.mkdir(parents=True)
        risks = {}
        for part, names in zip(("train", "test"), self.parts(method), strict=True):
            signal = self.signal.loc[names, list(method.modalities)].to_numpy().mean(axis=1)
            risks[f"{part}_risk"] = (1 + method.fold) * (signal + rng.normal(size=len(names))) + method.fold
        save_file(risks, folder / "embeddings.safetensors")
        self.risks = getattr(self, "risks", {})
        self.risks[method] = [
            pd.Series(risks[f"{part}_risk"], names)
            for part, names in zip(("train", "test"), self.parts(method), strict=True)
        ]

    def design(self, train: list[str], names: list[str]) -> np.ndarray:
        """Return age, stage and sex as numbers; an unknown age is the median of the training part."""
        age = pd.to_numeric(self.subjects["age"])
        known = age[names].fillna(age[train].median())
        male = (self.subjects.loc[train, "sex"] == "male").mean() > 0.5
        other = self.subjects.loc[names, "sex"] == ("female" if male else "male")
        return np.column_stack([known, self.subjects.loc[names, "stage"].astype(float), other])

    def outcome(self, names: list[str]) -> np.ndarray:
        return Surv.from_arrays(self.subjects.loc[names, "event"], self.subjects.loc[names, "time"])

    def judged(self, protocol: str) -> dict[str, pd.DataFrame]:
        return judge_comparators(settings_of(protocol), self.layout, self.index, self.folds, GRID, METHODS)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def tables(study) -> dict[str, pd.DataFrame]:
    return study.judged("sound")


def rows_of(table: pd.DataFrame, modality: str, fold: int) -> pd.DataFrame:
    return table[(table["modality"] == modality) & (table["fold"] == fold)].set_index("subject_id")


def assert_is_cox(tables, modality, fold, train, test, outcomes) -> None:
    """Compare risks and survival with scikit-survival's Cox model of these columns."""
    model = CoxPHSurvivalAnalysis(ties="efron", tol=1e-12, n_iter=200).fit(train, outcomes)
    found = rows_of(tables["predictions"], modality, fold)["risk"]
    expected = model.predict(test)
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), rtol=1e-6, atol=1e-7)
    curves = rows_of(tables["survival"], modality, fold)
    curves = curves[curves["horizon"] == HORIZON]["survival"]
    np.testing.assert_allclose(curves, [step(HORIZON) for step in model.predict_survival_function(test)], rtol=1e-6)


@pytest.mark.parametrize("fold", range(N_FOLDS))
def test_the_clinical_model_is_scikit_survivals(study, tables, fold):
    division = list(study.folds)[fold]
    train, test = division.train, division.test
    assert rows_of(tables["predictions"], "clinical", fold).index.tolist() == test
    columns = study.design(train, train), study.design(train, test)
    assert_is_cox(tables, "clinical", fold, *columns, study.outcome(train))


@pytest.mark.parametrize("modality", ["ct", "slide", "joint"])
def test_clinical_with_imaging_is_a_cox_model_with_the_cross_fitted_risk(study, tables, modality):
    method = Method(modality, "sparra", 1)
    train, test = study.parts(method)
    known, asked = study.risks[method]
    columns = [np.column_stack([study.design(train, part.index), part]) for part in (known, asked)]
    assert rows_of(tables["predictions"], f"clinical + {modality}", 1).index.tolist() == test
    assert_is_cox(tables, f"clinical + {modality}", 1, *columns, study.outcome(train))


def test_late_fusion_is_a_cox_model_of_the_standardised_risks(study, tables):
    risks = [study.risks[Method(modality, "sparra", 2)] for modality in ("ct", "slide")]
    columns, names = [], []
    for part in (0, 1):
        ids = sorted(set(risks[0][part].index) | set(risks[1][part].index))
        standardised = [
            ((risk[part] - risk[0].mean()) / np.sqrt(((risk[0] - risk[0].mean()) ** 2).mean())).reindex(ids)
            for risk in risks
        ]
        columns.append(np.column_stack([values.fillna(0.0) for values in standardised]))
        names.append(ids)
    assert rows_of(tables["predictions"], "late fusion", 2).index.tolist() == names[1]
    # The spread of a risk with gaps counts them as the mean, which scales a column and leaves the model the same.
    assert_is_cox(tables, "late fusion", 2, *columns, study.outcome(names[0]))


def test_the_null_is_the_training_parts_kaplan_meier_curve(study, tables):
    fold = next(iter(study.folds))
    outcome = study.outcome(fold.train)
    times, survival = kaplan_meier_estimator(outcome["event"], outcome["time"])
    curves = rows_of(tables["survival"], "none", 0)
    at = survival[np.searchsorted(times, HORIZON, side="right") - 1]
    np.testing.assert_allclose(curves[curves["horizon"] == HORIZON]["survival"], at, rtol=1e-12)
    metrics = tables["metrics"][tables["metrics"]["modality"] == "none"]
    assert (metrics.loc[metrics["metric"] == "c_index", "value"] == 0.5).all()


def test_in_the_papers_protocol_nothing_rests_on_in_sample_risks(study):
    assert set(study.judged("paper")["predictions"]["modality"]) == {"none", "clinical"}


def efron(beta: np.ndarray, x: np.ndarray, time: np.ndarray, event: np.ndarray) -> float:
    """Return Efron's partial log-likelihood by plain loops."""
    predictor, value = x @ beta, 0.0
    for at in sorted(set(time[event])):
        dead = np.flatnonzero(event & (time == at))
        at_risk, dying = np.exp(predictor[time >= at]).sum(), np.exp(predictor[dead]).sum()
        value += sum(predictor[i] - log(at_risk - k / len(dead) * dying) for k, i in enumerate(dead))
    return value


def maximised(columns: np.ndarray, table: pd.DataFrame) -> tuple[float, np.ndarray]:
    """Maximise the sum of the folds' log-likelihoods by a general optimiser."""
    time, event, fold = table["time"].to_numpy(), table["event"].to_numpy(bool), table["fold"].to_numpy()

    def loss(beta: np.ndarray) -> float:
        parts = [fold == k for k in range(N_FOLDS)]
        return -sum(efron(beta, columns[part], time[part], event[part]) for part in parts)

    found = optimize.minimize(loss, np.zeros(columns.shape[1]), method="BFGS", options={"gtol": 1e-6})
    return -found.fun, found.x


def out_of_fold(study: Study, modality: str) -> pd.DataFrame:
    tables = []
    for method in (m for m in METHODS if m.modality == modality):
        risk = study.risks[method][1]
        follow_up = study.subjects.loc[risk.index, ["time", "event"]]
        tables.append(follow_up.assign(subject_id=risk.index, fold=method.fold, risk=risk))
    names = {"modality": modality, "aggregator": "sparra", "model": "network", "repeat": 0}
    return pd.concat(tables, ignore_index=True).assign(**names)


def test_the_likelihood_ratio_is_that_of_two_maximised_likelihoods(study):
    table = out_of_fold(study, "slide")
    covariates = clinical_covariates(settings_of("sound"), study.subjects)
    (row,) = added_values(table, study.subjects, covariates).to_dict("records")
    clinical = study.design(list(table["subject_id"]), list(table["subject_id"]))
    clinical = (clinical - clinical.mean(axis=0)) / clinical.std(axis=0)
    by_fold = table.groupby("fold")["risk"]
    imaging = (
        (table["risk"] - by_fold.transform("mean")) / by_fold.transform(lambda risk: risk.std(ddof=0))
    ).to_numpy()
    alone, _ = maximised(clinical, table)
    both, coefficients = maximised(np.column_stack([clinical, imaging]), table)
    statistic = 2 * (both - alone)
    assert row["chi_square"] == pytest.approx(statistic, rel=1e-6)
    assert row["hazard_ratio"] == pytest.approx(np.exp(coefficients[-1]), rel=1e-4)
    assert row["p_uncorrected"] == pytest.approx(stats.chi2.sf(statistic, 1), rel=1e-5)
    # Three folds: the statistic is inflated by 1 + 2/3.
    assert row["p"] == pytest.approx(stats.chi2.sf(statistic / (1 + 2 / 3), 1), rel=1e-5)


def test_differences_and_their_intervals_are_those_of_repeated_patients(study, tables):
    """Joint against slides alone and against late fusion, clinical with and without slides: every draw by hand."""
    methods = pd.concat([out_of_fold(study, modality) for modality in ("ct", "slide", "joint")])
    predictions = pd.concat([methods, tables["predictions"]], ignore_index=True)
    found = comparisons(predictions, 0.5, 0)
    assert sorted(found["question"]) == ["added value"] * 3 + ["fusion"] + ["images"] * 2
    for question, second in (("images", "slide"), ("fusion", "late fusion"), ("added value", "clinical")):
        row = found[(found["question"] == question) & (found["second_modality"] == second)].iloc[-1]
        one, other = (predictions[predictions["modality"] == row[f"{side}_modality"]] for side in ("first", "second"))
        both = one.merge(other, on=["fold", "subject_id"])
        patients = np.unique(both["subject_id"])
        assert row["n_patients"] == len(patients)
        draws = np.random.default_rng([8, 0]).multinomial(len(patients), np.full(len(patients), 1 / len(patients)), 40)
        by_hand = [
            c_in_folds(both, "risk_x", times) - c_in_folds(both, "risk_y", times)
            for times in (None, *(pd.Series(draw, patients) for draw in draws))
        ]
        assert row["difference"] == pytest.approx(by_hand[0], abs=1e-12)
        few = compare_predictions(one, other, test_to_train=0.5, seed=0, n_resamples=40)
        assert (few.lower, few.upper) == pytest.approx(tuple(np.percentile(by_hand[1:], (2.5, 97.5))), abs=1e-12)
        assert row["lower"] < row["difference"] < row["upper"]


def c_in_folds(table: pd.DataFrame, column: str, times: pd.Series | None) -> float:
    """Return the mean over folds of scikit-survival's C, each patient as often as drawn."""
    values = []
    for _, rows in table.groupby("fold"):
        drawn = rows if times is None else rows.loc[np.repeat(rows.index, times[rows["subject_id"]])]
        values.append(concordance_index_censored(drawn["event_x"].astype(bool), drawn["time_x"], drawn[column])[0])
    return float(np.mean(values))
