"""The Genomic Data Commons' API: status, cases, slide files.

Search endpoints take a POST with ``filters, fields, size, from, sort`` and answer
``{"data": {"hits": [...], "pagination": {"count", "total", "size", "from", ...}}, "warnings": {...}}``
(GDC Data Portal, API User's Guide, "Search and Retrieval").
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sparra.errors import UserError
from sparra.web import JsonClient

CASE_FIELDS = (
    "case_id",
    "submitter_id",
    "index_date",
    "lost_to_followup",
    "project.project_id",
    "demographic.vital_status",
    "demographic.days_to_death",
    "demographic.gender",
    "demographic.age_at_index",
    "diagnoses.days_to_diagnosis",
    "diagnoses.days_to_last_follow_up",
    "diagnoses.days_to_last_known_disease_status",
    "diagnoses.diagnosis_is_primary_disease",
    "diagnoses.classification_of_tumor",
    "diagnoses.age_at_diagnosis",
    "diagnoses.ajcc_pathologic_stage",
    "diagnoses.tumor_grade",
    "diagnoses.primary_diagnosis",
    "follow_ups.submitter_id",
    "follow_ups.days_to_follow_up",
)
SLIDE_FIELDS = (
    "file_id",
    "file_name",
    "md5sum",
    "file_size",
    "state",
    "data_format",
    "experimental_strategy",
    "cases.submitter_id",
    "cases.samples.sample_type",
)


@dataclass
class GdcApi:
    """Asks the GDC, page by page, and keeps its warnings.

    Attributes
    ----------
    client : JsonClient
    page_size : int
        Records a request.
    warnings : list of str
        What the API warned of, once each.
    """

    client: JsonClient
    page_size: int = 500
    warnings: list[str] = field(default_factory=list)

    def data_release(self) -> str:
        """Return the data release, such as ``"Data Release 39.0 - December 04, 2023"``."""
        answer = self.client.get("status")
        release = answer.get("data_release") if isinstance(answer, dict) else None
        if not release:
            raise UserError("the answer names no data release", f"{self.client.base}/status", "Give the GDC's address")
        return str(release)

    def cases(self, projects: Sequence[str]) -> list[dict[str, Any]]:
        """Return every case of the projects, with demographic, diagnoses and follow-ups."""
        return self._search("cases", _among("project.project_id", projects), CASE_FIELDS, "case_id")

    def slides(self, projects: Sequence[str]) -> list[dict[str, Any]]:
        """Return every openly accessible slide file of the projects."""
        filters = {
            "op": "and",
            "content": [
                _among("cases.project.project_id", projects),
                _among("data_type", ["Slide Image"]),
                _among("access", ["open"]),
            ],
        }
        return self._search("files", filters, SLIDE_FIELDS, "file_id")

    def _search(self, endpoint: str, filters: dict[str, Any], fields: Sequence[str], key: str) -> list[dict[str, Any]]:
        """Fetch all pages; records that move between pages while the archive changes are noticed by their number.

        Raises
        ------
        UserError
            If an answer has not the documented shape, or the number of records is not what it announced.
        """
        where = f"{self.client.base}/{endpoint}"
        found: dict[str, dict[str, Any]] = {}
        start, total = 0, 1
        while start < total:
            request = {
                "filters": filters,
                "fields": ",".join(fields),
                "format": "JSON",
                "size": self.page_size,
                "from": start,
                "sort": f"{key}:asc",
            }
            hits, total = self._page(self.client.post(endpoint, request), where)
            if not hits:
                break
            found |= {str(hit.get(key) or hit.get("id")): hit for hit in hits}
            start += len(hits)
        if len(found) != total:
            what = f"the archive announced {total} records and gave {len(found)}"
            raise UserError(what, where, "It may be changing: run it again")
        return list(found.values())

    def _page(self, answer: Any, where: str) -> tuple[list[dict[str, Any]], int]:
        try:
            hits, total = answer["data"]["hits"], int(answer["data"]["pagination"]["total"])
        except (KeyError, TypeError, ValueError):
            raise UserError("the answer has not the form of the GDC's API", where, "Give the GDC's address") from None
        if not isinstance(hits, list) or not all(isinstance(hit, dict) for hit in hits):
            raise UserError("the answer's hits are no records", where, "Give the GDC's address")
        warnings = answer.get("warnings")
        for name, text in warnings.items() if isinstance(warnings, dict) else ():
            if (line := f"{name}: {text}") not in self.warnings:
                self.warnings.append(line)
        return hits, total


def _among(name: str, values: Sequence[str]) -> dict[str, Any]:
    return {"op": "in", "content": {"field": name, "value": list(values)}}
