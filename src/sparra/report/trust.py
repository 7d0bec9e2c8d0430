"""What the checks of the maps came to, as the page and the viewer tell it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sparra.report.results import AGGREGATOR_NAMES, aggregator_name, in_order, modality_name

# The study room imports this one, so its layout is known here as a type only.
if TYPE_CHECKING:
    from sparra.study.layout import StudyLayout

KEYS = ("trained_modality", "aggregator", "modality")
UNTESTED = "This map's agreement with its model has not been tested."
CHECK_NAMES: Mapping[str, str] = {
    "deletion": "Deletion: blanking the named nodes moves the risk more than blanking random ones",
    "insertion": "Insertion: of a blank graph, the named nodes put back restore the risk better than random ones",
    "removal": "Removal: cutting the named nodes out moves the risk more than cutting out random ones",
    "stability_seeds": "Agreement of models of other seeds (rank correlation)",
    "stability_folds": "Agreement of models of other repeats (rank correlation)",
    "top_overlap_seeds": "Shared top nodes of models of other seeds",
    "top_overlap_folds": "Shared top nodes of models of other repeats",
    "planted_auroc": "Planted region ranked above the rest (AUROC)",
    "planted_overlap": "Share of the top patches that lie in the planted region",
}


@dataclass(frozen=True)
class MapVerdict:
    """Whether the maps of one trained aggregation can be relied on, for one kind of image.

    Attributes
    ----------
    modality : {"ct", "slide"}
    verdict : {"trusted", "failed", "untested"}
    sentence : str
    """

    modality: str
    verdict: str
    sentence: str


def map_verdicts(layout: "StudyLayout", trained_modality: str, aggregator: str) -> list[MapVerdict]:
    """Return the verdicts on the maps of a trained aggregation; ``untested`` where there is none."""
    table = _rows(layout.map_verdicts, (*KEYS, "verdict", "sentence"))
    own = table[(table["trained_modality"] == trained_modality) & (table["aggregator"] == aggregator)]
    known = {row["modality"]: row for row in own.to_dict("records")}
    return [
        MapVerdict(modality, str(known[modality]["verdict"]), str(known[modality]["sentence"]))
        if modality in known
        else MapVerdict(modality, "untested", UNTESTED)
        for modality in ("ct", "slide")
        if trained_modality in (modality, "joint")
    ]


def check_rows(layout: "StudyLayout", trained_modality: str, aggregator: str) -> list[dict[str, Any]]:
    """Return the checks of a trained aggregation's maps, ready for the page's table."""
    table = _checks(layout)
    own = table[(table["trained_modality"] == trained_modality) & (table["aggregator"] == aggregator)]
    return [
        {
            "images": modality_name(row["modality"]),
            "check": CHECK_NAMES.get(row["check"], row["check"]),
            "figure": f"{row['value']:.2f} ({row['lower']:.2f} to {row['upper']:.2f})",
            "chance": f"{row['chance']:.2f}",
            "subjects": int(row["subjects"]),
            "outcome": _outcome(str(row["passed"])),
            "reason": str(row["reason"]) if pd.isna(row["value"]) else "",
        }
        for row in own.to_dict("records")
    ]


def planted_rows(layout: "StudyLayout") -> list[dict[str, Any]]:
    """Return how far the maps of each aggregation overlap the planted regions; nothing but in simulated cohorts."""
    table = _checks(layout)
    table = table[table["check"].isin(("planted_auroc", "planted_overlap")) & table["value"].notna()]
    rows = []
    for keys, group in table.groupby(list(KEYS), sort=False):
        figures = {row["check"]: row for row in group.to_dict("records")}
        if len(figures) == 2:
            rows.append(_planted_row(keys, figures))
    return _sorted(rows)


def _planted_row(keys: Sequence[Any], figures: Mapping[str, Mapping[Any, Any]]) -> dict[str, Any]:
    trained, aggregator, modality = (str(key) for key in keys)
    ranked, overlap = figures["planted_auroc"], figures["planted_overlap"]
    return {
        "aggregator": aggregator,
        "name": f"{aggregator_name(aggregator)} on {modality_name(trained)}",
        "images": modality_name(modality),
        "subjects": int(ranked["subjects"]),
        "auroc": f"{ranked['value']:.2f} ({ranked['lower']:.2f} to {ranked['upper']:.2f})",
        "overlap": f"{overlap['value']:.0%} ({overlap['lower']:.0%} to {overlap['upper']:.0%})",
        "chance": f"{overlap['chance']:.0%}",
    }


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort by aggregator in the page's order, best known first."""
    order = in_order({row["aggregator"] for row in rows}, reversed(AGGREGATOR_NAMES))
    return sorted(rows, key=lambda row: order.index(row["aggregator"]))


def _outcome(passed: str) -> str:
    return {"true": "held", "1.0": "held", "1": "held", "false": "FAILED", "0.0": "FAILED", "0": "FAILED"}.get(
        passed.lower(), "–"
    )


def _checks(layout: "StudyLayout") -> pd.DataFrame:
    numbers = ("value", "lower", "upper", "chance", "subjects")
    table = _rows(layout.map_trust, (*KEYS, "check", *numbers, "passed", "reason"))
    return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in numbers})


def _rows(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.exists() or path.stat().st_size == 0:
        return pd.DataFrame({name: pd.Series(dtype=str) for name in columns})
    return pd.read_csv(path, dtype=str, keep_default_na=False).reindex(columns=list(columns), fill_value="")
