"""Metrics against scikit-survival on all its data sets with one kind of event, and against published values.

The small cases and their values are those of scikit-survival's own tests (0.28, tests/test_metrics.py); one value of
`UnoC` is the output of the R package survAUC in scikit-survival's issue 428.
"""

import numpy as np
import pytest
from sksurv.datasets import (
    load_aids,
    load_breast_cancer,
    load_flchain,
    load_gbsg2,
    load_veterans_lung_cancer,
    load_whas500,
)
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import (
    brier_score,
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.preprocessing import OneHotEncoder

from sparra.survival.brier import brier_scores, brier_summary, integral, kaplan_meier_null
from sparra.survival.cox import fit_cox
from sparra.survival.groups import kaplan_meier
from sparra.survival.metrics import auc_curve, c_index, c_ipcw, evaluate_fold
from sparra.survival.outcomes import FollowUp, RiskScores, SurvivalCurves, step_values
from sparra.survival.time_grid import declare_time_grid


def gbsg2():
    x, y = load_gbsg2()
    return x.assign(tgrade=x["tgrade"].astype(str).map(len).astype(float)), y


def flchain():
    """One in five of the 7,874 subjects, and the columns without gaps."""
    x, y = load_flchain()
    return x.drop(columns=["chapter", "creatinine"]).iloc[::5], y[::5]


DATA_SETS = {
    "breast_cancer": load_breast_cancer,
    "flchain": flchain,
    "whas500": load_whas500,
    "gbsg2": gbsg2,
    "veteran": load_veterans_lung_cancer,
    "aids": load_aids,
}


@pytest.fixture(params=list(DATA_SETS))
def cohort(request):
    """Follow-up of a training and a test part, risks and curves of a Cox model, times and horizon."""
    x, y = DATA_SETS[request.param]()
    event, time = y.dtype.names
    encoded = OneHotEncoder().fit_transform(x).to_numpy(dtype=float)
    encoded = (encoded - encoded.mean(axis=0)) / np.maximum(encoded.std(axis=0), 1e-12)
    order = np.random.default_rng(5).permutation(len(y))
    n = int(0.6 * len(y))
    whole = FollowUp(y[time], y[event])
    train, test = whole[order[:n]], whole[order[n:]]
    model = CoxPHSurvivalAnalysis(alpha=1.0).fit(encoded[order[:n]], train.structured())
    grid = declare_time_grid(whole.time, whole.event, test_parts=[order[n:]])
    held_out = encoded[order[n:]]
    values = np.array([step(grid.times) for step in model.predict_survival_function(held_out)])
    return train, test, RiskScores(model.predict(held_out)), SurvivalCurves(grid.times, values), grid


def test_every_metric_equals_scikit_survival(cohort):
    train, test, risk, survival, grid = cohort
    until = test.censored_at(grid.tau)
    y_train, y_test = train.structured(), until.structured()
    found = evaluate_fold(train, test, risk, survival, grid.times, grid.tau)
    first = until.time[until.event].min()
    assert first <= grid.times[0]
    curve, mean = cumulative_dynamic_auc(y_train, y_test, risk.values, grid.times)
    expected = {
        "c_index": concordance_index_censored(test.event, test.time, risk.values)[0],
        "c_ipcw": concordance_index_ipcw(y_train, y_test, risk.values, tau=grid.tau)[0],
        "c_auc": mean,
        "ibs": integrated_brier_score(y_train, y_test, survival.values, grid.times),
    }
    assert {name: value.reason for name, value in found.items()} == dict.fromkeys(expected, "")
    assert {name: value.value for name, value in found.items()} == pytest.approx(expected, abs=1e-10)
    np.testing.assert_allclose(auc_curve(train, until, risk, grid.times).values, curve, atol=1e-10)
    theirs = brier_score(y_train, y_test, survival.values, grid.times)[1]
    np.testing.assert_allclose(brier_scores(train, until, survival), theirs, atol=1e-10)


def test_the_null_and_the_scaled_score_equal_scikit_survival(cohort):
    train, test, _, survival, grid = cohort
    y_train, y_test = train.structured(), test.censored_at(grid.tau).structured()
    curve = kaplan_meier(train.time, train.event)
    null = np.tile(step_values(curve.times, curve.survival[None, :], grid.times), (len(test), 1))
    np.testing.assert_allclose(kaplan_meier_null(train, grid.times, len(test)).values, null, atol=1e-12)
    summary = brier_summary(train, test, survival, grid.tau)
    ibs = integrated_brier_score(y_train, y_test, survival.values, grid.times)
    ibs_null = integrated_brier_score(y_train, y_test, null, grid.times)
    assert summary.ibs.value == pytest.approx(ibs, abs=1e-10)
    assert summary.ibs_null.value == pytest.approx(ibs_null, abs=1e-10)
    assert summary.scaled.value == pytest.approx(1 - ibs / ibs_null, abs=1e-10)


TEN = np.array([1, 5, 6, 10, 11, 34, 45, 46, 50, 56.0])
TEN_EVENTS = np.array([0, 1, 1, 0, 1, 0, 1, 0, 0, 1])
EIGHT = FollowUp(np.array([2, 4, 6, 8, 10, 11, 15, 19.0]), np.array([0, 1, 0, 1, 0, 0, 0, 0]))
TIED = np.array([1, 5, 6, 11, 11, 34, 45, 45, 50.0])


@pytest.mark.parametrize(
    ("time", "event", "risk", "expected"),
    [
        ([1, 5, 6, 11, 34, 45, 46, 50], [0, 1, 1, 0, 0, 1, 0, 0], [5, 8, 11, 34, 12, 3, 9, 12], 0.2307692),
        (TIED, [0, 1, 1, 0, 1, 0, 1, 0, 0], [5, 8, 11, 19, 34, 12, 3, 9, 12], 0.4),
        (TIED, [0, 1, 1, 0, 0, 0, 1, 0, 0], [5, 8, 11, 19, 34, 12, 3, 9, 12], 0.2),
        (TIED[::-1], [0, 0, 1, 0, 1, 1, 0, 1, 0], [12, 9, 3, 12, 34, 19, 11, 8, 5], 0.5294118),
        ([1, 5, 6, 11, 34, 45, 46, 50], [0, 1, 1, 0, 1, 1, 0, 0], [5, 15, 11, 34, 12, 3, 9, 12], 0.59375),
        (
            [34, 11, 11, 5, 1, 89, 13, 45, 7, 13, 9, 13],
            [1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1],
            [1, 19, 13, 13, 15, 14, 19, 23, 11, 10, 11, 1],
            0.5681818,
        ),
    ],
)
def test_c_index_with_ties(time, event, risk, expected):
    value = c_index(FollowUp(np.array(time), np.array(event)), RiskScores(np.array(risk)))
    assert value.value == pytest.approx(expected, abs=5e-8)


@pytest.mark.parametrize(
    ("risk", "expected"),
    [
        ([5, 8, 11, 19, 34, 12, 3, 9, 12, 20], 0.347890360332615),
        ([5, 8, 11, 11, 34, 12, 3, 9, 12, 20], 0.365629810028969),
        ([5, 8, 11, 11, 34, 12, 11, 9, 12, 20], 0.387865723332956),
    ],
)
def test_uno_c_of_ten_subjects(risk, expected):
    ten = FollowUp(TEN, TEN_EVENTS)
    # Their last digits are lost: scikit-survival compares seven decimals.
    assert c_ipcw(ten, ten, RiskScores(np.array(risk)), 57.0).value == pytest.approx(expected, abs=1e-8)


def test_uno_c_with_another_training_part_and_truncated():
    test = FollowUp(np.array([1, 3, 5, 7, 12, 13, 20.0]), np.array([1, 0, 0, 1, 1, 0, 0]))
    risk = RiskScores(np.array([5, 8, 13, 11, 9, 7, 4.0]))
    assert c_ipcw(EIGHT, test, risk, 21.0).value == pytest.approx(0.8126567565914234, abs=1e-10)
    test = FollowUp(np.array([1, 3, 5, 8, 12, 13.0]), np.array([1, 0, 0, 1, 1, 1]))
    risk = RiskScores(np.array([5, 8, 13, 11, 9, 4.0]))
    assert c_ipcw(EIGHT, test, risk, 19.0).value == pytest.approx(0.7543736528146774, abs=1e-10)
    whole = FollowUp(TEN, np.array([0, 1, 1, 0, 1, 0, 1, 1, 1, 1]))
    risk = RiskScores(np.array([5, 8, 11, 19, 34, 12, 3, 9, 12, 18.0]))
    assert c_ipcw(whole, whole, risk, 45.25).value == pytest.approx(0.347890361949191, abs=1e-8)


@pytest.mark.parametrize(
    ("time", "event", "risk", "expected"),
    [
        (
            [1, 5, 6, 11, 11, 34, 45, 45, 50, 55],
            [0, 1, 0, 1, 1, 0, 1, 0, 0, 1],
            [5, 8, 11, 19, 34, 12, 3, 9, 12, 18],
            0.4036321031048623,
        ),
        (
            [34, 11, 11, 5, 1, 89, 13, 45, 7, 13, 9, 13, 90],
            [1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1],
            [1, 19, 13, 13, 15, 14, 19, 23, 11, 10, 11, 1, 18],
            0.46795357052737824,
        ),
    ],
)
def test_uno_c_with_ties(time, event, risk, expected):
    whole = FollowUp(np.array(time), np.array(event))
    assert c_ipcw(whole, whole, RiskScores(np.array(risk)), 91.0).value == pytest.approx(expected, abs=1e-10)


def test_uno_c_of_the_r_package_surv_auc():
    """The two differ where an event and a censoring share a time (survAUC: 0.4129032, here 0.3742690)."""
    time, event = np.array([11.0, 26, 89, 128, 299, 300]), np.array([1, 0, 1, 0, 1, 0])
    six = FollowUp(time, event)
    risk = RiskScores(np.array([-0.02, -0.56, -1.33, -0.81, 1.02, -1.29]))
    assert c_ipcw(six, six, risk, 299.0).value == pytest.approx(0.4129032, abs=5e-8)


FIFTEEN = FollowUp(
    np.array(
        [10.88, 19.78, 40.92, 98.7, 70.19, 10.15, 28.95, 29.57, 17.9, 63.78, 36.22, 83.14, 13.69, 99.51, 3.19],
    ),
    np.array([1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 1]),
)
FIFTEEN_RISK = np.array(
    [-1.019, -0.016, 0.132, 0.269, -0.777, -1.077, 0.894, -1.227, -0.417, 0.072, -1.275, -0.91, -0.825, -0.292, -0.045]
)
TWENTY_TIMES = [77.6, 57.6, 66.6, 67.0, 31.5, 5.5, 67.4, 43.7, 31.7, 71.9]
TWENTY_TIMES += [81.1, 56.2, 88.1, 2.9, 62.0, 17.2, 88.0, 26.4, 93.5, 79.9]
TWENTY = FollowUp(
    np.array(TWENTY_TIMES),
    np.array([1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1]),
)


@pytest.mark.parametrize(
    ("train", "times", "expected", "mean"),
    [
        (FIFTEEN, [28.0], [0.362963], 0.362963),
        (FIFTEEN, [15.0, 66.0], [0.3030303, 0.45], 0.3943949),
        (FIFTEEN, [3.19, 15.0, 66.0, 99.51 - 1e-6], [0.6428571, 0.3030303, 0.45, 0.3162996], 0.3999539),
        (TWENTY, [15.0, 66.0], [0.3030303, 0.4357061], 0.385509),
    ],
)
def test_cumulative_dynamic_auc_of_fifteen_subjects(train, times, expected, mean):
    curve = auc_curve(train, FIFTEEN, RiskScores(FIFTEEN_RISK), times)
    np.testing.assert_allclose(curve.values, expected, atol=5e-7)
    assert curve.mean.value == pytest.approx(mean, abs=5e-7)


def test_cumulative_dynamic_auc_with_ties():
    time, risk = FIFTEEN.time.copy(), FIFTEEN_RISK.copy()
    time[0] = time[1]
    tied_time = auc_curve(TWENTY, FollowUp(time, FIFTEEN.event), RiskScores(risk), [15.0, 66.0])
    np.testing.assert_allclose(tied_time.values, [0.375, 0.4357061], atol=5e-7)
    assert tied_time.mean.value == pytest.approx(0.4204885, abs=5e-7)
    risk[0] = risk[-1]
    tied_risk = auc_curve(TWENTY, FIFTEEN, RiskScores(risk), [15.0, 66.0])
    np.testing.assert_allclose(tied_risk.values, [0.4242424, 0.539036], atol=5e-7)
    assert tied_risk.mean.value == pytest.approx(0.495604291, abs=5e-7)


WHAS500_SCORE = {
    "afb": 0.0324951119,
    "age": 0.0115090869,
    "av3": 0.263353411,
    "bmi": -0.0162664857,
    "chf": 0.147272116,
    "cvd": -0.0830797169,
    "diasbp": -0.00777913107,
    "gender": -0.0895212755,
    "hr": 0.00571832796,
    "los": -0.0130611901,
    "miord": -0.131019301,
    "mitype": -0.0361628192,
    "sho": 0.278858294,
    "sysbp": 0.00244019281,
}


def test_discrimination_of_the_score_of_500_heart_attacks():
    """The score is the one of scikit-survival's whas500_predictions.csv, which is linear in the covariates."""
    x, y = load_whas500()
    score = x[list(WHAS500_SCORE)].astype(float).to_numpy() @ np.array(list(WHAS500_SCORE.values()))
    whole, risk = FollowUp(y["lenfol"], y["fstat"]), RiskScores(score)
    assert c_index(whole, risk).value == pytest.approx(0.7697907, abs=5e-8)
    assert c_ipcw(whole, whole, risk, 1e9).value == pytest.approx(0.7929275009049014, abs=1e-9)
    rows = np.arange(500)
    train, test = whole[rows[:300]], whole[rows[300:]]
    curve = auc_curve(train, test, RiskScores(score[300:]), [200, 400, 600, 800, 1000, 1200, 1400])
    expected = [0.7720669, 0.7765915, 0.7962623, 0.8759295, 0.8759295, 0.8759513, 0.9147647]
    np.testing.assert_allclose(curve.values, expected, atol=5e-7)
    assert curve.mean.value == pytest.approx(0.8045058, abs=5e-7)


def nottingham_index(times):
    """Kaplan–Meier curves of three classes of the Nottingham prognostic index, read at `times`."""
    x, y = load_gbsg2()
    index = 0.2 * x["tsize"] / 10 + 1 + x["tgrade"].astype(str).map(len)
    group = np.digitize(index, [3.4, np.nextafter(5.4, 6)])
    whole = FollowUp(y["time"], y["cens"])
    values = np.empty((len(whole), len(times)))
    for label in np.unique(group):
        curve = kaplan_meier(whole.time[group == label], whole.event[group == label])
        values[group == label] = step_values(curve.times, curve.survival[None, :], np.asarray(times, dtype=float))
    return whole, SurvivalCurves(times, values)


def test_brier_score_of_the_nottingham_index():
    times = [365, 730, 1095, 1460, 1825]
    whole, survival = nottingham_index(times)
    scores = brier_scores(whole, whole, survival)
    expected = [0.0762922458520448, 0.182536421174199, 0.220017747254941, 0.234133800146671, 0.233822955042198]
    np.testing.assert_allclose(scores, expected, atol=1e-10)
    assert integral(survival.times, scores) == pytest.approx(0.197936392255733, abs=1e-10)
    assert integral(survival.times[:4], scores[:4]) == pytest.approx(0.185922397142833, abs=1e-10)


def test_integrated_brier_score_of_the_nottingham_index_by_day():
    whole, survival = nottingham_index(np.arange(1095, 1826))
    assert integral(survival.times, brier_scores(whole, whole, survival)) == pytest.approx(0.231553687189643, abs=1e-10)


def test_brier_score_of_a_cox_model():
    """All covariates of GBSG2, Efron ties, at five years."""
    x, y = gbsg2()
    table = OneHotEncoder().fit_transform(x).to_numpy(dtype=float)
    whole = FollowUp(y["time"], y["cens"])
    survival = fit_cox(table, whole).predict_survival(table, [1825.0])
    assert brier_scores(whole, whole, survival)[0] == pytest.approx(0.208817407492645, rel=1e-5)
