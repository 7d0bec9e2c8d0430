"""Which subjects train and which test: patient-level folds, made, saved and read."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sparra.errors import UserError
from sparra.files import write_text

COLUMNS = ["repeat", "fold", "subject_id", "part"]
TRAIN, VALID, TEST = "train", "valid", "test"
PARTS = (TRAIN, VALID, TEST)
# A stream of its own: a bare seed would tie these draws to whatever else was drawn from it, such as
# a simulated cohort.
_STREAM = 1
_PUBLISHED = re.compile(r"splits_(\d+)\.csv")


@dataclass(frozen=True)
class Fold:
    """One division of the subjects; ids are sorted.

    Attributes
    ----------
    repeat, fold : int
    train : list of str
        The whole training part, that of `valid` included.
    test : list of str
    valid : list of str
        Those of the training part that networks are not fitted to; survival models are. Empty but in the
        protocol ``paper``.
    """

    repeat: int
    fold: int
    train: list[str]
    test: list[str]
    valid: list[str] = field(default_factory=list)

    @property
    def network_train(self) -> list[str]:
        """The subjects that networks are fitted to."""
        held = set(self.valid)
        return [name for name in self.train if name not in held]


@dataclass(frozen=True)
class Folds:
    """All divisions of a study.

    Attributes
    ----------
    table : DataFrame
        Columns repeat, fold, subject_id, part (``train``, ``valid`` or ``test``), sorted. ``valid`` is the
        share of the training part that networks are not fitted to.

    Raises
    ------
    UserError
        If a subject is named twice in a fold (so also if it is in two parts), a part is of another name,
        or a fold has no training or no test part.
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        table = self.table[COLUMNS].astype({"repeat": int, "fold": int, "subject_id": str, "part": str})
        _check_parts(table)
        object.__setattr__(self, "table", table.sort_values(COLUMNS, ignore_index=True))

    def __iter__(self) -> Iterator[Fold]:
        for _, rows in self.table.groupby(["repeat", "fold"]):
            ids = rows["subject_id"]
            train, valid, test = (sorted(ids[rows["part"] == part]) for part in PARTS)
            yield Fold(int(rows["repeat"].iloc[0]), int(rows["fold"].iloc[0]), sorted(train + valid), test, valid)

    def __len__(self) -> int:
        return len(self.table[["repeat", "fold"]].drop_duplicates())

    @property
    def subject_ids(self) -> list[str]:
        """All subjects named, sorted."""
        return sorted(self.table["subject_id"].unique())


@dataclass(frozen=True)
class MatchedFolds:
    """Folds cut down to a cohort.

    Attributes
    ----------
    folds : Folds
        Of the cohort's subjects only.
    not_in_cohort : list of str
        Subjects that the splits name and the cohort lacks; left out.
    in_no_split : list of str
        Subjects of the cohort that no fold names; they take no part in the evaluation.
    """

    folds: Folds
    not_in_cohort: list[str]
    in_no_split: list[str]


def stratified_folds(
    subject_ids: Sequence[str],
    event: ArrayLike,
    n_folds: int,
    seed: int,
    groups: Sequence[str] | None = None,
    *,
    strata: Sequence[str] | None = None,
    repeats: int = 1,
) -> Folds:
    """Divide subjects into `n_folds`, each subject tested exactly once a repeat.

    Events and sizes of the test parts differ by one at most. The result depends on the seed and the
    ids, not on the order in which they come.

    Parameters
    ----------
    subject_ids : sequence of str, length n
        Each once.
    event : array-like of bool, shape (n,)
        True where the event was observed.
    n_folds : int
        At least 2.
    seed : int
    groups : sequence of str, length n, optional
        Subjects of one group (a site, a family) stay together. Balance is then as near as the groups allow.
    strata : sequence of str, length n, optional
        Each value (a histology) is shared out evenly too, among subjects with and without the event alike:
        to within one subject. Not together with `groups`.
    repeats : int
        How often the division is drawn anew.

    Returns
    -------
    Folds
        Repeats 0 … repeats - 1, each with folds 0 … n_folds - 1.

    Raises
    ------
    UserError
        If ids repeat, there are fewer events (or groups with an event) than folds, or both groups and strata
        are given.
    """
    if groups is not None and strata is not None:
        raise UserError("subjects can be kept together by a group or balanced by a stratum, not both")
    cohort = cohort_table(subject_ids, event)
    cohort["group"] = cohort["subject_id"] if groups is None else [str(name) for name in groups]
    cohort["stratum"] = "" if strata is None else [str(name) for name in strata]
    by_group = cohort.groupby("group", sort=True).agg(
        events=("event", "sum"), size=("event", "size"), stratum=("stratum", "first")
    )
    _check_number_of_folds(n_folds, int((by_group["events"] > 0).sum()), "subject" if groups is None else "group")
    parts = []
    for repeat in range(repeats):
        # The first repeat's draw is the one that a study without repeats has.
        rng = np.random.default_rng([_STREAM, seed, repeat] if repeat else [_STREAM, seed])
        fold_of = _assign(by_group, n_folds, rng)
        tested_in = cohort["group"].map(dict(zip(by_group.index, fold_of, strict=True)))
        parts += [
            cohort[["subject_id"]].assign(repeat=repeat, fold=fold, part=np.where(tested_in == fold, TEST, TRAIN))
            for fold in range(n_folds)
        ]
    return Folds(pd.concat(parts, ignore_index=True))


def cohort_table(subject_ids: Sequence[str], event: ArrayLike) -> pd.DataFrame:
    """Return columns subject_id and event, in order of the ids; a UserError where an id repeats."""
    cohort = pd.DataFrame({"subject_id": [str(name) for name in subject_ids], "event": np.asarray(event, bool)})
    twice = cohort["subject_id"][cohort["subject_id"].duplicated()]
    if len(twice):
        raise UserError(f"subject '{twice.iloc[0]}' is named twice", mend="give each subject one row")
    return cohort


def _check_number_of_folds(n_folds: int, n_with_event: int, unit: str) -> None:
    if n_folds < 2:
        raise UserError(f"{n_folds} fold(s) asked for; cross-validation needs at least 2")
    if n_with_event < n_folds:
        mend = f"use at most {n_with_event} folds" if n_with_event >= 2 else "collect more follow-up"
        raise UserError(
            f"only {n_with_event} {unit}(s) had the event, too few to test one in each of {n_folds} folds",
            mend=mend,
        )


def _assign(groups: pd.DataFrame, n_folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Give each group a fold: the largest first, to the fold with the fewest events, then subjects.

    Groups of one size come stratum by stratum, so that going round the folds shares each stratum out.
    """
    events, sizes = groups["events"].to_numpy(), groups["size"].to_numpy()
    stratum = np.unique(groups["stratum"].astype(str), return_inverse=True)[1]
    shuffled = rng.permutation(len(groups))
    order = shuffled[np.lexsort((stratum[shuffled], -sizes[shuffled], -events[shuffled]))]
    fold_events, fold_sizes = np.zeros(n_folds), np.zeros(n_folds)
    fold_of = np.empty(len(groups), dtype=np.int64)
    for group in order:
        # A group without events cannot change their balance, so it goes where subjects are fewest.
        keys = (fold_sizes, fold_events) if events[group] else (fold_sizes,)
        fold = np.lexsort(keys)[0]
        fold_of[group] = fold
        fold_events[fold] += events[group]
        fold_sizes[fold] += sizes[group]
    return fold_of


def write_folds(path: Path, folds: Folds) -> None:
    """Write folds as CSV (repeat, fold, subject_id, part), atomically."""
    write_text(path, folds.table.to_csv(index=False, lineterminator="\n"))


def read_folds(path: Path) -> Folds:
    """Read folds from a CSV of `write_folds`, or from a folder of published splits.

    The folder holds ``splits_<k>.csv`` with columns train, val and perhaps test, each a list of subject
    ids. The held-out part is test; without test it is val. Where there is a test column, val joins the
    training part, as nothing here is chosen on it.

    Raises
    ------
    UserError
        If there is nothing to read, a column is missing, or a subject is in both parts of a fold.
    """
    if path.is_dir():
        return _read_published(path)
    if not path.is_file():
        raise UserError("there are no splits here", path, "name a CSV or a folder of splits_<k>.csv")
    table = _read_text_table(path, COLUMNS)
    for column in ("repeat", "fold"):
        wrong = table.index[~table[column].str.fullmatch(r"\d+")]
        if len(wrong):
            raise UserError(f"{column} '{table[column][wrong[0]]}' is no number", f"{path}, row {wrong[0] + 2}")
    return _folds_at(table, path)


def match_folds(folds: Folds, subject_ids: Iterable[str]) -> MatchedFolds:
    """Cut folds down to the subjects of a cohort and tell which of either are missing in the other.

    Raises
    ------
    UserError
        If a fold is left without a training or a test part.
    """
    cohort = {str(name) for name in subject_ids}
    named = set(folds.subject_ids)
    if not cohort & named:
        raise UserError(
            f"the splits name none of the cohort's {len(cohort)} subjects",
            mend=f"use the same ids in both: the splits have '{min(named)}'",
        )
    known = folds.table[folds.table["subject_id"].isin(cohort)]
    lost = len(folds) - len(known[["repeat", "fold"]].drop_duplicates())
    if lost:
        raise UserError(f"{lost} fold(s) of the splits name no subject of the cohort")
    return MatchedFolds(Folds(known), sorted(named - cohort), sorted(cohort - named))


def _read_published(folder: Path) -> Folds:
    found = {int(match[1]): path for path in folder.iterdir() if (match := _PUBLISHED.fullmatch(path.name))}
    if not found:
        raise UserError("the folder holds no splits_<k>.csv", folder)
    return _folds_at(pd.concat([_published_fold(found[k], k) for k in sorted(found)]), folder)


def _published_fold(path: Path, number: int) -> pd.DataFrame:
    columns = _read_text_table(path, [TRAIN, "val"])
    ids = {name: _named(columns[name]) for name in (TRAIN, "val", TEST) if name in columns}
    if ids.get(TEST):
        parts = {TRAIN: ids[TRAIN] + ids["val"], TEST: ids[TEST]}
    else:
        parts = {TRAIN: ids[TRAIN], TEST: ids["val"]}
    fold = pd.concat([pd.DataFrame({"subject_id": names, "part": part}) for part, names in parts.items()])
    fold = fold.assign(repeat=0, fold=number)
    try:
        _check_parts(fold)
    except UserError as error:
        raise UserError(error.what, path, error.mend) from None
    return fold


def _named(column: "pd.Series[str]") -> list[str]:
    stripped = column.str.strip()
    return stripped[stripped != ""].tolist()


def _read_text_table(path: Path, needed: list[str]) -> pd.DataFrame:
    try:
        # Ids are text: '007' keeps its zeros and 'NA' is an id.
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"this is no CSV table ({error})", path) from None
    missing = [name for name in needed if name not in table]
    if missing:
        raise UserError(f"column '{missing[0]}' is missing; found {', '.join(table.columns)}", path)
    return table


def _folds_at(table: pd.DataFrame, path: Path) -> Folds:
    try:
        return Folds(table)
    except UserError as error:
        raise UserError(error.what, path, error.mend) from None


def _check_parts(table: pd.DataFrame) -> None:
    strange = table["part"][~table["part"].isin(PARTS)]
    if len(strange):
        raise UserError(f"part '{strange.iloc[0]}' is neither '{TRAIN}' nor '{TEST}'")
    keys = ["repeat", "fold", "subject_id"]
    twice = table[table.duplicated(keys, keep=False)].sort_values(keys)
    if len(twice):
        subject = twice.iloc[0]
        same = twice[(twice[keys] == subject[keys]).all(axis=1)]
        where = "in both the training and the test part" if same["part"].nunique() > 1 else "twice"
        place = f"fold {subject['fold']} (repeat {subject['repeat']})"
        raise UserError(
            f"subject '{subject['subject_id']}' is {where} of {place}", mend="name each subject once a fold"
        )
    for (repeat, fold), parts in table.groupby(["repeat", "fold"])["part"]:
        absent = {TRAIN, TEST} - set(parts)
        if absent:
            raise UserError(f"fold {fold} (repeat {repeat}) has no {min(absent)} part")
    if table.empty:
        raise UserError("the splits are empty")
