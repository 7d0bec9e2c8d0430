"""Subjects of a synthetic cohort: latent biomarkers, hazard, follow-up and covariates."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq

from sparra.simulate.settings import SimulationSettings

WEIBULL_SHAPE = 2.0
WEIBULL_SCALE_DAYS = 1100.0
SHORTEST_FOLLOW_UP = 0.15  # of the longest, when nobody dies: recruitment ends before follow-up does
GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Subject:
    """One synthetic subject.

    Attributes
    ----------
    subject_id : str
        ``SIM-0001`` and so on.
    z_ct, z_slide : float
        Planted biomarkers, standard normal and independent.
    log_hazard : float
        True log hazard ratio against a subject whose biomarkers are both 0.
    time : int
        Whole days to death or censoring, at least 1.
    event : int
        1 dead, 0 censored.
    age, sex, site
        Covariates without any effect.
    has_ct, has_slide : bool
        Which modalities were acquired; at least one.
    """

    subject_id: str
    z_ct: float
    z_slide: float
    log_hazard: float
    time: int
    event: int
    age: int
    sex: str
    site: str
    has_ct: bool
    has_slide: bool


@dataclass(frozen=True)
class SubjectGenerators:
    """One random stream for each part of a subject, so that none depends on how much another draws."""

    followup: np.random.Generator
    ct: np.random.Generator
    slide: np.random.Generator


def subject_generators(seed: int, index: int) -> SubjectGenerators:
    """Return the streams of subject `index` (from 0)."""
    return SubjectGenerators(*np.random.default_rng([seed, index]).spawn(3))


def draw_subject(index: int, settings: SimulationSettings) -> Subject:
    """Draw subject `index` (from 0): proportional Weibull hazards and uniform recruitment.

    The hazard is ``(k / s) (t / s)^(k - 1) exp(ct_strength z_ct + slide_strength z_slide)``; censoring times
    are uniform up to `censoring_horizon_days`.
    """
    generator = subject_generators(settings.seed, index).followup
    z_ct, z_slide = generator.standard_normal(2)
    log_hazard = settings.ct_strength * z_ct + settings.slide_strength * z_slide
    death = WEIBULL_SCALE_DAYS * (generator.standard_exponential() * np.exp(-log_hazard)) ** (1 / WEIBULL_SHAPE)
    spread = float(np.hypot(settings.ct_strength, settings.slide_strength))
    censored = censoring_horizon_days(spread, settings.censoring) * generator.uniform(SHORTEST_FOLLOW_UP, 1.0)
    # A golden-ratio sequence spreads the missing evenly: near the wanted fraction in a cohort of any size.
    place = (np.random.default_rng(settings.seed).random() + GOLDEN_RATIO * index) % 1.0
    return Subject(
        subject_id=f"SIM-{index + 1:04d}",
        z_ct=float(z_ct),
        z_slide=float(z_slide),
        log_hazard=float(log_hazard),
        time=int(np.ceil(min(death, censored))),
        event=int(death <= censored),
        age=int(np.clip(generator.normal(62.0, 11.0), 20, 95)),
        sex=str(generator.choice(["female", "male"])),
        site=str(generator.choice(["A", "B", "C"])),
        has_ct=bool(place >= settings.missing_ct),
        has_slide=bool(place < 1.0 - settings.missing_slide),
    )


@cache
def censoring_horizon_days(spread: float, censoring: float) -> float:
    """Return the longest follow-up at which a fraction `censoring` is expected to be censored.

    Solved for the population, not the cohort, so that a subject's follow-up depends on nobody else.

    Parameters
    ----------
    spread : float
        Standard deviation of the log hazard, which is normal.
    censoring : float
        Wanted fraction in [0, 1); 0 gives infinity.
    """
    if censoring == 0.0:
        return float("inf")
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    hazard = np.exp(spread * nodes)[:, None]
    moments = np.linspace(SHORTEST_FOLLOW_UP, 1.0, 201)

    def excess(log_horizon: float) -> float:
        cumulative = (np.exp(log_horizon) * moments) ** WEIBULL_SHAPE
        survival = np.exp(-hazard * cumulative).mean(axis=1)
        return float(weights @ survival / weights.sum() - censoring)

    return WEIBULL_SCALE_DAYS * float(np.exp(brentq(excess, -30.0, 30.0)))
