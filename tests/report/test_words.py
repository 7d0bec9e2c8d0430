from dataclasses import replace

import numpy as np
import pandas as pd

from sparra.report.results import read_results
from sparra.report.tables import results_table
from sparra.report.words import added_value_sentences, cohort_flow, headline, protocol_sentences
from sparra.study.layout import StudyLayout


def test_flow_accounts_for_every_subject(joint_study: StudyLayout) -> None:
    results = read_results(joint_study)
    flow = cohort_flow(results)
    assert (flow.subjects_in, flow.used, flow.n_excluded, flow.remark) == (42, 40, 2, "")
    assert flow.excluded == [("the mask is of another shape", 1), ("time 'x' is no number", 1)]
    assert flow.events == read_results(joint_study).subjects["event"].sum()
    lost = cohort_flow(replace(results, flow={**results.flow, "subjects_in": 50}))
    assert lost.remark == "50 in, 40 used and 2 excluded do not add up."


def test_flow_counts_from_the_subjects_where_it_was_not_written(joint_study: StudyLayout) -> None:
    results = read_results(joint_study)
    bare = {key: results.flow[key] for key in ("subjects_in", "excluded")}
    flow = cohort_flow(replace(results, flow=bare))
    assert (flow.used, flow.remark) == (40, "")
    assert flow.events == results.subjects["event"].sum()
    no_follow_up = results.subjects.assign(time=np.nan)
    assert cohort_flow(replace(results, subjects=no_follow_up)).follow_up == "not recorded"


def test_median_follow_up_is_by_reverse_kaplan_meier(joint_study: StudyLayout) -> None:
    results = read_results(joint_study)
    # By hand: censored at 10, 20, 30, 40; an event at 15 only leaves the risk set. 1 → 4/5 → 8/15 → 4/15.
    subjects = pd.DataFrame(
        {"subject_id": list("abcde"), "time": [10.0, 15, 20, 30, 40], "event": [False, True, *[False] * 3]}
    )
    assert cohort_flow(replace(results, subjects=subjects)).follow_up == "30 days"
    all_dead = subjects.assign(event=True)
    follow_up = cohort_flow(replace(results, subjects=all_dead)).follow_up
    assert follow_up == "not reached; longest 40 days"


def test_headline_names_the_best_and_its_rival(joint_study: StudyLayout) -> None:
    results = read_results(joint_study)
    means = (
        results.metrics[results.metrics["metric"] == "c_index"]
        .groupby(["aggregator", "modality", "model"])["value"]
        .mean()
    )
    sentences = headline(results_table(results.metrics), results.predictions, results.intervals)
    others = means[means.index.get_level_values("aggregator") != "sparra"]
    assert f"{means.max():.3f}" in sentences[0]
    assert "SPARRA" in sentences[0]
    assert (
        f"On 40 patients with {results.predictions.drop_duplicates('subject_id')['event'].sum()} events" in sentences[0]
    )
    assert "SD" in sentences[0]
    assert sentences[1].startswith("The best without SPARRA is ")
    assert f"{others.max():.3f}" in sentences[1]
    assert f"best of {len(means)} combinations" in sentences[2]
    assert "significant" not in " ".join(sentences)


def test_headline_is_as_plain_when_sparra_loses(joint_study: StudyLayout) -> None:
    results = read_results(joint_study)
    worse = results.metrics.assign(
        value=np.where(results.metrics["aggregator"] == "sparra", 0.4, results.metrics["value"])
    )
    sentences = headline(results_table(worse), results.predictions, results.intervals)
    assert "SPARRA" not in sentences[0]
    assert sentences[1].startswith("The best with SPARRA is SPARRA on ")
    assert "0.400" in sentences[1]


def test_headline_tells_the_interval_of_its_number(joint_study: StudyLayout) -> None:
    results = read_results(joint_study)
    table = results_table(results.metrics)
    rows = results.metrics.drop_duplicates(["modality", "aggregator", "model"])[["modality", "aggregator", "model"]]
    intervals = rows.assign(lower=np.arange(len(rows)) / 1000 + 0.3, upper=np.arange(len(rows)) / 1000 + 0.8)
    first = headline(table, results.predictions, intervals)[0]
    means = results.metrics[results.metrics["metric"] == "c_index"].groupby(list(rows.columns))["value"].mean()
    own = intervals.set_index(list(rows.columns)).loc[means.idxmax()]
    assert f"{means.max():.3f} (95 % CI {own['lower']:.3f} to {own['upper']:.3f})" in first


def test_protocol_is_the_studys_own(joint_study: StudyLayout) -> None:
    results = read_results(joint_study)
    assert "cross-fitting" in protocol_sentences(results)[1]
    paper = replace(results, settings={"evaluation": {"protocol": "paper"}})
    assert "overconfident" in protocol_sentences(paper)[1]


def test_added_value_is_told_with_its_direction_or_its_reason() -> None:
    row = {
        "modality": "slide", "aggregator": "sparra", "covariates": "age sex=male", "chi_square": 1.074, "df": 1.0,
        "p": 0.4398, "hazard_ratio": 1.131, "lower": 0.9, "upper": 1.42, "reason": "",
    }  # fmt: skip
    wrong = row | {"modality": "ct", "p": 2e-5, "hazard_ratio": 0.5}
    none = row | {"modality": "joint", "p": np.nan, "reason": "monotone likelihood"}
    added, harmful, missing = added_value_sentences(pd.DataFrame([row, wrong, none]))
    assert added == (
        "SPARRA on slides, beside age, sex=male: likelihood ratio 1.07 on 1 degree of freedom, p = 0.44; hazard ratio "
        "of one standard deviation of the risk 1.13 (95 % interval 0.90 to 1.42)."
    )
    assert harmful.startswith("SPARRA on CT, beside")
    assert "p < 0.001 but the risk points the wrong way; hazard" in harmful
    assert missing == "SPARRA on CT + slides: no test (monotone likelihood)."
