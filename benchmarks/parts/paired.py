"""Paired bootstrap over patients of a difference between two methods' C-indices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparra.survival.concordance import mean_over_folds, weighted_c_by_fold
from sparra.survival.outcomes import FollowUp

STREAM = 32
RESAMPLES = 1000


@dataclass(frozen=True)
class Comparison:
    """C-indices of some methods, means over groups, with their bootstrap.

    Attributes
    ----------
    value : dict of str to float
    draws : dict of str to ndarray, each (RESAMPLES,)
        The same draws of patients for every method.
    """

    value: dict[str, float]
    draws: dict[str, NDArray[np.float64]]

    def difference(self, one: str, other: str) -> tuple[float, float, float]:
        """Return C(one) - C(other) with its 95 % percentile interval."""
        low, high = np.nanpercentile(self.draws[one] - self.draws[other], (2.5, 97.5))
        return self.value[one] - self.value[other], float(low), float(high)


def compare(table: pd.DataFrame, methods: Sequence[str], seed: int = 0) -> Comparison:
    """Average Harrell's C over groups of test patients and resample the patients.

    Parameters
    ----------
    table : DataFrame
        Columns ``group`` (patients whose risks may be compared: one fold of one seed), ``patient`` (the unit that
        is drawn; the same name in two groups is the same patient), ``time``, ``event`` and one column of risks for
        each method.
    methods : sequence of str
    seed : int
    """
    patients, place = np.unique(table["patient"].astype(str), return_inverse=True)
    n = len(patients)
    rng = np.random.default_rng([STREAM, seed])
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)])
    follow_up = FollowUp(table["time"].to_numpy(float), table["event"].to_numpy(bool))
    mine, group = weights[:, place].astype(float), table["group"].to_numpy()
    by_group = {m: weighted_c_by_fold(follow_up, table[m].to_numpy(float), group, mine) for m in methods}
    means = {method: mean_over_folds(values) for method, values in by_group.items()}
    return Comparison(
        {method: float(values[0]) for method, values in means.items()},
        {method: values[1:] for method, values in means.items()},
    )
