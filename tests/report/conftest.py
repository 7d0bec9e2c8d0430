"""A small study folder, written by the contract of docs/architecture.md with known numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from sparra.bags.bag import Bag
from sparra.bags.preview import Preview
from sparra.bags.store import write_bag
from sparra.cohort.tables import subject_key
from sparra.files import write_json
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.store import write_graph
from sparra.study.layout import StudyLayout

EVIL = "<script>alert('x')</script>"
MODELS = ("RSF", "CoxPH", "Coxnet", "FSVM", "network")
METRICS = ("c_index", "c_ipcw", "c_auc", "ibs")
SKILL = {"mean": 0.3, "abmil": 0.5, "sparra": 0.9}
NO_CURVES = "FSVM predicts no survival function"
FOLDS = 5


def build_study(
    root: Path,
    modalities: tuple[str, ...] = ("ct", "slide", "joint"),
    n_subjects: int = 40,
    seed: int = 0,
) -> StudyLayout:
    """Write a study whose highest-risk patient is called `EVIL`."""
    rng = np.random.default_rng(seed)
    layout = StudyLayout(root)
    hazard = np.sort(rng.normal(size=n_subjects))[::-1]
    subjects = pd.DataFrame(
        {
            "subject_id": [EVIL, *(f"P{i:03d}" for i in range(1, n_subjects))],
            "time": np.round(rng.exponential(900 * np.exp(-1.5 * hazard)) + 20, 1),
            "event": rng.random(n_subjects) < 0.6,
        }
    )
    layout.subjects.parent.mkdir(parents=True)
    # P900 passed the check and failed later, so that it is listed but not used.
    later = pd.DataFrame({"subject_id": ["P900"], "time": [1e6], "event": [False]})
    pd.concat([subjects, later]).to_csv(layout.subjects, index=False)
    _write_records(layout, n_subjects, int(subjects["event"].sum()))
    layout.metrics.parent.mkdir(parents=True)
    _metrics(rng, modalities).to_csv(layout.metrics, index=False)
    predictions = _predictions(rng, subjects, hazard, modalities)
    predictions.to_csv(layout.predictions, index=False)
    folds = predictions.drop_duplicates("subject_id").set_index("subject_id")["fold"]
    for modality in ("ct", "slide"):
        if modality in modalities or "joint" in modalities:
            for subject_id in (EVIL, *subjects["subject_id"].iloc[1:]):
                _write_images(layout, modality, subject_id, rng)
    for modality in modalities:
        _write_importance(layout, modality, folds, rng)
    return layout


def _write_records(layout: StudyLayout, n_subjects: int, events: int) -> None:
    failures = pd.DataFrame(
        [
            [EVIL, "extract", "ct/scan.nii.gz", "the mask is empty", "Draw the tumour"],
            ["P900", "extract", "ct/p900.nii.gz", "the mask is of another shape", "Draw it on this CT"],
            ["P901", "check", "subjects.csv, row 9", "time 'x' is no number", "Give a number"],
        ],
        columns=["subject_id", "stage", "where", "what", "mend"],
    )
    failures.to_csv(layout.failures, index=False)
    flow = {
        "subjects_in": n_subjects + 2,
        "subjects_used": n_subjects,
        "events": events,
        "time_unit": "days",
        "excluded": failures.iloc[1:].to_dict("records"),
        "used": {"ct": n_subjects, "slide": n_subjects, "joint": n_subjects, "both": n_subjects},
    }
    write_json(layout.flow, flow)
    write_json(layout.settings, {"name": "Planted <b>biomarker</b>", "seed": 0, "ct": {"margin_mm": 10.0}})
    write_json(layout.versions, {"torch": "2.13.0", "python": "3.11.2", "machine": "x86_64", "note": "Research use"})


def _metrics(rng: np.random.Generator, modalities: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    for modality in modalities:
        for aggregator, skill in SKILL.items():
            for model in MODELS:
                for metric in METRICS:
                    centre = 0.25 - 0.05 * skill if metric == "ibs" else 0.55 + 0.15 * skill
                    for fold in range(FOLDS):
                        undefined = model in ("FSVM", "network") and metric == "ibs"
                        value = np.nan if undefined else centre + rng.normal(scale=0.05)
                        reason = NO_CURVES if undefined else ""
                        rows.append((modality, aggregator, model, metric, fold, value, reason))
    columns = ["modality", "aggregator", "model", "metric", "fold", "value", "reason"]
    metrics = pd.DataFrame(rows, columns=columns)
    lost = (metrics[["modality", "aggregator", "model", "metric", "fold"]] == [
        modalities[0], "mean", "RSF", "c_ipcw", 2,
    ]).all(axis=1)  # fmt: skip
    metrics.loc[lost, ["value", "reason"]] = [np.nan, "no event before the horizon"]
    return metrics


def _predictions(
    rng: np.random.Generator, subjects: pd.DataFrame, hazard: np.ndarray, modalities: tuple[str, ...]
) -> pd.DataFrame:
    fold = rng.permutation(np.arange(len(subjects)) % FOLDS)
    tables = []
    for modality in modalities:
        for aggregator, skill in SKILL.items():
            for model in MODELS:
                risk = skill * hazard + (1 - skill) * rng.normal(size=len(hazard))
                risk[0] = 6.0
                arm = subjects.assign(modality=modality, aggregator=aggregator, model=model, repeat=0, fold=fold)
                # Folds have scales of their own.
                scaled = risk * (1 + fold) + 10 * fold
                tables.append(arm.assign(risk=scaled, group=np.where(risk > 0, "high", "low")))
    return pd.concat(tables, ignore_index=True)


def _write_images(layout: StudyLayout, modality: str, subject_id: str, rng: np.random.Generator) -> None:
    key = f"{subject_key(subject_id)}-0"
    bag, preview = (make_ct if modality == "ct" else make_slide)(rng)
    write_bag(layout.bag(modality, key), bag, preview)
    write_graph(layout.graph(modality, subject_key(subject_id)), make_graph(bag, key))


def make_slide(rng: np.random.Generator) -> tuple[Bag, Preview]:
    """Make a disc of tissue, thumbnail of 32 µm a pixel, tiles of 256 µm."""
    height, width, mpp = 150, 200, 32.0
    rows, columns = np.mgrid[:height, :width]
    tissue = ((rows - 75) / 60) ** 2 + ((columns - 100) / 85) ** 2 < 1
    pink = np.array([222, 160, 200]) + rng.normal(scale=18, size=(height, width, 1))
    pixels = np.where(tissue[..., None], pink, 244).clip(0, 255).astype(np.uint8)
    x, y = np.meshgrid(np.arange(128, width * mpp, 256), np.arange(128, height * mpp, 256))
    centres = np.column_stack([x.ravel(), y.ravel()]).astype(np.float64)
    inside = tissue[(centres[:, 1] // mpp).astype(int), (centres[:, 0] // mpp).astype(int)]
    positions = centres[inside]
    features = rng.normal(size=(len(positions), 4))
    bag = Bag("slide", features, positions, (256.0, 256.0))
    return bag, Preview("slide", pixels, tissue, (mpp, mpp), (mpp / 2, mpp / 2), np.eye(2))


def make_ct(rng: np.random.Generator) -> tuple[Bag, Preview]:
    """Make an ellipsoid in fat at 1 mm whose first axis runs to the right, as in many NIfTI files."""
    z, y, x = np.mgrid[:40, :56, :64]
    tumour = ((z - 20) / 14) ** 2 + ((y - 28) / 20) ** 2 + ((x - 32) / 22) ** 2 < 1
    noise = rng.normal(scale=15, size=tumour.shape)
    pixels = (np.where(tumour, 60, -90) + noise).astype(np.int16)
    direction = np.diag([-1.0, 1.0, 1.0])
    preview = Preview("ct", pixels, tumour, (1.0, 1.0, 1.0), (50.0, -200.0, 700.0), direction)
    grid = np.stack(np.meshgrid(*(np.arange(4, n, 8) for n in (64, 56, 40)), indexing="ij"), axis=-1)
    indices = grid.reshape(-1, 3)
    indices = indices[tumour[indices[:, 2], indices[:, 1], indices[:, 0]]]
    positions = indices @ direction.T + preview.origin
    return Bag("ct", rng.normal(size=(len(indices), 4)), positions, (8.0, 8.0, 8.0)), preview


def make_graph(bag: Bag, key: str, members: int = 3) -> SpatialGraph:
    """Make a chain of nodes of `members` patches each."""
    node_of_patch = np.arange(len(bag)) // members
    n = int(node_of_patch[-1]) + 1
    counts = np.bincount(node_of_patch)[:, None]
    positions = np.zeros((n, bag.positions.shape[1]))
    np.add.at(positions, node_of_patch, bag.positions)
    chain = np.arange(n - 1)
    edges = np.hstack([[chain, chain + 1], [chain + 1, chain]])
    edges = edges[:, np.lexsort((edges[1], edges[0]))]
    features = np.zeros((n, bag.features.shape[1]), dtype=np.float32)
    return SpatialGraph(
        bag.modality, features, positions / counts, edges, node_of_patch, np.zeros(n, dtype=np.int64), (key,)
    )


def _write_importance(layout: StudyLayout, modality: str, folds: pd.Series, rng: np.random.Generator) -> None:
    parts = ("ct", "slide") if modality == "joint" else (modality,)
    nodes = {"ct": _node_count(make_ct), "slide": _node_count(make_slide)}
    for fold, subjects in folds.groupby(folds):
        tensors = {}
        for part in parts:
            for subject_id in subjects.index:
                weights = np.exp(-0.5 * ((np.arange(nodes[part]) - nodes[part] / 3) / 4) ** 2)
                weights += 0.02 * rng.random(nodes[part])
                tensors[f"{part}/{subject_id}"] = (weights / weights.sum()).astype(np.float32)
        folder = layout.model(modality, "sparra", int(fold))
        folder.mkdir(parents=True)
        save_file(tensors, folder / "importance.safetensors")


def _node_count(make) -> int:
    bag, _ = make(np.random.default_rng(0))
    return len(make_graph(bag, ""))


@pytest.fixture(scope="session")
def joint_study(tmp_path_factory: pytest.TempPathFactory) -> StudyLayout:
    return build_study(tmp_path_factory.mktemp("study"))
