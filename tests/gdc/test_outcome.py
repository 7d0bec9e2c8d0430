"""The rules of overall survival, by hand and against TCGA-CDR."""

import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparra.gdc.outcome import RawFollowUp, finite_days, overall_survival

CDR = Path(__file__).parents[3] / "shared" / "data" / "tcga-clinical" / "TCGA-CDR-SupplementalTableS1.xlsx"


@pytest.mark.parametrize(
    ("raw", "time", "event"),
    [
        (RawFollowUp("Alive", (), (120, 900, 400)), 900, False),
        (RawFollowUp("Dead", (365,), (300,)), 365, True),
        (RawFollowUp("dead", (365,), (400,)), 365, True),
        (RawFollowUp("Dead", (100, 120), ()), 120, True),
        (RawFollowUp("Alive", (500,), (900,)), 900, False),
        (RawFollowUp("Alive", (), (-3, 8)), 8, False),
    ],
)
def test_rules(raw: RawFollowUp, time: float, event: bool) -> None:
    outcome = overall_survival(raw)
    assert (outcome.time, outcome.event, outcome.reason) == (time, event, "")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (RawFollowUp("", (), (90,)), "vital status"),
        (RawFollowUp("Not Reported", (10,), (90,)), "vital status"),
        (RawFollowUp("Dead", (), (90,)), "day of death is missing"),
        (RawFollowUp("Dead", (-4,), ()), "negative"),
        (RawFollowUp("Alive", (), ()), "no day of contact"),
        (RawFollowUp("Alive", (), (-30,)), "no day of contact"),
        (RawFollowUp("Alive", (), (0,)), "day 0"),
    ],
)
def test_dropped_with_a_reason(raw: RawFollowUp, reason: str) -> None:
    outcome = overall_survival(raw)
    assert math.isnan(outcome.time)
    assert reason in outcome.reason


def test_contradictions_are_remarked() -> None:
    assert "after the death" in overall_survival(RawFollowUp("Dead", (10,), (20,))).remarks[0]
    assert "several days of death" in overall_survival(RawFollowUp("Dead", (10, 11), ())).remarks[0]
    assert "alive, but" in overall_survival(RawFollowUp("Alive", (10,), (20,))).remarks[0]
    assert "before the index date" in overall_survival(RawFollowUp("Alive", (), (-2, 20))).remarks[0]


DAYS = st.lists(st.integers(-100, 5000).map(float), max_size=5).map(tuple)


@given(st.sampled_from(["Alive", "Dead", "", "Unknown"]), DAYS, DAYS)
def test_a_time_is_positive_or_has_a_reason(
    status: str, deaths: tuple[float, ...], contacts: tuple[float, ...]
) -> None:
    outcome = overall_survival(RawFollowUp(status, deaths, contacts))
    assert (outcome.time > 0) == (outcome.reason == "")
    if not outcome.reason:
        assert outcome.event == (status == "Dead")
        assert outcome.time == max(deaths if outcome.event else contacts)


def test_days_that_are_no_numbers() -> None:
    assert finite_days([None, "12", 3, "x", float("nan"), True, [], "inf"]) == (12.0, 3.0)


@pytest.mark.real_data
@pytest.mark.skipif(not CDR.exists(), reason="no ../shared/data beside the project")
@pytest.mark.parametrize("project", ["KIRC", "KICH"])
def test_equal_to_the_clinical_data_resource(project: str) -> None:
    table = pd.read_excel(CDR, sheet_name="TCGA-CDR", index_col=0)
    table = table[table["type"] == project]
    differing = []
    for row in table.to_dict("records"):
        raw = RawFollowUp(
            str(row["vital_status"]), finite_days([row["death_days_to"]]), finite_days([row["last_contact_days_to"]])
        )
        outcome = overall_survival(raw)
        # A time of zero, which the resource keeps and a study cannot use, is a difference of its own kind.
        same = outcome.event == bool(row["OS"]) and outcome.time == row["OS.time"]
        if not same:
            differing.append((row["bcr_patient_barcode"], row["OS"], row["OS.time"], outcome.reason))
    print(project, len(table), differing)
    assert len(table) == {"KIRC": 537, "KICH": 113}[project]
    assert 1 - len(differing) / len(table) >= 0.99
    assert all(reason for *_, reason in differing)
