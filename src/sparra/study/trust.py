"""Checking the maps of every trained aggregation, by the models that never saw the subjects."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparra.cohort.problems import Problem
from sparra.files import read_json, write_json, write_text
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.store import read_graph
from sparra.maps.agreement import TOP_SHARE, auroc, mean_over_pairs, planted_overlap
from sparra.maps.deletion import Curves, deletion_curves, mean_curves
from sparra.maps.label import MapLabel
from sparra.maps.out_of_fold import FILE, out_of_fold_scores
from sparra.maps.scores import NodeScores, patch_importance
from sparra.maps.trust import Check, check_over_subjects, verdict_of, verdict_sentence
from sparra.modality import Modality
from sparra.study.arms import Arm, out_of_fold_subjects
from sparra.study.layout import StudyLayout
from sparra.study.planted import Planted
from sparra.study.pool import Item, Track, run_items
from sparra.study.settings import StudySettings
from sparra.study.sidecar import begin, is_current, make_key, mark_done
from sparra.study.stages import GraphIndex
from sparra.training.batching import PreparedCohort
from sparra.training.fitted import FittedAggregator
from sparra.training.prediction import predict_member
from sparra.training.subjects import SubjectData

KEYS = ["trained_modality", "aggregator", "modality"]
TRUST_COLUMNS = [*KEYS, "check", "value", "lower", "upper", "chance", "subjects", "passed", "reason"]
VERDICT_COLUMNS = [*KEYS, "verdict", "sentence"]
ONE_SEED = "the aggregation is one model, not an ensemble of seeds"
ONE_REPEAT = "each subject is in the test part of one model only; raise evaluation.repeats"
NOTHING_PLANTED = "not a simulated cohort"


@dataclass
class _Figures:
    """What is gathered of one modality's maps, a value a subject."""

    curves: dict[str, list[Curves]] = field(default_factory=lambda: defaultdict(list))
    seeds: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    folds: list[tuple[float, float]] = field(default_factory=list)
    planted: list[tuple[float, float]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    ranges: list[float] = field(default_factory=list)


def check_maps(
    settings: StudySettings, layout: StudyLayout, index: GraphIndex, arms: Sequence[Arm], track: Track
) -> list[Problem]:
    """Check the maps of each aggregation that is not up to date; write ``maps/trust.csv`` and ``verdicts.csv``."""
    items = [
        Item("", f"maps of {arm.aggregator} on {arm.modality}", (settings, layout, index, arm))
        for arm in arms
        if not _is_checked(settings, layout, arm)
    ]
    problems = run_items("trust", check_arm, items, settings.n_workers, track)
    rows, verdicts = [], []
    for arm in arms:
        if not _is_checked(settings, layout, arm):
            continue
        for modality, found in read_json(_output(layout, arm)).items():
            names = {"trained_modality": arm.modality, "aggregator": arm.aggregator, "modality": modality}
            rows += [{**names, **check} for check in found["checks"]]
            verdicts.append({**names, "verdict": found["verdict"], "sentence": found["sentence"]})
    _write(layout.map_trust, pd.DataFrame(rows).rename(columns={"name": "check"}), TRUST_COLUMNS)
    _write(layout.map_verdicts, pd.DataFrame(verdicts), VERDICT_COLUMNS)
    return problems


def current_label(settings: StudySettings, layout: StudyLayout, arm: Arm, modality: Modality) -> MapLabel:
    """Return the words that this aggregation's maps of a modality carry.

    They are called untested where there is no check, or one of other models than the study now has.
    """
    found = read_json(_output(layout, arm)).get(modality) if _is_checked(settings, layout, arm) else None
    return MapLabel(arm.title, found["verdict"], found["sentence"]) if found else MapLabel(arm.title)


def planted_table(layout: StudyLayout) -> pd.DataFrame:
    """Return how far the maps overlap the planted regions, a row an aggregation and modality; empty if nothing is.

    Columns: trained_modality, aggregator, modality, subjects, auroc, auroc_lower, auroc_upper, overlap,
    overlap_lower, overlap_upper, overlap_by_chance.
    """
    if not layout.map_trust.exists():
        return pd.DataFrame()
    table = pd.read_csv(layout.map_trust)
    table = table[table["value"].notna()]
    ranked, overlap = (table[table["check"] == name] for name in ("planted_auroc", "planted_overlap"))
    figures = ["value", "lower", "upper"]
    joined = ranked[[*KEYS, "subjects", *figures]].merge(overlap[[*KEYS, *figures, "chance"]], on=KEYS)
    names = ["auroc", "auroc_lower", "auroc_upper", "overlap", "overlap_lower", "overlap_upper", "overlap_by_chance"]
    return joined.set_axis([*KEYS, "subjects", *names], axis=1)


def _write(path: Path, table: pd.DataFrame, columns: list[str]) -> None:
    write_text(path, table.reindex(columns=columns).to_csv(index=False, lineterminator="\n"))


def _output(layout: StudyLayout, arm: Arm) -> Path:
    return layout.root / "maps" / arm.modality / arm.aggregator / "trust.json"


def _key_parts(settings: StudySettings, layout: StudyLayout, arm: Arm) -> tuple[dict[str, Path], dict[str, Any]]:
    inputs = {folder.name: folder / "model.json" for folder in arm.folders}
    inputs |= {f"{folder.name} importance": folder / FILE for folder in arm.folders}
    planted = Planted.beside(settings.cohort.images)
    inputs |= {"truth": planted.description} if planted else {}
    parameters = {"arm": arm.title, "subjects": settings.maps.trust_subjects, "seed": settings.seed}
    return inputs, parameters


def _is_checked(settings: StudySettings, layout: StudyLayout, arm: Arm) -> bool:
    return is_current(_output(layout, arm), "maps", *_key_parts(settings, layout, arm))


def check_arm(settings: StudySettings, layout: StudyLayout, index: GraphIndex, arm: Arm) -> None:
    """Check one aggregation's maps and write what came out, the sidecar last."""
    output = _output(layout, arm)
    key = make_key("maps", *_key_parts(settings, layout, arm))
    begin(output)
    figures = {modality: _Figures() for modality in arm.image_modalities}
    chosen = _chosen(settings, arm)
    for folder in arm.folders:
        _check_model(layout, index, arm, folder, chosen, settings.seed, figures)
    planted = Planted.beside(settings.cohort.images)
    for modality in arm.image_modalities:
        for subject_id in sorted(chosen):
            _check_map(layout, index, arm, modality, subject_id, planted, figures[modality])
    write_json(output, {m: _result(found, settings.seed, planted is not None) for m, found in figures.items()})
    mark_done(output, key)


def _chosen(settings: StudySettings, arm: Arm) -> set[str]:
    """Draw the subjects that are looked at from all those that some model was tested on."""
    everyone = set().union(*(out_of_fold_subjects(folder) for folder in arm.folders))
    ids = np.array(sorted({subject_id for modality, subject_id in everyone if modality in arm.image_modalities}))
    order = np.random.default_rng([9, settings.seed]).permutation(len(ids))
    return set(ids[order[: settings.maps.trust_subjects]].tolist())


def _graphs(layout: StudyLayout, index: GraphIndex, arm: Arm, subject_id: str) -> dict[str, SpatialGraph]:
    paths = index.get(subject_id, {})
    return {m: read_graph(layout.root / paths[m]) for m in arm.image_modalities if m in paths}


def _nodes(arm: Arm, modality: Modality, subject_id: str, graph: SpatialGraph | None) -> NodeScores | None:
    nodes = out_of_fold_scores(arm.folders, modality, subject_id)
    return nodes if nodes is not None and graph is not None and len(nodes.score) == len(graph) else None


def _check_model(
    layout: StudyLayout,
    index: GraphIndex,
    arm: Arm,
    folder: Path,
    chosen: set[str],
    seed: int,
    figures: Mapping[Modality, _Figures],
) -> None:
    """Try deletion, insertion and the agreement of seeds on those subjects that this model never saw."""
    subjects = sorted({subject_id for _, subject_id in out_of_fold_subjects(folder)} & chosen)
    if not subjects:
        return
    fitted = FittedAggregator.load(folder)
    scale = 1.0 if fitted.others else (fitted.scale[1] or 1.0)  # An ensemble's risk is standardised already.

    def risk_of(variants: Sequence[Mapping[str, SpatialGraph]]) -> NDArray[np.float64]:
        people = [SubjectData(str(number), graphs, 1.0, True) for number, graphs in enumerate(variants)]
        return fitted.predict(people).risk / scale

    for subject_id in subjects:
        graphs = _graphs(layout, index, arm, subject_id)
        by_member = _by_member(fitted, subject_id, graphs)
        for modality, found in figures.items():
            nodes = _nodes(arm, modality, subject_id, graphs.get(modality))
            if nodes is None:
                continue
            generator = np.random.default_rng([10, seed, *subject_id.encode()])
            curves = deletion_curves(graphs, modality, nodes.score, risk_of, fitted.scalers[modality].mean, generator)
            if curves is not None:
                found.curves[subject_id].append(curves)
            found.seeds[subject_id].append(mean_over_pairs([member[modality] for member in by_member]))


def _by_member(
    fitted: FittedAggregator, subject_id: str, graphs: Mapping[str, SpatialGraph]
) -> list[dict[str, NDArray[np.float64]]]:
    cohort = PreparedCohort([SubjectData(subject_id, graphs, 1.0, True)], fitted.scalers)
    told = [predict_member(member.model, cohort).importance[0] for member in fitted.members]
    return [{modality: values.astype(np.float64) for modality, values in each.items()} for each in told]


def _check_map(
    layout: StudyLayout,
    index: GraphIndex,
    arm: Arm,
    modality: Modality,
    subject_id: str,
    planted: Planted | None,
    figures: _Figures,
) -> None:
    """Compare the models of several repeats, and the map with the planted region."""
    graph = _graphs(layout, index, arm, subject_id).get(modality)
    nodes = _nodes(arm, modality, subject_id, graph)
    if nodes is None or graph is None:
        return
    figures.ranges.append(float(np.ptp(nodes.score) / nodes.score.mean()))
    figures.folds.append(mean_over_pairs(nodes.by_model))
    region = planted.patches(layout, modality, subject_id, graph) if planted else None
    if region is not None:
        per_patch = patch_importance(graph, nodes.score)
        figures.planted.append((auroc(per_patch, region), planted_overlap(per_patch, region)))
        figures.shares.append(float(region.mean()))


def _result(found: _Figures, seed: int, simulated: bool) -> dict[str, Any]:
    curves = [mean_curves(each) for each in found.curves.values()]
    seeds = [tuple(np.mean(each, axis=0)) for each in found.seeds.values()]
    share = float(np.mean(found.shares)) if found.shares else float("nan")
    why = "" if simulated else NOTHING_PLANTED

    def check(name: str, values: Sequence[float], chance: float, decides: bool = True, reason: str = "") -> Check:
        return check_over_subjects(name, values, chance, seed, decides, reason)

    checks = [
        check("deletion", [c.deletion_area for c in curves], 0.0),
        check("insertion", [c.insertion_area for c in curves], 0.0),
        check("removal", [c.removal_area for c in curves], 0.0, False),
        check("stability_seeds", [pair[0] for pair in seeds], 0.0, reason=ONE_SEED),
        check("top_overlap_seeds", [pair[1] for pair in seeds], TOP_SHARE, False, ONE_SEED),
        check("stability_folds", [pair[0] for pair in found.folds], 0.0, reason=ONE_REPEAT),
        check("top_overlap_folds", [pair[1] for pair in found.folds], TOP_SHARE, False, ONE_REPEAT),
        check("planted_auroc", [pair[0] for pair in found.planted], 0.5, reason=why),
        check("planted_overlap", [pair[1] for pair in found.planted], share, False, why),
    ]
    constant = bool(found.ranges) and max(found.ranges) < 1e-4
    return {
        "checks": [_json_ready(check) for check in checks],
        "verdict": verdict_of(checks, constant),
        "sentence": verdict_sentence(checks, constant),
        "curves": _curves_row(curves),
    }


def _curves_row(curves: Sequence[Curves]) -> dict[str, list[float]]:
    """Return the curves averaged over subjects, for a figure."""
    if not curves:
        return {}
    return {name: values.tolist() for name, values in vars(mean_curves(curves)).items()}


def _json_ready(check: Check) -> dict[str, Any]:
    return {key: None if isinstance(v, float) and np.isnan(v) else v for key, v in asdict(check).items()}
