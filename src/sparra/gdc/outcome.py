"""Overall survival from the raw fields of a registry, by stated rules.

The rules, in order; times are days from the registry's index date, which is the diagnosis in TCGA:

1. The vital status decides the event: Dead = 1, Alive = 0. Any other word, or none, drops the patient: a missing
   status is not the same as censored.
2. A death's time is the day of death. A death without a day drops the patient.
3. A living patient's time is the last contact: the largest of all days that are given in any follow-up record or
   diagnosis. None given drops the patient.
4. Days before the index date are no contacts of the follow-up and are passed over, with a remark; a day of death
   before it drops the patient.
5. A time of zero tells nothing about survival and drops the patient.
6. What contradicts itself (contact after death, a day of death of a living patient, two days of death) is
   resolved by these rules and remarked.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

EVENT_OF_STATUS = {"dead": True, "alive": False}


@dataclass(frozen=True)
class RawFollowUp:
    """What a registry says of one patient.

    Attributes
    ----------
    vital_status : str
        As written; empty where missing.
    death_days : tuple of float
        Every day of death that is given.
    contact_days : tuple of float
        Every day on which the patient was known, from all records.
    """

    vital_status: str
    death_days: tuple[float, ...] = ()
    contact_days: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """One patient's overall survival.

    Attributes
    ----------
    time : float
        Days; NaN where `reason` says why there is none.
    event : bool or None
        Whether the patient died; None where unknown.
    reason : str
        Why the patient cannot be used; empty where they can.
    remarks : tuple of str
        Contradictions, and how they were resolved.
    """

    time: float
    event: bool | None
    reason: str = ""
    remarks: tuple[str, ...] = ()


def finite_days(values: Iterable[object]) -> tuple[float, ...]:
    """Return the values that are numbers of days, dropping what is missing or not a number."""
    found = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        try:
            day = float(value)
        except ValueError:
            continue
        if math.isfinite(day):
            found.append(day)
    return tuple(found)


def overall_survival(raw: RawFollowUp) -> Outcome:
    """Apply the rules of this module to one patient.

    Examples
    --------
    >>> overall_survival(RawFollowUp("Alive", contact_days=(120.0, 900.0, 400.0))).time
    900.0
    """
    event = EVENT_OF_STATUS.get(raw.vital_status.strip().lower())
    if event is None:
        return Outcome(math.nan, None, f"the vital status is '{raw.vital_status}'")
    return _of_death(raw) if event else _of_living(raw)


def _of_death(raw: RawFollowUp) -> Outcome:
    if not raw.death_days:
        return Outcome(math.nan, True, "the day of death is missing")
    remarks = []
    day = max(raw.death_days)
    if len(set(raw.death_days)) > 1:
        remarks.append(f"several days of death ({_listed(raw.death_days)}): the last is taken")
    later = [contact for contact in raw.contact_days if contact > day]
    if later:
        remarks.append(f"a contact on day {max(later):g} after the death on day {day:g}: the death is taken")
    return _checked(day, True, "day of death", remarks)


def _of_living(raw: RawFollowUp) -> Outcome:
    remarks = []
    if raw.death_days:
        remarks.append(f"alive, but with a day of death ({_listed(raw.death_days)}): the status is taken")
    early = [day for day in raw.contact_days if day < 0]
    if early:
        remarks.append(f"contact before the index date passed over ({_listed(early)})")
    contacts = [day for day in raw.contact_days if day >= 0]
    if not contacts:
        return Outcome(math.nan, False, "no day of contact is given", tuple(remarks))
    return _checked(max(contacts), False, "last contact", remarks)


def _checked(day: float, event: bool, name: str, remarks: list[str]) -> Outcome:
    if day < 0:
        return Outcome(math.nan, event, f"the {name} is negative ({day:g})", tuple(remarks))
    if day == 0:
        return Outcome(math.nan, event, f"the {name} is day 0, which tells nothing about survival", tuple(remarks))
    return Outcome(day, event, "", tuple(remarks))


def _listed(days: Iterable[float]) -> str:
    return ", ".join(f"{day:g}" for day in sorted(set(days)))
