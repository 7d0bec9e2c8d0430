"""The times at which all methods and folds are judged, declared once."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparra.errors import UserError
from sparra.survival.outcomes import FloatArray, FollowUp

_N_TIMES = 50
_TAU_PERCENTILE = 80
_FIRST_EVENT_PERCENTILE = 10


@dataclass(frozen=True)
class TimeGrid:
    """Evaluation times and horizon, in the study's time unit.

    Attributes
    ----------
    times : ndarray, shape (T,)
        Strictly increasing, all below `tau`.
    tau : float
        Nothing after it is looked at by C-IPCW, C-AUC and IBS.
    """

    times: FloatArray
    tau: float


def declare_time_grid(
    time: ArrayLike,
    event: ArrayLike,
    horizon: float | None = None,
    test_parts: Iterable[NDArray[np.intp]] = (),
) -> TimeGrid:
    """Declare the horizon τ and the time grid from the whole cohort, before any model is seen.

    τ is `horizon`, or else the 80th percentile of all follow-up times, lowered to the shortest of the
    test parts' longest follow-ups if that comes first, so that each fold can be judged on the one grid. It
    depends on follow-up alone, never on a prediction. The grid is 50 equally spaced times from the
    10th percentile of the event times before τ up to, but not including, τ.

    Parameters
    ----------
    time, event : array-like, shape (n,)
        Follow-up of the whole cohort.
    horizon : float, optional
        τ as chosen by the user; taken as it is.
    test_parts : iterable of int arrays, optional
        Rows of each fold's test part.

    Raises
    ------
    UserError
        If fewer than two events lie before τ.
    """
    follow_up = FollowUp(np.asarray(time), np.asarray(event))
    if horizon is None:
        longest = [float(follow_up.time[rows].max()) for rows in test_parts]
        tau = min([float(np.percentile(follow_up.time, _TAU_PERCENTILE)), *longest])
    else:
        tau = float(horizon)
    early = follow_up.time[follow_up.event & (follow_up.time < tau)]
    if early.size < 2:
        raise UserError(
            f"{early.size} event(s) lie before the horizon {tau:g}; the evaluation needs at least 2",
            mend="set 'horizon' later" if horizon is not None else "set 'horizon' by hand or use fewer folds",
        )
    first = float(np.percentile(early, _FIRST_EVENT_PERCENTILE))
    return TimeGrid(np.linspace(first, tau, _N_TIMES, endpoint=False), tau)
