"""Choosing a survival model's hyper-parameter inside a training part."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.survival.concordance import concordant_of_comparable
from sparra.survival.outcomes import BoolArray, FloatArray, FollowUp
from sparra.survival.preparation import fit_preparation
from sparra.survival.registry import SurvivalModel
from sparra.survival.screening import Adjustment

# A stream of its own: a bare seed would tie these draws to whatever else was drawn from it, such as
# a simulated cohort.
_STREAM = 2


@dataclass(frozen=True)
class Tuning:
    """What the inner cross-validation found.

    Attributes
    ----------
    best : float
        The chosen candidate: the highest score, the simplest of equals.
    scores : dict of float to float
        Inner out-of-fold Harrell C of each candidate that could be fitted in every inner fold.
    skipped : dict of float to str
        Candidates that could not, or not in the whole training part, with the reason.
    inner_folds : int
        Folds used: as asked for, but no more than there are events.
    """

    best: float
    scores: dict[float, float]
    skipped: dict[float, str]
    inner_folds: int

    def ranked(self) -> list[float]:
        """Return the candidates that could be fitted, the best first, the simplest of equals first."""
        return sorted(self.scores, key=lambda value: -self.scores[value])


def tune(
    model: SurvivalModel,
    grid: FloatArray,
    features: FloatArray,
    follow_up: FollowUp,
    *,
    seed: int,
    inner_folds: int,
    screening_p: float | None = None,
    screening_adjustment: Adjustment = "none",
) -> Tuning:
    """Choose a candidate of `grid` by event-stratified inner cross-validation.

    The score is Harrell's C over all comparable pairs *within* the inner held-out folds, pooled: the sum
    of concordant pairs over the sum of comparable pairs. Risks of different folds come from different
    fits and are never compared; a fold without a comparable pair takes no part. Imputation, screening and
    scaling are fitted anew in each inner fold.

    Parameters
    ----------
    features : ndarray, shape (n, p)
        Raw features of the training part, NaN where missing.

    Raises
    ------
    UserError
        If there are fewer than two events, no comparable pair, or no candidate could be fitted.
    """
    if follow_up.n_events < 2:
        raise UserError(f"the training part has {follow_up.n_events} event(s); tuning needs at least 2")
    n_folds = min(inner_folds, follow_up.n_events)
    concordant = np.zeros(len(grid))
    comparable = 0
    failures: dict[int, str] = {}
    for heldout in heldout_parts(follow_up, n_folds, seed):
        training = ~heldout
        preparation = fit_preparation(features[training], follow_up[training], screening_p, screening_adjustment)
        risks = model.candidate_risks(
            preparation.apply(features[training]),
            follow_up[training],
            preparation.apply(features[heldout]),
            grid,
            seed,
        )
        failures = risks.failures | failures
        pairs = [concordant_of_comparable(follow_up[heldout], column) for column in risks.values.T]
        concordant += [pair[0] for pair in pairs]
        comparable += pairs[0][1]
    if comparable == 0:
        raise UserError("no two subjects of an inner fold can be compared", mend="use fewer inner folds")
    return _choose(grid, concordant / comparable, failures, n_folds)


def _choose(grid: FloatArray, scores: FloatArray, failures: dict[int, str], n_folds: int) -> Tuning:
    skipped = {float(grid[place]): reason for place, reason in sorted(failures.items())}
    fitted = [place for place in range(len(grid)) if place not in failures]
    if not fitted:
        raise UserError(f"none of {len(grid)} hyper-parameters could be fitted; the first: {failures[min(failures)]}")
    kept = {float(grid[place]): float(scores[place]) for place in fitted}
    best = max(kept, key=lambda value: kept[value])
    return Tuning(best, kept, skipped, n_folds)


def heldout_parts(follow_up: FollowUp, n_folds: int, seed: int) -> Iterator[BoolArray]:
    """Yield masks of held-out subjects; events and sizes are balanced over the folds to within one."""
    shuffled: NDArray[np.intp] = np.random.default_rng([_STREAM, seed]).permutation(len(follow_up))
    events_first = shuffled[np.argsort(~follow_up.event[shuffled], kind="stable")]
    fold = np.empty(len(follow_up), dtype=np.intp)
    fold[events_first] = np.arange(len(follow_up)) % n_folds
    for number in range(n_folds):
        yield fold == number
