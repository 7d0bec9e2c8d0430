import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparra.cohort.followup import parse_event, parse_time


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1", True), ("0", False), ("1.0", True), ("0.0", False), ("TRUE", True), ("false", False),
        ("Dead", True), ("Alive", False), ("DECEASED", True), ("LIVING", False),
        ("1:DECEASED", True), ("0:LIVING", False), ("0:CENSORED", False), ("1:Recurred/Progressed", True),
        ("0:ALIVE OR DEAD TUMOR FREE", False), ("1:DEAD WITH TUMOR", True), (" Dead ", True),
    ],
)  # fmt: skip
def test_status_words_of_registries(cell: str, expected: bool) -> None:
    assert parse_event(cell) is expected


@pytest.mark.parametrize("cell", ["", "nan", "NA", "Lost", "2", "1:LIVING", "0:DECEASED", "1:", "-1", "0:banana"])
def test_unknown_missing_or_contradicting_status_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="status"):
        parse_event(cell)


def test_a_missing_status_is_said_not_to_be_censored() -> None:
    with pytest.raises(ValueError, match="not the same as censored"):
        parse_event("")


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_positive_times_are_read_as_written(time: float) -> None:
    assert parse_time(repr(time)) == time


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ("", "missing"),
        ("nan", "missing"),
        ("-3", "negative"),
        ("0", "zero"),
        ("12d", "number"),
        ("inf", "finite"),
    ],
)
def test_bad_times_say_what_is_wrong(cell: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_time(cell)
