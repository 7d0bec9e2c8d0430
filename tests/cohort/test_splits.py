from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparra.cohort.splits import Folds, match_folds, read_folds, stratified_folds, write_folds
from sparra.errors import UserError

DATA = Path(__file__).parents[3] / "shared" / "data"


@st.composite
def cohorts(draw):
    n_folds = draw(st.integers(2, 6))
    n = draw(st.integers(n_folds, 60))
    events = draw(st.integers(n_folds, n))
    order = draw(st.permutations(range(n)))
    return [f"P{i:02d}" for i in order], [i < events for i in order], n_folds, draw(st.integers(0, 99))


@settings(max_examples=40, deadline=None)
@given(cohorts())
def test_everyone_is_tested_once_and_events_are_balanced(cohort):
    ids, event, n_folds, seed = cohort
    folds = list(stratified_folds(ids, event, n_folds, seed))
    assert sorted(name for fold in folds for name in fold.test) == sorted(ids)
    assert all(sorted(fold.train + fold.test) == sorted(ids) for fold in folds)
    had_event = dict(zip(ids, event, strict=True))
    assert np.ptp([sum(had_event[name] for name in fold.test) for fold in folds]) <= 1
    assert np.ptp([len(fold.test) for fold in folds]) <= 1


@settings(max_examples=40, deadline=None)
@given(cohorts())
def test_the_order_of_the_input_does_not_matter(cohort):
    ids, event, n_folds, seed = cohort
    one = stratified_folds(ids, event, n_folds, seed).table
    other = stratified_folds(ids[::-1], event[::-1], n_folds, seed).table
    pd.testing.assert_frame_equal(one, other)


def test_seeds_differ():
    ids, event = [f"P{i}" for i in range(40)], [i % 2 for i in range(40)]
    tests = {tuple(next(iter(stratified_folds(ids, event, 5, seed))).test) for seed in range(10)}
    assert len(tests) == 10


def test_groups_stay_together():
    rng = np.random.default_rng(0)
    ids, event = [f"P{i:03d}" for i in range(100)], rng.random(100) < 0.5
    site = rng.integers(0, 15, 100).astype(str)
    folds = stratified_folds(ids, event, 4, 0, groups=site)
    site_of = dict(zip(ids, site, strict=True))
    tested = [{site_of[name] for name in fold.test} for fold in folds]
    assert sum(map(len, tested)) == len(set(site))
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 12


def test_too_few_events_names_the_largest_number_of_folds():
    with pytest.raises(UserError, match=r"only 3 subject\(s\) had the event.*use at most 3 folds"):
        stratified_folds(list("abcdefgh"), [1, 1, 1, 0, 0, 0, 0, 0], 5, 0)
    with pytest.raises(UserError, match="collect more follow-up"):
        stratified_folds(list("abcd"), [1, 0, 0, 0], 2, 0)
    with pytest.raises(UserError, match="needs at least 2"):
        stratified_folds(list("abcd"), [1, 1, 0, 0], 1, 0)
    with pytest.raises(UserError, match="'a' is named twice"):
        stratified_folds(list("aabcd"), [1, 1, 0, 0, 1], 2, 0)


def test_written_folds_are_read_back(tmp_path):
    folds = stratified_folds(["007", "NA", "1e5", "d"], [1, 1, 0, 0], 2, 0)
    write_folds(tmp_path / "folds.csv", folds)
    pd.testing.assert_frame_equal(read_folds(tmp_path / "folds.csv").table, folds.table)
    assert read_folds(tmp_path / "folds.csv").subject_ids == ["007", "1e5", "NA", "d"]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path.parent


def test_published_splits_with_and_without_a_test_column(tmp_path):
    folder = write(tmp_path / "a" / "splits_0.csv", ",train,val\n0,p1,p3\n1,p2,\n")
    write(folder / "splits_10.csv", ",train,val\n0,p3,p1\n1,,p2\n")
    write(folder / "summary.csv", "x\n1\n")
    first, second = read_folds(folder)
    assert (first.fold, first.train, first.test) == (0, ["p1", "p2"], ["p3"])
    assert (second.fold, second.train, second.test) == (10, ["p3"], ["p1", "p2"])
    folder = write(tmp_path / "b" / "splits_0.csv", "train,val,test\np1,p2,p3\n,,p4\n")
    (only,) = read_folds(folder)
    assert (only.train, only.test) == (["p1", "p2"], ["p3", "p4"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train,val\np1,p1\n",
            "splits_0.csv: subject 'p1' is in both the training and the test part of fold 0",
        ),
        ("train,val\np1,p2\np1,\n", "'p1' is twice of fold 0"),
        ("train,test\np1,p2\n", "column 'val' is missing"),
        ("train,val\np1,\n", "fold 0 .* has no test part"),
        ("", "no CSV table"),
    ],
)
def test_broken_published_splits_are_told(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_folds(write(tmp_path / "s" / "splits_0.csv", text))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0,0,a,train\n0,0,a,test", "'a' is in both"),
        ("0,0,a,train\n0,0,b,tets", "part 'tets' is neither"),
        ("0,0,a,train\n0,x,b,test", "row 3: fold 'x' is no number"),
        ("", "the splits are empty"),
    ],
)
def test_a_broken_fold_table_is_told(tmp_path, rows, message):
    write(tmp_path / "folds.csv", f"repeat,fold,subject_id,part\n{rows}\n")
    with pytest.raises(UserError, match=message):
        read_folds(tmp_path / "folds.csv")


def test_absent_splits_are_told(tmp_path):
    with pytest.raises(UserError, match=r"no splits_<k>\.csv"):
        read_folds(tmp_path)
    with pytest.raises(UserError, match="no splits here"):
        read_folds(tmp_path / "nowhere.csv")


def test_splits_are_matched_to_the_cohort():
    rows = [
        (0, 0, "a", "train"),
        (0, 0, "b", "test"),
        (0, 0, "x", "test"),
        (0, 1, "b", "train"),
        (0, 1, "a", "test"),
    ]
    folds = Folds(pd.DataFrame(rows, columns=["repeat", "fold", "subject_id", "part"]))
    matched = match_folds(folds, ["a", "b", "c"])
    assert matched.not_in_cohort == ["x"]
    assert matched.in_no_split == ["c"]
    assert matched.folds.subject_ids == ["a", "b"]
    assert len(matched.folds) == 2
    with pytest.raises(UserError, match="name none of the cohort's 1 subjects"):
        match_folds(folds, ["z"])
    with pytest.raises(UserError, match="has no test part"):
        match_folds(folds, ["a", "c"])


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.exists(), reason="the real data lie beside the project")
def test_the_published_kirc_splits():
    folds = read_folds(DATA / "hipt-rcc" / "splits")
    assert [fold.fold for fold in folds] == [0, 1, 2, 3, 4]
    table = pd.read_csv(DATA / "hipt-rcc" / "tcga_kirc_kich.csv")
    cohort = table.loc[table["oncotree_code"] == "CCRCC", "case_id"].unique()
    matched = match_folds(folds, cohort)
    tested = [name for fold in matched.folds for name in fold.test]
    assert len(tested) == len(set(tested))
    assert len(set(tested)) + len(matched.in_no_split) == len(cohort)
