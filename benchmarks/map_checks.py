"""Do the checks of maps tell a true map from a false one? `python -m benchmarks.map_checks DEMO [--subjects 40]`.

DEMO is the folder of a finished `sparra demo`, whose planted regions are known. On every arm four maps go through
deletion and insertion: the planted region itself (each node scored by the planted part of its patches), the model's
own, a random one and the model's turned upside down. The first two should pass, the others fail. Beside them, insertion
as it was: the most important nodes alone, without the rest of the graph; and the AUROC of the planted patches by
importance of their node and by that divided by the node's patches.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from sparra.files import read_json
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.store import read_graph
from sparra.maps.agreement import auroc
from sparra.maps.deletion import FRACTIONS, RANDOM_DRAWS, deletion_curves, with_nodes
from sparra.maps.out_of_fold import FILE, out_of_fold_scores
from sparra.maps.trust import check_over_subjects
from sparra.modality import Modality
from sparra.study.layout import StudyLayout
from sparra.study.planted import Planted
from sparra.study.settings import read_study
from sparra.training.fitted import FittedAggregator
from sparra.training.subjects import SubjectData

ARMS: dict[str, tuple[Modality, ...]] = {"ct": ("ct",), "slide": ("slide",), "joint": ("ct", "slide")}
MAPS = ("planted", "model", "random", "inverted")
Values = dict[str, list[float]]


def maps_of(
    importance: NDArray[np.float64], graph: SpatialGraph, region: NDArray[np.bool_], generator: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Return the four maps of a graph, one value a node; ties of the planted region are broken at random."""
    inside = np.bincount(graph.node_of_patch, region.astype(float), len(graph)) / graph.member_counts
    return {
        "planted": inside + 1e-9 * generator.random(len(graph)),
        "model": importance,
        "random": generator.random(len(graph)),
        "inverted": -importance,
    }


def alone_area(graphs: dict[str, SpatialGraph], modality: str, importance: NDArray[np.float64], risk_of: Any) -> float:
    """Return insertion as it was: the k most important nodes alone against k random ones."""
    graph, generator = graphs[modality], np.random.default_rng(0)
    orders = [np.argsort(-importance, kind="stable"), *(generator.permutation(len(graph)) for _ in range(RANDOM_DRAWS))]
    counts = [min(max(round(f * len(graph)), 1), len(graph) - 1) for f in FRACTIONS]
    variants = [graphs, *({**graphs, modality: with_nodes(graph, order[:k])} for order in orders for k in counts)]
    risks = risk_of(variants)
    moved = np.abs(risks[1:] - risks[0]).reshape(len(orders), len(counts)).mean(axis=1)
    return float(moved[1:].mean() - moved[0])


class _Demo:
    """A finished demo and what is known of it."""

    def __init__(self, folder: Path) -> None:
        self.layout = StudyLayout(read_study(folder / "study.yaml").output)
        self.index = read_json(self.layout.root / "graphs" / "index.json")["paths"]
        planted = Planted.beside(folder / "cohort" / "images.csv")
        if planted is None:
            raise SystemExit(f"{folder}: no simulated cohort")
        self.planted = planted

    def arm(self, arm: str, limit: int) -> dict[Modality, Values]:
        """Put the maps of an arm through the checks, each subject by the model that never saw it."""
        folders = sorted((self.layout.root / "models" / arm / "sparra").glob("fold-?"))
        found: dict[Modality, Values] = {modality: defaultdict(list) for modality in ARMS[arm]}
        for folder in folders:
            with safe_open(folder / FILE, framework="numpy") as tensors:
                names = sorted({name.split("/")[1] for name in tensors.keys() if not name.startswith("sd/")})  # noqa: SIM118
            fitted = FittedAggregator.load(folder)
            for subject_id in names[: -(-limit // len(folders))]:
                self._subject(arm, fitted, folders, subject_id, found)
        return found

    def _subject(
        self, arm: str, fitted: FittedAggregator, folders: list[Path], subject_id: str, found: dict[Modality, Values]
    ) -> None:
        graphs = {m: read_graph(self.layout.root / self.index[subject_id][m]) for m in ARMS[arm]}
        scale = 1.0 if fitted.others else (fitted.scale[1] or 1.0)

        def risk_of(variants: Any) -> NDArray[np.float64]:
            people = [SubjectData(str(number), graphs, 1.0, True) for number, graphs in enumerate(variants)]
            return fitted.predict(people).risk / scale

        for modality, values in found.items():
            graph = graphs[modality]
            nodes = out_of_fold_scores(folders, modality, subject_id)
            region = self.planted.patches(self.layout, modality, subject_id, graph)
            if nodes is None or region is None:
                continue
            values["auroc_node"].append(auroc(nodes.score[graph.node_of_patch], region))
            values["auroc_divided"].append(auroc((nodes.score / graph.member_counts)[graph.node_of_patch], region))
            generator = np.random.default_rng([1, *subject_id.encode()])
            for name, importance in maps_of(nodes.score, graph, region, generator).items():
                blank = fitted.scalers[modality].mean
                curves = deletion_curves(graphs, modality, importance, risk_of, blank, generator)
                if curves is not None:
                    values[f"{name}_deletion"].append(curves.deletion_area)
                    values[f"{name}_insertion"].append(curves.insertion_area)
                    values[f"{name}_alone"].append(alone_area(graphs, modality, importance, risk_of))


def figures_of(values: Values) -> dict[str, Any]:
    """Return mean, interval and outcome of every check, and the two AUROCs."""
    figures: dict[str, Any] = {name: float(np.nanmean(values[name])) for name in ("auroc_node", "auroc_divided")}
    for name in MAPS:
        for check in ("deletion", "insertion", "alone"):
            held = check_over_subjects(check, values[f"{name}_{check}"], 0.0, 0)
            figures[f"{name}_{check}"] = [held.value, held.lower, held.upper, held.passed]
    return figures


def main() -> None:
    """Print the figures of all arms as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--subjects", type=int, default=40)
    given = parser.parse_args()
    demo = _Demo(given.demo)
    figures = {
        f"{arm}/{modality}": figures_of(values)
        for arm in ARMS
        for modality, values in demo.arm(arm, given.subjects).items()
    }
    truth = all(one[f"{name}_{check}"][3] for one in figures.values() for name in MAPS[:2] for check in CHECKS)
    false = any(one[f"{name}_{check}"][3] for one in figures.values() for name in MAPS[2:] for check in CHECKS)
    print(json.dumps({**figures, "true_maps_pass": truth, "false_maps_fail": not false}))


CHECKS = ("deletion", "insertion")

if __name__ == "__main__":
    main()
