"""A case of the GDC as a row of ``subjects.csv``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparra.gdc.barcodes import tissue_source_site
from sparra.gdc.outcome import Outcome, RawFollowUp, finite_days, overall_survival

DAYS_A_YEAR = 365.25
#: Words by which the GDC says that it does not know.
UNKNOWN = frozenset({"", "not reported", "unknown", "not applicable", "not allowed to collect", "--"})
COLUMNS = ("subject_id", "time", "event", "project", "site", "age", "sex", "stage", "grade", "diagnosis")


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes
    ----------
    subject_id : str
        The submitter's id: in TCGA the patient's barcode.
    outcome : Outcome
    covariates : dict of str to str
        The further columns of ``subjects.csv``, empty where unknown.
    """

    subject_id: str
    outcome: Outcome
    covariates: dict[str, str]

    def row(self) -> dict[str, str]:
        """Return the row of ``subjects.csv``."""
        event = "" if self.outcome.event is None else str(int(self.outcome.event))
        return {"subject_id": self.subject_id, "time": f"{self.outcome.time:g}", "event": event, **self.covariates}


def read_case(hit: Mapping[str, Any]) -> Case:
    """Read one hit of the ``cases`` endpoint; fields that are absent or null are unknown."""
    demographic = _record(hit.get("demographic"))
    diagnoses, follow_ups = _records(hit.get("diagnoses")), _records(hit.get("follow_ups"))
    contacts = [record.get("days_to_follow_up") for record in follow_ups]
    for diagnosis in diagnoses:
        contacts += [diagnosis.get("days_to_last_follow_up"), diagnosis.get("days_to_last_known_disease_status")]
    deaths = [demographic.get("days_to_death"), *(diagnosis.get("days_to_death") for diagnosis in diagnoses)]
    raw = RawFollowUp(_known(demographic.get("vital_status")), finite_days(deaths), finite_days(contacts))
    outcome = overall_survival(raw)
    index_date = _known(hit.get("index_date"))
    if index_date and index_date.lower() != "diagnosis":
        remark = f"days count from '{index_date}', not from the diagnosis"
        outcome = Outcome(outcome.time, outcome.event, outcome.reason, (*outcome.remarks, remark))
    subject_id = str(hit.get("submitter_id") or hit.get("case_id") or "")
    return Case(subject_id, outcome, _covariates(subject_id, hit, demographic, primary_diagnosis(diagnoses)))


def primary_diagnosis(diagnoses: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the diagnosis of the disease studied: marked so, else classified primary, else nearest to day 0."""
    for name, value in (("diagnosis_is_primary_disease", "true"), ("classification_of_tumor", "primary")):
        marked = [record for record in diagnoses if str(record.get(name)).lower() == value]
        if marked:
            return marked[0]
    days = [(finite_days([record.get("days_to_diagnosis")]) or (0.0,))[0] for record in diagnoses]
    return min(zip(days, diagnoses, strict=True), key=lambda pair: abs(pair[0]))[1] if diagnoses else {}


def _covariates(
    subject_id: str, hit: Mapping[str, Any], demographic: Mapping[str, Any], diagnosis: Mapping[str, Any]
) -> dict[str, str]:
    days = finite_days([diagnosis.get("age_at_diagnosis")])
    years = finite_days([demographic.get("age_at_index")])
    age = f"{days[0] / DAYS_A_YEAR:.1f}" if days else f"{years[0]:g}" if years else ""
    return {
        "project": _known(_record(hit.get("project")).get("project_id")),
        "site": tissue_source_site(subject_id),
        "age": age,
        "sex": _known(demographic.get("gender")),
        "stage": _known(diagnosis.get("ajcc_pathologic_stage")),
        "grade": _known(diagnosis.get("tumor_grade")),
        "diagnosis": _known(diagnosis.get("primary_diagnosis")),
    }


def _known(value: object) -> str:
    text = str(value).strip() if isinstance(value, str) else ""
    return "" if text.lower() in UNKNOWN else text


def _record(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _records(value: object) -> list[dict[str, Any]]:
    return [record for record in value if isinstance(record, dict)] if isinstance(value, list) else []
