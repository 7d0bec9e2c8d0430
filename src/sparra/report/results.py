"""Everything a study has written that the report tells of; what is absent stays empty."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sparra.files import read_json, sha256_of
from sparra.survival.summary import NETWORK

# The study room imports this one, so its layout is known here as a type only.
if TYPE_CHECKING:
    from sparra.study.layout import StudyLayout

METRIC_COLUMNS = ("modality", "aggregator", "model", "metric", "repeat", "fold", "value", "reason")
PREDICTION_COLUMNS = (
    "modality", "aggregator", "model", "repeat", "fold", "subject_id", "time", "event", "risk", "group",
)  # fmt: skip
INTERVAL_COLUMNS = ("modality", "aggregator", "model", "c_index", "lower", "upper", "reason")
FAILURE_COLUMNS = ("subject_id", "stage", "where", "what", "mend")
SUBJECT_COLUMNS = ("subject_id", "time", "event")
SURVIVAL_COLUMNS = (
    "modality", "aggregator", "model", "repeat", "fold", "subject_id", "time", "event", "horizon", "survival",
)  # fmt: skip
AUC_COLUMNS = ("modality", "aggregator", "model", "repeat", "fold", "at", "auc")
DECISION_COLUMNS = ("modality", "aggregator", "model", "horizon", "threshold", "net_benefit", "treat_all", "reason")
COMPARISON_COLUMNS = ("question", "sentence")
ADDED_COLUMNS = (
    "modality", "aggregator", "covariates", "n_subjects", "n_events", "chi_square", "df", "p", "hazard_ratio", "lower",
    "upper", "reason",
)  # fmt: skip
NUMBERS = (
    "value", "time", "risk", "fold", "repeat", "c_index", "lower", "upper", "horizon", "survival", "at", "auc",
    "threshold", "net_benefit", "treat_all", "chi_square", "df", "p", "hazard_ratio",
)  # fmt: skip

MODALITY_NAMES = {"ct": "CT", "slide": "Slides", "joint": "CT + slides"}
COMPARATOR_NAMES = {"none": "No model", "clinical": "Clinical", "late fusion": "Late fusion"}
AGGREGATOR_NAMES = {"mean": "Mean", "abmil": "ABMIL", "sparra": "SPARRA"}
METRIC_NAMES = {"c_index": "C-index", "c_ipcw": "C-IPCW", "c_auc": "C-AUC", "ibs": "IBS"}
MODELS = ("RSF", "CoxPH", "Coxnet", "FSVM", "GBM")


@dataclass(frozen=True)
class StudyResults:
    """Contents of a study's output folder.

    Attributes
    ----------
    name : str
    settings, versions, flow : mapping
        Empty where the file is absent.
    subjects, failures, metrics, predictions, intervals : DataFrame
        Columns as in docs/architecture.md; without rows where the file is absent. The intervals are those of the
        methods and of what they are held against.
    comparators : DataFrame
        Metrics of what the methods are held against; columns as `metrics`.
    survival, auc, decision, comparisons, added_value : DataFrame
        Predicted survival at the horizons, time-dependent AUC, net benefit, comparisons in sentences, the likelihood
        ratios of imaging beside the clinical covariates.
    comparator_survival, comparator_auc : DataFrame
        As `survival` and `auc`, of what the methods are held against.
    extracted : tuple of str
        Modalities of which the study itself extracted features; of the others it was given bags.
    digests : mapping of str to str
        SHA-256 of the files that hold the results, by their path in the folder.
    """

    name: str
    settings: Mapping[str, Any]
    versions: Mapping[str, Any]
    flow: Mapping[str, Any]
    subjects: pd.DataFrame
    failures: pd.DataFrame
    metrics: pd.DataFrame
    predictions: pd.DataFrame
    intervals: pd.DataFrame
    comparators: pd.DataFrame
    survival: pd.DataFrame
    auc: pd.DataFrame
    decision: pd.DataFrame
    comparisons: pd.DataFrame
    added_value: pd.DataFrame
    comparator_survival: pd.DataFrame
    comparator_auc: pd.DataFrame
    extracted: tuple[str, ...]
    digests: Mapping[str, str]

    @property
    def time_unit(self) -> str:
        """Unit of the follow-up, e.g. ``days``."""
        return str(self.flow.get("time_unit", "")) or "time unit not recorded"


def read_results(layout: "StudyLayout") -> StudyResults:
    """Read the tables and records of a study; files that it has not written give empty ones."""
    settings = _read_mapping(layout.settings)
    files = (layout.metrics, layout.predictions, layout.folds, layout.subjects, layout.settings)
    return StudyResults(
        name=str(settings.get("name") or layout.root.resolve().name),
        settings=settings,
        versions=_read_mapping(layout.versions),
        flow=_read_mapping(layout.flow),
        subjects=_read_table(layout.subjects, SUBJECT_COLUMNS),
        failures=_read_table(layout.failures, FAILURE_COLUMNS),
        metrics=_read_table(layout.metrics, METRIC_COLUMNS),
        predictions=_read_table(layout.predictions, PREDICTION_COLUMNS),
        intervals=_read_intervals(layout),
        comparators=_read_table(layout.comparator_table("metrics"), METRIC_COLUMNS),
        survival=_read_table(layout.evaluation_table("survival"), SURVIVAL_COLUMNS),
        auc=_read_table(layout.evaluation_table("auc"), AUC_COLUMNS),
        decision=_read_table(layout.decision, DECISION_COLUMNS),
        comparisons=_read_table(layout.comparisons, COMPARISON_COLUMNS),
        added_value=_read_table(layout.added_value, ADDED_COLUMNS),
        comparator_survival=_read_table(layout.comparator_table("survival"), SURVIVAL_COLUMNS),
        comparator_auc=_read_table(layout.comparator_table("auc"), AUC_COLUMNS),
        extracted=_extracted(layout),
        digests={str(path.relative_to(layout.root)): sha256_of(path) for path in files if path.exists()},
    )


def modality_name(modality: str) -> str:
    """Return a modality, or the kind of a comparator, as the page writes it."""
    if modality.startswith("clinical + "):
        return f"Clinical + {in_sentence(modality[11:])}"
    return (MODALITY_NAMES | COMPARATOR_NAMES).get(modality, modality)


def describe(modality: str, aggregator: str, model: str) -> str:
    """Return a method or comparator in words, e.g. ``SPARRA on CT + slides with CoxPH``."""
    if modality == "none":
        return "no model (Kaplan–Meier)"
    if modality == "clinical":
        return "the clinical model"
    if modality == "late fusion":
        return f"late fusion of {aggregator_name(aggregator)}"
    if modality.startswith("clinical + "):
        return f"the clinical model with {aggregator_name(aggregator)} on {in_sentence(modality[11:])}"
    end = "its network's own risk" if model == NETWORK else model
    return f"{aggregator_name(aggregator)} on {in_sentence(modality)} with {end}"


def in_sentence(modality: str) -> str:
    """Return the name of a modality as it stands inside a sentence: ``slides``, but ``CT``."""
    name = modality_name(modality)
    return f"{name[0].lower()}{name[1:]}" if name[1:2].islower() else name


def metric_name(metric: str) -> str:
    """Return a metric as the page writes it."""
    return METRIC_NAMES.get(metric, metric)


def aggregator_name(aggregator: str) -> str:
    """Return an aggregator as the page writes it; a comparator without one has a dash."""
    if aggregator in COMPARATOR_NAMES:
        return "–"
    return AGGREGATOR_NAMES.get(aggregator.lower(), aggregator)


def in_order(present: Iterable[str], known: Iterable[str]) -> list[str]:
    """Sort names in the order of `known` (case ignored), with the unknown ones after them by alphabet."""
    rank: dict[str, int] = {}
    for name in known:
        rank.setdefault(name.lower(), len(rank))
    return sorted(set(present), key=lambda name: (rank.get(name.lower(), len(rank)), name))


def arms(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the (modality, aggregator) pairs of metrics or predictions in the page's order."""
    pairs = set(zip(table["modality"], table["aggregator"], strict=True))
    modalities = in_order((modality for modality, _ in pairs), MODALITY_NAMES)
    aggregators = in_order((aggregator for _, aggregator in pairs), AGGREGATOR_NAMES)
    return [(m, a) for m in modalities for a in aggregators if (m, a) in pairs]


def _extracted(layout: "StudyLayout") -> tuple[str, ...]:
    """Return the modalities with an image whose features come from the image and not from a bag that was given.

    The sidecar of the former has the settings of an encoder.
    """
    folders = {modality: layout.root / "features" / modality for modality in ("ct", "slide")}
    return tuple(
        modality
        for modality, folder in folders.items()
        if any(_encoded(_read_mapping(path)) for path in folder.glob("*.done.json"))
    )


def _encoded(sidecar: Mapping[str, Any]) -> bool:
    return "encoder_options" in ((sidecar.get("parameters") or {}).get("settings") or {})


def _read_mapping(path: Path) -> Mapping[str, Any]:
    content = read_json(path) if path.exists() else {}
    return content if isinstance(content, dict) else {}


def _read_intervals(layout: "StudyLayout") -> pd.DataFrame:
    """Return the intervals of the methods and, after them, of what they are held against."""
    paths = (layout.intervals, layout.comparator_table(layout.intervals.stem))
    tables = [table for path in paths if not (table := _read_table(path, INTERVAL_COLUMNS)).empty]
    return pd.concat(tables, ignore_index=True) if tables else _read_table(paths[0], INTERVAL_COLUMNS)


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.exists() or path.stat().st_size == 0:
        return pd.DataFrame({name: pd.Series(dtype=float if name in NUMBERS else str) for name in columns})
    # A subject may be called "NA" or "007": only columns of numbers have missing values, all else is text.
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in set(NUMBERS) & set(table.columns):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    if "event" in table.columns:
        table["event"] = table["event"].str.lower().isin(("1", "1.0", "true"))
    return table
