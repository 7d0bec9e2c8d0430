"""Whether the maps of a trained aggregation can be trusted: its checks, and the verdict in a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparra.maps.label import Verdict

BOOTSTRAPS = 1000
FEWEST_SUBJECTS = 5
_STREAM = 13  # of random draws, see docs/architecture.md
CONSTANT = "the map is the same everywhere"


@dataclass(frozen=True)
class Check:
    """One check of one trained aggregation's maps of one modality.

    Attributes
    ----------
    name : str
        ``deletion``, ``insertion``, ``stability_seeds``, ``stability_folds``, ``planted_auroc``; what only describes:
        ``removal``, ``top_overlap_seeds``, ``top_overlap_folds``, ``planted_overlap``.
    value, lower, upper : float
        Mean over subjects with its 95 % interval (bootstrap over subjects); NaN with a reason.
    chance : float
        What a map that knows nothing gets.
    subjects : int
    passed : bool or None
        Whether the whole interval lies above chance; None where it is not tested or only describes.
    reason : str
        Why there is no value.
    """

    name: str
    value: float
    lower: float
    upper: float
    chance: float
    subjects: int
    passed: bool | None
    reason: str = ""


def check_over_subjects(
    name: str, values: Sequence[float], chance: float, seed: int, decides: bool = True, reason: str = ""
) -> Check:
    """Average a figure over subjects and hold it against chance.

    Parameters
    ----------
    name : str
    values : sequence of float
        One a subject; NaN are left out.
    chance : float
    seed : int
        Of the bootstrap.
    decides : bool
        Whether it counts for the verdict.
    reason : str
        Why there is no value, where there is none.
    """
    known = np.asarray([value for value in values if np.isfinite(value)])
    if len(known) < FEWEST_SUBJECTS:
        nan = float("nan")
        why = reason or f"{len(known)} subjects, fewer than {FEWEST_SUBJECTS}"
        return Check(name, nan, nan, nan, chance, len(known), None, why)
    generator = np.random.default_rng([_STREAM, seed])
    means = known[generator.integers(0, len(known), size=(BOOTSTRAPS, len(known)))].mean(axis=1)
    lower, upper = (float(value) for value in np.percentile(means, [2.5, 97.5]))
    return Check(name, float(known.mean()), lower, upper, chance, len(known), lower > chance if decides else None)


def verdict_of(checks: Sequence[Check], constant: bool = False) -> Verdict:
    """Return ``failed`` if any check fails or the map is constant, ``trusted`` if deletion passes and none fails."""
    if constant or any(check.passed is False for check in checks):
        return "failed"
    if any(check.name == "deletion" and check.passed for check in checks):
        return "trusted"
    return "untested"


WORDS = {
    "deletion": "blanking the nodes it names moves the risk no more than blanking random ones",
    "insertion": "putting the nodes it names back restores the risk no better than random ones",
    "stability_seeds": "models of other seeds rank the nodes in another order",
    "stability_folds": "models of other repeats rank the nodes in another order",
    "planted_auroc": "it ranks the planted region no higher than the rest",
}


def verdict_sentence(checks: Sequence[Check], constant: bool = False) -> str:
    """Say what the checks came to, for a caption: what failed, or what held, with its figure."""
    verdict = verdict_of(checks, constant)
    if constant:
        return f"Do not read this map: {CONSTANT}, so it tells nothing of where."
    if verdict == "failed":
        failed = [f"{WORDS[check.name]} ({_figure(check)})" for check in checks if check.passed is False]
        return f"Do not rely on this map, it failed its checks: {'; '.join(failed)}."
    if verdict == "untested":
        return "This map's agreement with its model has not been tested."
    held = next(check for check in checks if check.name == "deletion")
    others = sum(bool(check.passed) for check in checks) - 1
    text = f"Blanking the nodes it names moves the risk more than blanking random ones does ({_figure(held)})"
    return f"{text}; {others} further check{'s' * (others != 1)} held." if others else f"{text}."


def _figure(check: Check) -> str:
    figures = f"{check.value:.2f}, 95 % CI {check.lower:.2f} to {check.upper:.2f}"
    return f"{figures}; by chance {check.chance:g}; {check.subjects} subjects"
