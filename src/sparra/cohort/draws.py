"""Ways to divide a cohort other than k-fold: one site left out at a time, and the paper's hold-outs."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedShuffleSplit

from sparra.cohort.splits import TEST, TRAIN, VALID, Folds, cohort_table
from sparra.errors import UserError

# What `evaluation.keep_together` and `leave_site_out` may say instead of a column.
TISSUE_SOURCE_SITE = "tissue_source_site"
MINIMUM_EVENTS = 5
PAPER_SEED = 5
_TEST_SHARE = 0.2
_BARCODE = re.compile(r"TCGA-([A-Z0-9]{2})-[A-Z0-9]{4}\b")


def tissue_source_sites(subject_ids: Sequence[str]) -> list[str]:
    """Return the tissue-source site of each TCGA barcode: ``B0`` of ``TCGA-B0-4693``.

    Raises
    ------
    UserError
        If an id is no TCGA barcode.
    """
    sites = []
    for name in subject_ids:
        match = _BARCODE.match(str(name))
        if match is None:
            raise UserError(
                f"subject '{name}' is no TCGA barcode, so its tissue-source site is unknown",
                mend="name a column of subjects.csv that holds the site",
            )
        sites.append(match[1])
    return sites


def leave_site_out(
    subject_ids: Sequence[str], event: ArrayLike, sites: Sequence[str], minimum_events: int = MINIMUM_EVENTS
) -> Folds:
    """Test on one site at a time, training on all others; sites with few events are tested together.

    A site with fewer than `minimum_events` events cannot be judged alone. Such sites make one fold more; if
    they have too few events between them they join the site with the fewest subjects. Each subject is tested once.

    Parameters
    ----------
    subject_ids : sequence of str, length n
        Each once.
    event : array-like of bool, shape (n,)
    sites : sequence of str, length n
    minimum_events : int
        Events that a fold must have.

    Returns
    -------
    Folds
        One repeat; sites in order of their names, the joined small ones last.

    Raises
    ------
    UserError
        If an id repeats, or fewer than two folds come about.
    """
    cohort = cohort_table(subject_ids, event).assign(site=[str(site) for site in sites])
    by_site = cohort.groupby("site", sort=True)["event"].agg(["sum", "size"])
    large = [site for site in by_site.index if by_site.loc[site, "sum"] >= minimum_events]
    small = by_site.drop(index=large)
    if not large or (len(large) == 1 and small["sum"].sum() < minimum_events):
        raise UserError(
            f"{len(large)} site(s) had {minimum_events} events or more; leaving a site out needs two such folds",
            mend="use 'keep_together', which joins sites to folds of like size",
        )
    fold_of = {site: number for number, site in enumerate(large)}
    rest = len(large) if small["sum"].sum() >= minimum_events else fold_of[by_site.loc[large, "size"].idxmin()]
    tested_in = cohort["site"].map(lambda site: fold_of.get(site, rest))
    parts = [
        cohort[["subject_id"]].assign(repeat=0, fold=fold, part=np.where(tested_in == fold, TEST, TRAIN))
        for fold in sorted(tested_in.unique())
    ]
    return Folds(pd.concat(parts, ignore_index=True))


def paper_hold_outs(subject_ids: Sequence[str], event: ArrayLike, n_splits: int = 5, seed: int = PAPER_SEED) -> Folds:
    """Draw the paper's "5-fold cross-validation": independent stratified 80:20 hold-outs, which overlap.

    Each training part is divided once more, 80:20 with the same seed: networks are fitted to the larger share,
    survival models to both. Of 205 subjects 131 train networks, 33 are set aside, 41 are tested. A subject
    may be tested in several hold-outs, or in none. The draws depend on the subjects' order; they are sorted by id.

    Parameters
    ----------
    subject_ids : sequence of str, length n
        Each once.
    event : array-like of bool, shape (n,)
    n_splits : int
    seed : int
        5 in the released code.

    Raises
    ------
    UserError
        If an id repeats, or there are too few subjects with or without the event.
    """
    cohort = cohort_table(subject_ids, event).sort_values("subject_id", ignore_index=True)
    parts = []
    try:
        outer = StratifiedShuffleSplit(n_splits, test_size=_TEST_SHARE, random_state=seed)
        for number, (train, test) in enumerate(outer.split(cohort, cohort["event"])):
            inner = StratifiedShuffleSplit(1, test_size=_TEST_SHARE, random_state=seed)
            _, aside = next(inner.split(train, cohort["event"].iloc[train]))
            part = pd.Series(TRAIN, index=cohort.index)
            part.iloc[train[aside]], part.iloc[test] = VALID, TEST
            parts.append(cohort[["subject_id"]].assign(repeat=0, fold=number, part=part))
    except ValueError as error:
        raise UserError(f"the hold-outs cannot be drawn: {error}", mend="collect more follow-up") from None
    return Folds(pd.concat(parts, ignore_index=True))
