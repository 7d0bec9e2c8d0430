"""What the viewer knows of a study: its patients, their risk and follow-up, and which image a key stands for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from sparra.bags.readers import is_bag_file
from sparra.cohort.review import apply_review
from sparra.cohort.tables import ImageRecord, read_images, subject_key
from sparra.errors import UserError
from sparra.graphs.store import read_graph
from sparra.modality import MODALITIES, Modality
from sparra.report.patients import ranked_patients
from sparra.report.results import StudyResults, arms, describe, in_order, read_results
from sparra.report.trust import map_verdicts
from sparra.study.layout import StudyLayout
from sparra.study.settings import read_study
from sparra.survival.groups import kaplan_meier
from sparra.survival.summary import NETWORK

GROUPS = ("low", "high")


@dataclass(frozen=True)
class ViewedImage:
    """An image of the study.

    Attributes
    ----------
    key : str
        As its files in the study are called; the only name under which it can be asked for.
    subject_id : str
    modality : {"ct", "slide"}
    record : ImageRecord or None
        Row of the images table; None where the table or the file is not there any more, or holds features.
    """

    key: str
    subject_id: str
    modality: Modality
    record: ImageRecord | None


class ViewedStudy:
    """A study that has run, as the viewer shows it.

    Parameters
    ----------
    layout : StudyLayout

    Attributes
    ----------
    results : StudyResults
    images : mapping of (modality, key) to ViewedImage
    """

    def __init__(self, layout: StudyLayout) -> None:
        self.layout = layout
        self.results: StudyResults = read_results(layout)
        if self.results.predictions.empty:
            raise UserError("the study has no predictions to show", layout.predictions, "Run `sparra run` first")
        self.images = _images(layout, self.results.settings)
        self._patients = lru_cache(maxsize=64)(self._list_patients)

    def describe(self) -> dict[str, Any]:
        """Return, JSON-ready, name, unit of time, and the methods that patients can be ranked by."""
        predictions = self.results.predictions
        methods = []
        for modality, aggregator in arms(predictions):
            arm = predictions[(predictions["modality"] == modality) & (predictions["aggregator"] == aggregator)]
            names = in_order(set(arm["model"]), (NETWORK,))
            words = describe(modality, aggregator, NETWORK).partition(" with ")[0]
            verdicts = {v.modality: vars(v) for v in map_verdicts(self.layout, modality, aggregator)}
            methods.append(
                {
                    "modality": modality,
                    "aggregator": aggregator,
                    "models": names,
                    "name": words,
                    "verdicts": verdicts,
                }
            )
        wanted = self.results.settings.get("report", {})
        return {
            "name": self.results.name,
            "time_unit": self.results.time_unit,
            "methods": methods,
            "method": _preferred(methods, wanted),
            "report": self.layout.report.exists(),
        }

    def patients(self, modality: str, aggregator: str, model: str) -> dict[str, Any] | None:
        """Return, JSON-ready, the patients of a method by falling risk, and the curves of its groups.

        None where the study has no such method.
        """
        return self._patients(modality, aggregator, model)

    def _list_patients(self, modality: str, aggregator: str, model: str) -> dict[str, Any] | None:
        ranked = ranked_patients(self.results.predictions, modality, aggregator, model)
        if ranked.empty:
            return None
        images: dict[str, list[dict[str, str]]] = {}
        for image in self.images.values():
            images.setdefault(image.subject_id, []).append({"key": image.key, "modality": image.modality})
        rows = [
            {
                "subject_id": str(row["subject_id"]),
                "time": float(row["time"]),
                "event": bool(row["event"]),
                "percentile": round(float(row["percentile"]), 1),
                "group": row["group"] if row["group"] in GROUPS else None,
                "fold": int(row["fold"]),
                "images": images.get(str(row["subject_id"]), []),
            }
            for row in ranked.iloc[::-1].to_dict("records")
        ]
        return {"patients": rows, "curves": _curves(ranked)}

    def folds(self, modality: str, aggregator: str) -> list[int]:
        """Return the folds of a method; none for one that the study does not have."""
        table = self.results.predictions
        rows = table[(table["modality"] == modality) & (table["aggregator"] == aggregator)]
        return sorted({int(fold) for fold in rows["fold"]})


def find_study(path: Path) -> StudyLayout:
    """Return the layout of a study, given its YAML file or its output folder.

    Raises
    ------
    UserError
        If it is neither.
    """
    if path.is_file():
        return StudyLayout(read_study(path).output)
    layout = StudyLayout(path)
    if layout.settings.exists():
        return layout
    if (path / "study.yaml").exists():
        return StudyLayout(read_study(path / "study.yaml").output)
    raise UserError("no study lies here", path, "Give a study.yaml, or the output folder of a study that has run")


def _preferred(methods: list[dict[str, Any]], wanted: Mapping[str, Any]) -> int:
    """Return the index of the method that the report draws maps of, else of the last one."""
    for index, method in enumerate(methods):
        if method["modality"] == wanted.get("map_modality", "joint") and (
            method["aggregator"] == wanted.get("map_aggregator", "sparra")
        ):
            return index
    return len(methods) - 1


def _curves(ranked: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Kaplan–Meier curve of each risk group, beginning at time 0."""
    curves = {}
    for group in GROUPS:
        rows = ranked[ranked["group"] == group]
        if len(rows):
            curve = kaplan_meier(rows["time"].to_numpy(float), rows["event"].to_numpy(bool))
            curves[group] = {"time": [0.0, *curve.times.tolist()], "survival": [1.0, *curve.survival.tolist()]}
    return curves


def _images(layout: StudyLayout, settings: Mapping[str, Any]) -> dict[tuple[str, str], ViewedImage]:
    """Return the images whose features the study holds, in the order of their graphs."""
    records = {record.key: record for record in _records(settings)}
    subjects = pd.read_csv(layout.subjects, dtype=str, keep_default_na=False)["subject_id"]
    images: dict[tuple[str, str], ViewedImage] = {}
    for subject_id in subjects:
        for modality in MODALITIES:
            graph = layout.graph(modality, subject_key(subject_id))
            for key in read_graph(graph).images if graph.exists() else ():
                record = records.get(key)
                if record is not None and (not record.path.exists() or is_bag_file(record.path)):
                    record = None
                images[modality, key] = ViewedImage(key, subject_id, modality, record)
    return images


def _records(settings: Mapping[str, Any]) -> list[ImageRecord]:
    """Read the images table that the study was made from; none where it is not there any more."""
    cohort = settings.get("cohort") or {}
    try:
        records, _ = read_images(Path(cohort["images"]))
        if cohort.get("review"):
            records, _ = apply_review(records, Path(cohort["review"]))
    except (KeyError, UserError):
        return []
    return records
