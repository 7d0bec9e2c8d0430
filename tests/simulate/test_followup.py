import numpy as np
import pandas as pd
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv

from sparra.simulate.followup import censoring_horizon_days, draw_subject
from sparra.simulate.settings import SimulationSettings


def drawn(count, **values):
    settings = SimulationSettings(**values)
    return pd.DataFrame([vars(draw_subject(index, settings)) for index in range(count)])


@pytest.fixture(scope="module")
def cohort():
    return drawn(2500)


def c_index(table, risk):
    return concordance_index_censored(table["event"] == 1, table["time"], risk)[0]


def test_true_hazard_ranks_as_the_defaults_promise(cohort):
    assert 0.80 < c_index(cohort, cohort["log_hazard"]) < 0.86
    for biomarker in ("z_ct", "z_slide"):
        assert 0.68 < c_index(cohort, cohort[biomarker]) < 0.76


def test_cox_recovers_the_planted_log_hazard_ratios():
    table = drawn(2500, ct_strength=0.8, slide_strength=-0.5)
    covariates = table[["z_ct", "z_slide", "age"]].assign(male=table["sex"] == "male", a=table["site"] == "A")
    scaled = covariates.astype(float)
    scaled["age"] = (scaled["age"] - 62) / 11
    model = CoxPHSurvivalAnalysis().fit(scaled, Surv.from_arrays(table["event"] == 1, table["time"]))
    # Standard errors are near 1 / sqrt(events) = 0.024 (twice that for the binary covariates).
    error = np.abs(model.coef_ - [0.8, -0.5, 0, 0, 0])
    assert np.all(error < [0.08, 0.08, 0.08, 0.16, 0.16])


def test_no_strength_no_signal():
    table = drawn(1500, ct_strength=0.0, slide_strength=0.0)
    assert not table["log_hazard"].any()
    assert abs(c_index(table, table["z_ct"]) - 0.5) < 0.03


@pytest.mark.parametrize("censoring", [0.0, 0.1, 0.3, 0.7, 0.95])
def test_censoring_comes_near_its_target(censoring):
    table = drawn(1500, censoring=censoring)
    deviation = 4 * np.sqrt(censoring * (1 - censoring) / 1500)
    assert abs((table["event"] == 0).mean() - censoring) <= deviation
    assert table["time"].min() >= 1


def test_censoring_says_nothing_of_the_hazard(cohort):
    # Reversed follow-up: independent of the biomarkers, the C-index of being censored is one half.
    reverse = concordance_index_censored(cohort["event"] == 0, cohort["time"], cohort["log_hazard"])[0]
    assert abs(reverse - 0.5) < 0.05


def test_longer_follow_up_censors_fewer():
    horizons = [censoring_horizon_days(2.0, fraction) for fraction in (0.1, 0.3, 0.6)]
    assert horizons == sorted(horizons, reverse=True)


@pytest.mark.parametrize(("ct", "slide"), [(0.0, 0.0), (0.1, 0.25), (0.5, 0.5), (1.0, 0.0)])
def test_missing_fractions_hold_even_in_small_cohorts(ct, slide):
    table = drawn(60, missing_ct=ct, missing_slide=slide)
    assert abs((~table["has_ct"]).mean() - ct) <= 2 / 60
    assert abs((~table["has_slide"]).mean() - slide) <= 2 / 60
    assert (table["has_ct"] | table["has_slide"]).all()


def test_a_subject_is_the_same_whatever_is_missing_or_how_many_there_are():
    small, large = SimulationSettings(subjects=3), SimulationSettings(subjects=400, missing_ct=0.4)
    for index in range(3):
        few, many = vars(draw_subject(index, small)), vars(draw_subject(index, large))
        assert {key: few[key] for key in few if key != "has_ct"} == {key: many[key] for key in many if key != "has_ct"}


def test_seeds_and_subjects_differ():
    values = {draw_subject(i, SimulationSettings(seed=seed)).z_ct for i in range(20) for seed in range(5)}
    assert len(values) == 100
