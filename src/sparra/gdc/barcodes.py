"""TCGA barcodes, and which slides of a patient are taken.

A slide's barcode reads ``TCGA-<site>-<patient>-<sample type><vial>-<portion>-<slide>``, e.g.
``TCGA-BH-A0EA-01Z-00-DX1``: sample type 01 is the primary solid tumour, 11 normal tissue; DX is a diagnostic slide
(formalin-fixed), TS, MS and BS are frozen sections from top, middle and bottom of the portion.

The rules:

1. A slide belongs to the patient whose barcode its name begins with; where the archive links it to another case, it
   is left out. A name without a barcode is matched by the archive's link alone.
2. Only slides of the wanted sample types are taken (default 01).
3. Diagnostic slides first: a patient who has one keeps all of theirs and no frozen section. Frozen sections are taken
   only where there is no diagnostic slide, and only if asked for.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SLIDE = re.compile(
    r"^(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})-(?P<sample>\d{2})[A-Z]-\w{2}-(?P<kind>DX|TS|MS|BS)\w*", re.I
)
PATIENT = re.compile(r"^TCGA-([A-Z0-9]{2})-[A-Z0-9]{4}$", re.I)
#: GDC's words of the sample types that TCGA numbers.
SAMPLE_CODES = {"primary tumor": "01", "recurrent tumor": "02", "metastatic": "06", "solid tissue normal": "11"}
KIND_ORDER = ("DX", "TS", "MS", "BS")

#: Names become parts of paths and lines of manifests, so they hold neither folders nor tabs.
PLAIN_NAME = re.compile(r"[\w+-][\w .,()+-]*", re.ASCII)

SlideRule = Literal["diagnostic", "diagnostic-first"]


@dataclass(frozen=True)
class Slide:
    """One slide file of the archive.

    Attributes
    ----------
    subject_id : str
        Patient by the file's barcode, else by the archive's link.
    linked : tuple of str
        Cases that the archive links it to.
    kind : str
        DX, TS, MS, BS, or empty where unknown.
    sample : str
        Sample type, two digits, or empty where unknown.
    file_id, file_name, md5, state : str
    size : int
        Bytes.
    """

    subject_id: str
    linked: tuple[str, ...]
    kind: str
    sample: str
    file_id: str
    file_name: str
    md5: str
    size: int
    state: str


def tissue_source_site(barcode: str) -> str:
    """Return the two characters of a TCGA barcode that name the contributing site; empty for other ids."""
    found = PATIENT.match(barcode)
    return found.group(1).upper() if found else ""


def read_slide(hit: Mapping[str, Any]) -> Slide:
    """Read one hit of the ``files`` endpoint."""
    cases = [case for case in hit.get("cases") or [] if isinstance(case, dict)]
    linked = tuple(str(case["submitter_id"]) for case in cases if case.get("submitter_id"))
    name = str(hit.get("file_name") or "")
    barcode = SLIDE.match(name)
    if barcode:
        patient, kind, sample = barcode["patient"].upper(), barcode["kind"].upper(), barcode["sample"]
    else:
        patient, kind, sample = linked[0] if linked else "", _kind(hit), _sample(cases)
    size = hit.get("file_size")
    return Slide(
        subject_id=patient,
        linked=linked,
        kind=kind,
        sample=sample,
        file_id=str(hit.get("file_id") or hit.get("id") or ""),
        file_name=name,
        md5=str(hit.get("md5sum") or ""),
        size=size if isinstance(size, int) else 0,
        state=str(hit.get("state") or ""),
    )


def choose_slides(
    slides: Iterable[Slide], subjects: Sequence[str], rule: SlideRule, samples: Sequence[str]
) -> tuple[list[Slide], list[tuple[Slide, str]]]:
    """Apply the rules of this module.

    Returns
    -------
    chosen : list of Slide
        By subject, then diagnostic slides first, then by name.
    dropped : list of (Slide, str)
        The others, each with the reason.
    """
    wanted, known = set(samples), set(subjects)
    candidates: list[Slide] = []
    dropped: list[tuple[Slide, str]] = []
    for slide in slides:
        reason = _refusal(slide, known, wanted, rule)
        if reason:
            dropped.append((slide, reason))
        else:
            candidates.append(slide)
    diagnosed = {slide.subject_id for slide in candidates if slide.kind == "DX"}
    chosen = []
    for slide in sorted(candidates, key=_order):
        if slide.kind != "DX" and slide.subject_id in diagnosed:
            dropped.append((slide, "the patient has a diagnostic slide"))
        else:
            chosen.append(slide)
    return chosen, dropped


def _refusal(slide: Slide, known: set[str], samples: set[str], rule: SlideRule) -> str:
    """Return why a slide is not even a candidate; empty if it is."""
    if not (PLAIN_NAME.fullmatch(slide.file_id) and PLAIN_NAME.fullmatch(slide.file_name)):
        return "its name is no plain file name"
    if slide.linked and slide.linked != (slide.subject_id,):
        return f"its barcode says {slide.subject_id}, the archive links it to {', '.join(slide.linked)}"
    if slide.subject_id not in known:
        return "its patient is not in the cohort"
    if slide.sample not in samples:
        return f"its sample type is {slide.sample or 'unknown'}"
    if rule == "diagnostic" and slide.kind != "DX":
        return f"it is no diagnostic slide ({slide.kind or 'kind unknown'})"
    return ""


def _order(slide: Slide) -> tuple[str, int, str, str]:
    rank = KIND_ORDER.index(slide.kind) if slide.kind in KIND_ORDER else len(KIND_ORDER)
    return slide.subject_id, rank, slide.file_name, slide.file_id


def _kind(hit: Mapping[str, Any]) -> str:
    return "DX" if str(hit.get("experimental_strategy") or "").lower() == "diagnostic slide" else ""


def _sample(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return the code of the samples' type where they agree on one."""
    samples = [sample for case in cases for sample in case.get("samples") or [] if isinstance(sample, dict)]
    codes = {SAMPLE_CODES.get(str(sample.get("sample_type")).lower(), "") for sample in samples}
    return codes.pop() if len(codes) == 1 else ""
