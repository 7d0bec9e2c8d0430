"""Does a map name the nodes that the risk hangs on: what the risk does when they go, and when they come back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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
        Share of nodes blanked (deletion), put back (insertion) or cut out (removal).
    deletion, insertion, removal : ndarray, shape (F,)
        With nodes in the order of the map.
    random_deletion, random_insertion, random_removal : ndarray, shape (F,)
        Mean over random orders.
    """

    fractions: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    removal: NDArray[np.float64]
    random_deletion: NDArray[np.float64]
    random_insertion: NDArray[np.float64]
    random_removal: NDArray[np.float64]

    @property
    def deletion_area(self) -> float:
        """Mean over the fractions of deletion less random deletion; above 0 if the map names what matters."""
        return float((self.deletion - self.random_deletion).mean())

    @property
    def insertion_area(self) -> float:
        """Mean over the fractions of random insertion less insertion; above 0 if the map names what matters."""
        return float((self.random_insertion - self.insertion).mean())

    @property
    def removal_area(self) -> float:
        """Mean over the fractions of removal less random removal."""
        return float((self.removal - self.random_removal).mean())


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


def with_features(graph: SpatialGraph, kept: NDArray[np.int64], blank: NDArray[np.floating[Any]]) -> SpatialGraph:
    """Return a graph in which all nodes but those of `kept` bear the features `blank`; all else stays."""
    features = np.repeat(blank[None].astype(graph.features.dtype), len(graph), axis=0)
    features[kept] = graph.features[kept]
    return replace(graph, features=features)


def deletion_curves(
    graphs: Graphs,
    modality: str,
    importance: NDArray[np.float64],
    risk_of: RiskOf,
    blank: NDArray[np.floating[Any]],
    generator: np.random.Generator,
    fractions: Sequence[float] = FRACTIONS,
) -> Curves | None:
    """Take what one modality's nodes say away, in the order of the map and in random orders; see how the risk moves.

    A node is blanked by giving it the features `blank`; its place and edges stay. At a fraction f of n nodes,
    k = round(f n), at least 1 and at most n - 1. Deletion blanks the k most important; insertion blanks all, and puts
    the k most important back (Petsiuk et al. 2018). Removal cuts the k out of the graph. Other modalities stay whole.

    Nodes are blanked, not cut out, since a model averages over nodes. Of an average the nodes that are left are a
    sample: a random one is unbiased and keeps the risk better than any that was chosen for its importance, and to
    leave out the least important nodes moves it as well. So the k most important alone, as insertion, would fail the
    true map, and removal would pass its inverse.

    Parameters
    ----------
    graphs : mapping of modality to SpatialGraph
        Of one subject.
    modality : str
        Whose nodes the map ranks.
    importance : ndarray, shape (n_nodes,)
    risk_of : callable
        From graphs to risks by a model that never saw the subject.
    blank : ndarray, shape (n_features,)
        Features of a node that tells nothing: the mean over the model's training nodes.
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
    if blank.shape != (graph.features.shape[1],):
        raise ValueError(f"a blank node of {blank.shape} features for nodes of {graph.features.shape[1]}")
    counts = [min(max(round(f * n), 1), n - 1) for f in fractions]
    orders = [np.argsort(-importance, kind="stable"), *(generator.permutation(n) for _ in range(RANDOM_DRAWS))]
    variants = [graphs]
    for order in orders:
        for k in counts:
            blanked = with_features(graph, order[k:], blank), with_features(graph, order[:k], blank)
            variants += [{**graphs, modality: part} for part in (*blanked, with_nodes(graph, order[k:]))]
    risks = risk_of(variants)
    moved = np.abs(risks[1:] - risks[0]).reshape(len(orders), len(counts), 3)
    drawn = moved[1:].mean(axis=0)
    return Curves(np.asarray(fractions), *moved[0].T, *drawn.T)


def mean_curves(curves: Sequence[Curves]) -> Curves:
    """Average the curves that several models give of one subject."""
    names = ("deletion", "insertion", "removal")
    means = {
        name: np.mean([getattr(one, name) for one in curves], axis=0)
        for name in (*names, *(f"random_{name}" for name in names))
    }
    return Curves(curves[0].fractions, **means)
