"""Loading a slide's graph: the released code's JSON layout against ours.

``python -m benchmarks.graph_loading`` writes one graph of 10,000 nodes × 1,024 features with eight neighbours a node in
both layouts and prints one JSON line: ``ratio``, the seconds to parse the JSON and make arrays over the seconds of
`read_graph` with every page of its arrays touched; ``ratio_untouched``, the same for `read_graph` alone, whose
pages are read only when used. Both files are in the page cache; the best of several runs counts.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.parts.joint_batch import grid_edges
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.store import read_graph, write_graph

HEIGHT, WIDTH, N_FEATURES = 100, 100, 1024
PAGE = 4096


def make_graph() -> SpatialGraph:
    n_nodes = HEIGHT * WIDTH
    features = np.random.default_rng(0).normal(size=(n_nodes, N_FEATURES)).astype(np.float32)
    place = np.stack(np.divmod(np.arange(n_nodes), WIDTH), axis=1) * 256.0
    nodes = np.arange(n_nodes)
    return SpatialGraph(
        "slide", features, place, grid_edges(HEIGHT, WIDTH).numpy(), nodes, np.zeros_like(nodes), ("image",)
    )


def write_json_layout(path: Path, graph: SpatialGraph) -> None:
    """Write what the released code writes: lists of features, edges and coordinates."""
    content = {
        "x": graph.features.tolist(),
        "edge_index": graph.edge_index.tolist(),
        "coordinates": np.asarray(graph.positions).tolist(),
    }
    path.write_text(json.dumps(content))


def read_json_layout(path: Path) -> dict[str, np.ndarray]:
    content = json.loads(path.read_text())
    return {
        "x": np.array(content["x"], dtype=np.float32),
        "edge_index": np.array(content["edge_index"], dtype=np.int64),
        "coordinates": np.array(content["coordinates"], dtype=np.float64),
    }


def touch(graph: SpatialGraph) -> int:
    """Read a byte of every page."""
    arrays = (graph.features, graph.edge_index, graph.positions, graph.node_of_patch, graph.image_of_node)
    return sum(int(array.reshape(-1).view(np.uint8)[::PAGE].sum()) for array in arrays if array is not None)


def best_seconds(action: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    graph = make_graph()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        plain, ours, half = Path(folder) / "g.json", Path(folder) / "g.safetensors", Path(folder) / "h.safetensors"
        write_json_layout(plain, graph)
        write_graph(ours, graph)
        write_graph(half, graph, "float16")
        np.testing.assert_array_equal(read_json_layout(plain)["x"], read_graph(ours).features)
        json_seconds = best_seconds(lambda: read_json_layout(plain), 3)
        for name, path in (("float32", ours), ("float16", half)):
            figures[f"ratio_{name}"] = json_seconds / best_seconds(lambda path=path: touch(read_graph(path)), 20)
        figures["ratio"] = figures["ratio_float32"]
        figures["ratio_untouched"] = json_seconds / best_seconds(lambda: read_graph(ours), 20)
        figures["json_seconds"] = json_seconds
        figures["json_megabytes"] = plain.stat().st_size / 1e6
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
