"""One row of numbers that describe a graph, made without any outcome, so that they may serve as covariates."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from sparra.graphs.graph import SpatialGraph
from sparra.modality import Modality

_MM_PER_UNIT: Mapping[Modality, float] = {"ct": 1.0, "slide": 1e-3}


def summarise_graph(graph: SpatialGraph) -> dict[str, Any]:
    """Describe the size and shape of a graph.

    Parameters
    ----------
    graph : SpatialGraph

    Returns
    -------
    dict
        ``images``, ``patches``, ``nodes``, ``edges`` (each pair once), ``components``, ``isolated_nodes``;
        ``mean_degree``, ``max_degree``; ``mean_node_size``, ``sd_node_size`` (of the population),
        ``median_node_size``, ``max_node_size`` in patches; ``degree_assortativity``; ``mean_edge_mm`` and
        ``mean_spread_mm``, in mm for slides as well; ``reason``, why a value is NaN, else empty.

    Notes
    -----
    Assortativity is Pearson's correlation of the degrees at both ends of an edge, over all edges in both
    directions (Newman, 2002).
    """
    degrees = np.bincount(graph.edge_index[0], minlength=len(graph))
    sizes = graph.member_counts
    reasons: list[str] = []
    return {
        "images": len(graph.images),
        "patches": len(graph.node_of_patch),
        "nodes": len(graph),
        "edges": graph.edge_index.shape[1] // 2,
        "components": _components(graph),
        "isolated_nodes": int((degrees == 0).sum()),
        "mean_degree": float(degrees.mean()),
        "max_degree": int(degrees.max()),
        "mean_node_size": float(sizes.mean()),
        "sd_node_size": float(sizes.std()),
        "median_node_size": float(np.median(sizes)),
        "max_node_size": int(sizes.max()),
        "degree_assortativity": _assortativity(degrees[graph.edge_index], reasons),
        "mean_edge_mm": _mean_edge(graph, reasons),
        "mean_spread_mm": _mean_spread(graph, reasons),
        "reason": "; ".join(reasons),
    }


def _components(graph: SpatialGraph) -> int:
    source, target = graph.edge_index
    adjacency = csr_array((np.ones(len(source), dtype=bool), (source, target)), shape=(len(graph), len(graph)))
    return int(connected_components(adjacency, directed=False, return_labels=False))


def _assortativity(degrees_at_ends: NDArray[np.int64], reasons: list[str]) -> float:
    """Correlate degrees, shape (2, n_edges), both directions of an edge given, so both rows hold the same values."""
    source, target = degrees_at_ends.astype(np.float64)
    if len(source) == 0 or np.ptp(source) == 0:
        reasons.append("degree_assortativity: no two edges differ in the degrees at their ends")
        return float("nan")
    centre = source.mean()
    return float(((source - centre) * (target - centre)).mean() / source.var())


def _mean_edge(graph: SpatialGraph, reasons: list[str]) -> float:
    if graph.positions is None or graph.edge_index.shape[1] == 0:
        reasons.append(f"mean_edge_mm: there are no {'edges' if graph.positions is not None else 'positions'}")
        return float("nan")
    source, target = graph.positions[graph.edge_index]
    return float(np.linalg.norm(source - target, axis=1).mean()) * _MM_PER_UNIT[graph.modality]


def _mean_spread(graph: SpatialGraph, reasons: list[str]) -> float:
    if graph.spread is None:
        reasons.append("mean_spread_mm: there are no positions")
        return float("nan")
    return float(graph.spread.mean()) * _MM_PER_UNIT[graph.modality]
