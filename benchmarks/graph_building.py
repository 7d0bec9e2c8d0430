"""Building a graph: ours against SlideGraph's own way, and alone at scale. `python -m benchmarks.graph_building`.

Every size runs in a process of its own, so that its peak memory is its own; kernels are compiled before the clock
starts. ``ratio_8k`` is the time of `benchmarks.parts.slidegraph.dense_partition` (neighbour search, condensed
distances, SciPy's linkage and cut) over that of `cluster_patches`, at 8,000 random patches × 1024;
``ratio_8k_linkage_alone`` counts SciPy's linkage and cut only, as if all distances came for free.
``adjusted_rand_min`` is the smallest agreement of the two over random bags and, where they lie beside the project,
real slides and CTs.
``seconds_100k``, ``peak_gb_100k`` and ``exponent`` are of the whole `build_graph`: clustering, means, edges.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from benchmarks.parts.graph_bags import DATA, ct_bag, ct_names, random_bag, random_tumour, slide_bag, slide_names
from benchmarks.parts.slidegraph import dense_partition
from sparra.bags.bag import Bag
from sparra.engine.work import peak_mib
from sparra.graphs.build import build_graph
from sparra.graphs.cluster import cluster_patches
from sparra.graphs.settings import FeatureMetric, GraphSettings
from sparra.graphs.similarity import median_pitch

RANDOM_SIZES = (2000, 4000, 8000)
SCALING_SIZES = (5000, 10_000, 20_000, 50_000, 100_000)
TUMOUR_TOKENS = 200_000
REPEATS = 3
LONG_SECONDS = 30


def compare(bag: Bag, metric: FeatureMetric = "standardised") -> dict[str, Any]:
    """Cluster a bag our way and SlideGraph's way: times in seconds, and agreement."""
    _warm_up(bag)
    settings = GraphSettings(feature_metric=metric).resolved(bag.modality, median_pitch(bag.positions))
    seconds, nodes = _timed(lambda: cluster_patches(bag.features, bag.positions, settings))
    reference, parts = dense_partition(bag.features, bag.positions, settings)
    return {
        "patches": len(bag),
        "nodes": int(nodes.max()) + 1,
        "seconds": seconds,
        "reference_seconds": sum(parts.values()),
        **{f"reference_{name}": value for name, value in parts.items()},
        "adjusted_rand": float(adjusted_rand_score(nodes, reference)),
    }


def measure(bag: Bag) -> dict[str, Any]:
    """Build the graph of a bag: time, and peak memory of this process, the bag and the libraries included."""
    _warm_up(bag)
    seconds, graph = _timed(lambda: build_graph(bag, GraphSettings(), "image"))
    peak_gb = peak_mib() * 2**20 / 1e9
    edges = graph.edge_index.shape[1] // 2
    return {"patches": len(bag), "nodes": len(graph), "edges": edges, "seconds": seconds, "peak_gb": peak_gb}


TASKS: dict[str, Callable[[str], dict[str, Any]]] = {
    "random": lambda size: compare(random_bag(int(size))),
    "random-raw": lambda size: compare(random_bag(int(size)), "raw"),
    "random-ct": lambda size: compare(random_tumour(int(size))),
    "slide": lambda name: compare(slide_bag(name)),
    "ct": lambda name: compare(ct_bag(name)),
    "scale": lambda size: measure(random_bag(int(size))),
    "tumour": lambda size: measure(random_tumour(int(size))),
}


def main() -> None:
    """Run every task in its own process, print a line each, and the figures on the last one."""
    agreement = [_in_process("random", size) for size in RANDOM_SIZES]
    eight = agreement[-1]
    agreement += [_in_process("random-raw", 4000), _in_process("random-ct", 6000)]
    real = [_in_process("slide", name) for name in slide_names()]
    real += [_in_process("ct", name) for name in ct_names()]
    scaling = [_in_process("scale", size) for size in SCALING_SIZES]
    tumour = _in_process("tumour", TUMOUR_TOKENS)
    sizes, seconds = (np.log([row[key] for row in scaling]) for key in ("patches", "seconds"))
    figures = {
        "ratio_8k": eight["reference_seconds"] / eight["seconds"],
        "ratio_8k_linkage_alone": eight["reference_linkage"] / eight["seconds"],
        "seconds_8k": eight["seconds"],
        "adjusted_rand_min": min(row["adjusted_rand"] for row in (*agreement, *real)),
        "real_bags": len(real) if real else f"skipped: no real data in {DATA.name}/",
        "seconds_100k": scaling[-1]["seconds"],
        "peak_gb_100k": scaling[-1]["peak_gb"],
        "exponent": float(np.polyfit(sizes, seconds, 1)[0]),
        "seconds_tumour_200k": tumour["seconds"],
        "peak_gb_tumour_200k": tumour["peak_gb"],
        "nodes_tumour_200k": tumour["nodes"],
    }
    print(json.dumps(figures))


def _in_process(task: str, argument: str | int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.graph_building", "--task", task, str(argument)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    print(f"{task} {argument}:", json.dumps({name: _short(value) for name, value in row.items()}), flush=True)
    return row


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the time of the least disturbed of `REPEATS` runs (fewer where they are long), and the result."""
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < LONG_SECONDS:
        begin = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begin)
    return min(times), result


def _warm_up(bag: Bag) -> None:
    """Compile the kernels for this bag's types."""
    few = Bag(bag.modality, bag.features[:50], bag.positions[:50])
    build_graph(few, GraphSettings(), "image")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", nargs=2, metavar=("TASK", "ARGUMENT"), help="one measurement, as JSON")
    chosen = parser.parse_args().task
    if chosen is None:
        main()
    else:
        print(json.dumps(TASKS[chosen[0]](chosen[1])))
