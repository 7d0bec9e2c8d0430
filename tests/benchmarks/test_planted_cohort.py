import numpy as np
import pandas as pd
import pytest
from benchmarks.parts.paired import compare
from benchmarks.parts.planted_cohort import PlantedSettings, simulate_planted
from sksurv.metrics import concordance_index_censored


@pytest.mark.parametrize(("share", "nodes"), [(0.01, 3), (0.04, 12), (0.2, 60), (1.0, 300)])
def test_planted_nodes_are_of_the_share_and_contiguous(share, nodes):
    cohort = simulate_planted(share, 1, PlantedSettings(n_subjects=20))
    for subject, carries in zip(cohort.subjects, cohort.carries, strict=True):
        assert carries.sum() == nodes
        edges = subject.graphs["slide"].edge_index
        inside = edges[:, carries[edges].all(axis=0)]
        reached = np.zeros(300, dtype=bool)
        reached[np.flatnonzero(carries)[0]] = True
        for _ in range(300):
            reached[inside[1][reached[inside[0]]]] = True
        assert (reached == carries).all()


def test_true_risk_orders_the_follow_up_and_the_censoring_is_as_set():
    cohort = simulate_planted(0.04, 2, PlantedSettings(n_subjects=2000))
    event = np.array([subject.event for subject in cohort.subjects])
    time = np.array([subject.time for subject in cohort.subjects])
    assert event.mean() == pytest.approx(0.6, abs=0.04)
    assert concordance_index_censored(event, time, cohort.log_hazard)[0] == pytest.approx(0.80, abs=0.03)


def test_features_carry_what_was_planted():
    settings = PlantedSettings(n_subjects=100, shift=0.0)
    cohort = simulate_planted(0.2, 3, settings)
    offsets = []
    for subject, carries in zip(cohort.subjects, cohort.carries, strict=True):
        features = subject.graphs["slide"].features
        offsets.append(features[carries].mean(axis=0) - features[~carries].mean(axis=0))
    # presence u + expression z v: the mean has norm `presence`, the slope on z norm `expression`.
    score = cohort.log_hazard / settings.log_hazard
    slope, level = np.linalg.lstsq(np.stack([score, np.ones(100)], axis=1), np.array(offsets), rcond=None)[0]
    assert np.linalg.norm(level) == pytest.approx(settings.presence, abs=0.1)
    assert np.linalg.norm(slope) == pytest.approx(settings.expression, abs=0.1)
    assert abs(level @ slope) < 0.4


def test_equal_seeds_give_equal_cohorts_and_others_do_not():
    one, same, other = (simulate_planted(0.04, seed, PlantedSettings(n_subjects=5)) for seed in (4, 4, 5))
    assert np.array_equal(one.subjects[3].graphs["slide"].features, same.subjects[3].graphs["slide"].features)
    assert not np.array_equal(one.log_hazard, other.log_hazard)


def test_paired_comparison_is_the_mean_of_the_groups_c_indices():
    rng = np.random.default_rng(0)
    rows = 120
    table = pd.DataFrame(
        {
            "group": np.repeat([0, 1, 2], rows // 3),
            "patient": np.arange(rows),
            "time": rng.exponential(size=rows),
            "event": rng.random(rows) < 0.6,
        }
    )
    table["good"] = -np.log(table["time"]) + rng.normal(size=rows)
    table["noise"] = rng.normal(size=rows)
    compared = compare(table, ["good", "noise"])
    for name in ("good", "noise"):
        truth = [concordance_index_censored(g["event"], g["time"], g[name])[0] for _, g in table.groupby("group")]
        assert compared.value[name] == pytest.approx(np.mean(truth))
    difference, low, high = compared.difference("good", "noise")
    assert 0 < low < difference < high
    assert compared.difference("good", "good") == (0.0, 0.0, 0.0)
