"""Which patients get a map, and the maps themselves, or one sentence why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparra.bags.bag import Bag, Modality
from sparra.bags.preview import Preview
from sparra.bags.store import read_bag, read_preview
from sparra.cohort.tables import subject_key
from sparra.errors import UserError
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.store import read_graph
from sparra.maps.out_of_fold import FILE, out_of_fold_scores
from sparra.maps.scores import NodeScores, most_important, patch_importance, patches_of_image
from sparra.report.maps import draw_ct_map, draw_slide_map
from sparra.report.pictures import Picture, picture
from sparra.report.results import AGGREGATOR_NAMES, arms
from sparra.report.settings import ReportSettings
from sparra.report.trust import MapVerdict, map_verdicts
from sparra.survival.summary import NETWORK

# The study room imports this one, so its layout is known here as a type only.
if TYPE_CHECKING:
    from sparra.study.layout import StudyLayout

MODALITIES_OF: Mapping[str, tuple[Modality, ...]] = {
    "joint": ("ct", "slide"),
    "ct": ("ct",),
    "slide": ("slide",),
}
IMAGE_WORD: Mapping[Modality, str] = {"ct": "CT", "slide": "slide"}


@dataclass(frozen=True)
class Patient:
    """A patient at one end of the risk scale.

    Attributes
    ----------
    subject_id : str
    extreme : str
        ``highest`` or ``lowest``.
    time : float
    event : bool
    percentile : float
        Share of patients (in percent) whose standardised out-of-fold risk is at most this patient's.
    fold : int
        Fold in which the patient was tested.
    """

    subject_id: str
    extreme: str
    time: float
    event: bool
    percentile: float
    fold: int


def one_row_a_patient(predictions: pd.DataFrame) -> pd.DataFrame:
    """Keep each patient's first out-of-fold prediction; supplied splits may test a patient more than once."""
    return predictions.sort_values("fold", kind="stable").drop_duplicates("subject_id")


def mapped_model(layout: "StudyLayout", predictions: pd.DataFrame, settings: ReportSettings) -> tuple[str, str] | None:
    """Return the (modality, aggregator) whose importance is drawn, None where no model has written any."""
    known = list(AGGREGATOR_NAMES)
    wanted = settings.map_aggregator.lower()

    def distance(arm: tuple[str, str]) -> tuple[bool, bool, int]:
        aggregator = arm[1].lower()
        # SPARRA before ABMIL before the mean, whose importance is the same everywhere.
        place = -known.index(aggregator) if aggregator in known else 1
        return (aggregator != wanted, arm[0] != settings.map_modality, place)

    found = [arm for arm in arms(predictions) if _importance_exists(layout, predictions, *arm)]
    return min(found, key=distance, default=None)


def _importance_exists(layout: "StudyLayout", predictions: pd.DataFrame, modality: str, aggregator: str) -> bool:
    folds = predictions.loc[predictions["modality"] == modality, "fold"].unique()
    paths = (layout.model(modality, aggregator, int(fold)) / FILE for fold in folds)
    return any(path.exists() for path in paths)


def extreme_patients(predictions: pd.DataFrame, modality: str, aggregator: str, count: int) -> list[Patient]:
    """Return the patients of highest and of lowest out-of-fold risk."""
    ranked = ranked_patients(predictions, modality, aggregator)
    count = min(count, len(ranked) // 2)
    highest, lowest = ranked.iloc[::-1].iloc[:count], ranked.iloc[:count]
    return [_patient(row, "highest") for row in highest.to_dict("records")] + [
        _patient(row, "lowest") for row in lowest.to_dict("records")
    ]


def ranked_patients(
    predictions: pd.DataFrame, modality: str, aggregator: str, model: str | None = None
) -> pd.DataFrame:
    """Return one row a patient by rising out-of-fold risk, with its ``percentile``.

    Each fold has a network of its own with a scale of its own, so risks are standardised within the fold
    before they are ranked.

    Parameters
    ----------
    predictions : DataFrame
    modality, aggregator : str
    model : str, optional
        Whose risk; by default the network's own, or the first by name where there is none.
    """
    arm = predictions[(predictions["modality"] == modality) & (predictions["aggregator"] == aggregator)]
    if model is None:
        model = NETWORK if NETWORK in set(arm["model"]) else min(set(arm["model"]))
    rows = one_row_a_patient(arm[(arm["model"] == model) & arm["risk"].notna()])
    by_fold = rows.groupby("fold")["risk"]
    spread = by_fold.transform("std").replace(0.0, np.nan)
    scores = ((rows["risk"] - by_fold.transform("mean")) / spread).fillna(0.0)
    ranked = rows.assign(percentile=scores.rank(pct=True) * 100, score=scores)
    return ranked.sort_values("score", kind="stable")


def _patient(row: Mapping[object, object], extreme: str) -> Patient:
    return Patient(
        subject_id=str(row["subject_id"]),
        extreme=extreme,
        time=float(str(row["time"])),
        event=bool(row["event"]),
        percentile=float(str(row["percentile"])),
        fold=int(float(str(row["fold"]))),
    )


def importance_maps(layout: "StudyLayout", modality: str, aggregator: str, patient: Patient) -> list[Picture | str]:
    """Return a map, or a sentence why there is none, for each modality of the model.

    Importance is averaged over all models in whose test part the patient was.
    """
    folders = sorted(layout.model(modality, aggregator, patient.fold).parent.glob("fold-*"))
    verdicts = {found.modality: found for found in map_verdicts(layout, modality, aggregator)}
    maps: list[Picture | str] = []
    for image_modality in MODALITIES_OF.get(modality, ()):
        try:
            nodes = out_of_fold_scores(folders, image_modality, patient.subject_id)
            if nodes is None:
                maps.append(f"The model used no {IMAGE_WORD[image_modality]} of this patient.")
            else:
                maps.append(_map(layout, image_modality, patient.subject_id, nodes, verdicts[image_modality]))
        except UserError as error:
            # Without its place, which is a path of this machine.
            mend = f" {error.mend.rstrip('.')}." if error.mend else ""
            maps.append(f"No map of the {IMAGE_WORD[image_modality]}: {error.what.rstrip('.')}.{mend}")
    return maps


def _map(
    layout: "StudyLayout", modality: Modality, subject_id: str, nodes: NodeScores, verdict: MapVerdict
) -> Picture | str:
    graph = read_graph(_existing(layout.graph(modality, subject_key(subject_id)), "graph"))
    if len(nodes.score) != len(graph):
        raise UserError(
            f"the importance has {len(nodes.score)} values for {len(graph)} nodes",
            mend="Train the models again",
        )
    values, spread = patch_importance(graph, nodes.score), patch_importance(graph, nodes.score_sd)
    shares = np.bincount(graph.image_of_node, nodes.score, minlength=len(graph.images)).astype(np.float64)
    image = int(shares.argmax())
    path = _existing(layout.bag(modality, graph.images[image]), "bag of features")
    bag, preview = read_bag(path), read_preview(path)
    patches = patches_of_image(graph, image)
    values, spread = values[patches], spread[patches]
    obstacle = _obstacle(bag, preview, values)
    if obstacle or preview is None or bag.positions is None or bag.patch_size is None:
        return f"No map of the {IMAGE_WORD[modality]}: {obstacle}"
    draw = draw_ct_map if modality == "ct" else draw_slide_map
    # A map that fails its checks says so in the picture itself, which may be cut out of the page.
    note = verdict.sentence if verdict.verdict == "failed" else ""
    known = spread if np.isfinite(spread).all() else None
    figure = draw(preview, bag.positions, bag.patch_size, values, note=note, spread=known)
    told = "This map failed its checks, see above." if note else verdict.sentence
    half = half_share(values, graph.node_of_patch[patches])
    words = f"{told} {_caption(modality, graph, shares, half)} Standard deviation: {nodes.spread}."
    return picture(figure, _alt(modality, subject_id, half), words)


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise UserError(f"the {what} is not there any more", path, "Run the study again")
    return path


def _obstacle(bag: Bag, preview: Preview | None, values: NDArray[np.float64]) -> str:
    """Why an image cannot be drawn on, empty where it can."""
    if bag.positions is None:
        return "its features came without positions."
    if preview is None:
        return "its features came without a picture of the image."
    if bag.patch_size is None:
        return "the size of its patches is not known."
    if len(bag) != len(values):
        return f"its graph was made of {len(values)} patches, but its bag now holds {len(bag)}."
    return ""


def _caption(modality: Modality, graph: SpatialGraph, shares: NDArray[np.float64], half: str) -> str:
    text = f"{half[0].upper()}{half[1:]}."
    if len(graph.images) > 1:
        share = shares.max() / max(shares.sum(), np.finfo(float).tiny)
        words = f"{len(graph.images)} {IMAGE_WORD[modality]}s"
        text = f"The one of {words} with most importance ({share:.0%}). {text}"
    if modality == "ct":
        text += " Slices through the most important patch; the white line is the tumour's outline."
    return text


def _alt(modality: Modality, subject_id: str, half: str) -> str:
    if modality == "ct":
        return (
            f"Axial, coronal and sagittal CT slices of {subject_id} through the most important patch, plain "
            f"and with the importance of each patch in colour; {half}."
        )
    return f"Thumbnail of the slide of {subject_id}, plain and with the importance of each patch in colour; {half}."


def half_share(values: NDArray[np.float64], node_of_patch: NDArray[np.int64]) -> str:
    """Say in how few of the patches half of an image's importance lies."""
    share = float(most_important(values, node_of_patch).mean())
    return f"half of the importance lies in {share:.0%} of the {len(values)} patches"
