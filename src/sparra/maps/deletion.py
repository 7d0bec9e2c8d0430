"""Does a map name the nodes that the risk hangs on: what the risk does when they go, or are all that is left."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sparra.graphs.graph import SpatialGraph

FRACTIONS = (0.1, 0.25, 0.5)
RANDOM_DRAWS = 5
SMALLEST_GRAPH = 4

Graphs = Mapping[str, SpatialGraph]
#: From subjects' graphs by modality to their risks, on a scale on which 1 is a standard deviation.
RiskOf = Callable[[Sequence[Graphs]], NDArray[np.float64]]


@dataclass(frozen=True)
class Curves:
    """How far the risk moves from that of the whole graph, in standard deviations of risk.

    Attributes
    ----------
    fractions : ndarray, shape (F,)
        Share of nodes removed (deletion) or kept (insertion).
    deletion, insertion : ndarray, shape (F,)
        With nodes in the order of the map.
    random_deletion, random_insertion : ndarray, shape (F,)
        Mean over random orders.
    """

    fractions: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    random_deletion: NDArray[np.float64]
    random_insertion: NDArray[np.float64]

    @property
    def deletion_area(self) -> float:
        """Mean over the fractions of deletion less random deletion; above 0 if the map names what matters."""
        return float((self.deletion - self.random_deletion).mean())

    @property
    def insertion_area(self) -> float:
        """Mean over the fractions of random insertion less insertion; above 0 if the map names what matters."""
        return float((self.random_insertion - self.insertion).mean())


def with_nodes(graph: SpatialGraph, kept: NDArray[np.int64]) -> SpatialGraph:
    """Return the part of a graph that some nodes span.

    Edges with a removed end go, the others are numbered anew; nothing is joined across the gap. Patches of removed
    nodes go too.

    Parameters
    ----------
    graph : SpatialGraph
    kept : ndarray of int64
        Nodes, in any order; they keep the order of the graph.
    """
    kept = np.sort(kept)
    number = np.full(len(graph), -1, dtype=np.int64)
    number[kept] = np.arange(len(kept))
    edges = number[graph.edge_index]
    nodes = number[graph.node_of_patch]
    return replace(
        graph,
        features=np.asarray(graph.features)[kept],
        positions=None if graph.positions is None else graph.positions[kept],
        edge_index=edges[:, (edges >= 0).all(axis=0)],
        node_of_patch=nodes[nodes >= 0],
        image_of_node=graph.image_of_node[kept],
        spread=None if graph.spread is None else graph.spread[kept],
    )


def deletion_curves(
    graphs: Graphs,
    modality: str,
    importance: NDArray[np.float64],
    risk_of: RiskOf,
    generator: np.random.Generator,
    fractions: Sequence[float] = FRACTIONS,
) -> Curves | None:
    """Remove nodes of one modality in the order of the map, and in random orders, and see how the risk moves.

    At a fraction f of n nodes, k = round(f n), at least 1 and at most n - 1. Deletion removes the k most important,
    insertion keeps them alone; graphs of other modalities stay whole.

    Parameters
    ----------
    graphs : mapping of modality to SpatialGraph
        Of one subject.
    modality : str
        Whose nodes the map ranks.
    importance : ndarray, shape (n_nodes,)
    risk_of : callable
        From graphs to risks by a model that never saw the subject.
    generator : numpy Generator
    fractions : sequence of float

    Returns
    -------
    Curves or None
        None of a graph of fewer than `SMALLEST_GRAPH` nodes.
    """
    graph = graphs[modality]
    n = len(graph)
    if n < SMALLEST_GRAPH:
        return None
    counts = [min(max(round(f * n), 1), n - 1) for f in fractions]
    orders = [np.argsort(-importance, kind="stable"), *(generator.permutation(n) for _ in range(RANDOM_DRAWS))]
    variants = [graphs]
    for order in orders:
        for k in counts:
            variants += [{**graphs, modality: with_nodes(graph, part)} for part in (order[k:], order[:k])]
    risks = risk_of(variants)
    moved = np.abs(risks[1:] - risks[0]).reshape(len(orders), len(counts), 2)
    drawn = moved[1:].mean(axis=0)
    return Curves(np.asarray(fractions), moved[0, :, 0], moved[0, :, 1], drawn[:, 0], drawn[:, 1])


def mean_curves(curves: Sequence[Curves]) -> Curves:
    """Average the curves that several models give of one subject."""
    names = ("deletion", "insertion", "random_deletion", "random_insertion")
    means = [np.mean([getattr(one, name) for one in curves], axis=0) for name in names]
    return Curves(curves[0].fractions, *means)
