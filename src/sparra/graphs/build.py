"""From bags to the graph of a subject."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparra.bags.bag import Bag
from sparra.errors import UserError
from sparra.graphs.cluster import cluster_patches
from sparra.graphs.edges import (
    DISTANCES_AT_A_TIME,
    Edges,
    count_within,
    delaunay_edges,
    feature_edges,
    nearest_edges,
    radius_edges,
)
from sparra.graphs.graph import SpatialGraph
from sparra.graphs.memory import (
    COLUMNS_AT_A_TIME,
    COPIES,
    DISTANCE_BYTES,
    EDGE_BYTES,
    NODE_BYTES,
    patch_bytes,
    refuse_above,
)
from sparra.graphs.settings import GraphSettings, ResolvedSettings
from sparra.graphs.similarity import median_pitch

Real = TypeVar("Real", np.float32, np.float64)


@dataclass(frozen=True)
class _Clusters:
    """The nodes of one image; attributes as in `SpatialGraph`."""

    features: NDArray[np.floating[Any]]
    positions: NDArray[np.float64] | None
    spread: NDArray[np.float64] | None
    node_of_patch: NDArray[np.int64]


def build_graph(bag: Bag, settings: GraphSettings, image_key: str, held_bytes: float = 0) -> SpatialGraph:
    """Cluster the patches of one image into nodes and join neighbouring nodes.

    Parameters
    ----------
    bag : Bag
        Without positions, every patch is a node and edges join the most similar features.
    settings : GraphSettings
    image_key : str
        Names the image in the graph.
    held_bytes : float
        Memory that the graphs of the subject's other images hold, see `sparra.graphs.memory.graph_bytes`.

    Returns
    -------
    SpatialGraph
        Features in float32. Its provenance holds ``encoder`` and ``feature_names``, which must agree where graphs
        are merged, and by image key the bag's provenance, patch size, pitch and the values of every parameter used.

    Raises
    ------
    UserError
        If the worker would need more memory than `settings.memory_gb`; before it is spent.
    """
    if bag.positions is None:
        return _graph_of_features(bag, settings, image_key, held_bytes)
    pitch = median_pitch(bag.positions)
    resolved = settings.resolved(bag.modality, pitch)
    node_of_patch = cluster_patches(bag.features, bag.positions, resolved, held_bytes)
    # Summed in the order of positions, so that the order of the input does not show even in the last bit.
    order = np.lexsort(bag.positions.T)
    positions = _means(bag.positions, node_of_patch, order, np.float64)
    _check_memory(bag, positions, settings, resolved, held_bytes)
    features = _means(bag.features, node_of_patch, order, np.float32)
    spread = _spread(bag.positions, positions, node_of_patch, order)
    edges = _edges(positions, settings, resolved)
    used = {**asdict(resolved), "edges": settings.edges, "neighbours": settings.neighbours, "pitch": pitch}
    return _graph(bag, _Clusters(features, positions, spread, node_of_patch), edges, image_key, used)


def _graph_of_features(bag: Bag, settings: GraphSettings, image_key: str, held_bytes: float) -> SpatialGraph:
    n_edges = len(bag) * min(settings.neighbours, len(bag) - 1)
    parts = {
        # As stored, in float32, and standardised in float64; later a copy of the second is written.
        "features": bag.features.size * (bag.features.itemsize + 4 + 8),
        f"{n_edges} edges": n_edges * EDGE_BYTES + max(DISTANCES_AT_A_TIME, len(bag)) * DISTANCE_BYTES,
        "graphs of the subject's other images": held_bytes,
    }
    refuse_above(settings.memory_gb, parts, "Take patches farther apart, lower neighbours")
    features = bag.features.astype(np.float32)
    edges = feature_edges(features, settings.neighbours, settings.feature_metric)
    used: dict[str, Any] = {"feature_metric": settings.feature_metric, "neighbours": settings.neighbours}
    return _graph(bag, _Clusters(features, None, None, np.arange(len(bag))), edges, image_key, used)


def _check_memory(
    bag: Bag,
    positions: NDArray[np.float64],
    settings: GraphSettings,
    resolved: ResolvedSettings,
    held_bytes: float,
) -> None:
    """Refuse a graph whose nodes and edges need too much, now that they are counted."""
    n_nodes, n_dimensions = positions.shape
    n_edges = 0
    if settings.edges == "knn":
        n_edges = n_nodes * min(settings.neighbours, n_nodes - 1)
    elif settings.edges == "radius":
        n_edges = count_within(positions, resolved.connectivity)
    parts = {
        "features": bag.features.nbytes,
        "patches": patch_bytes(*bag.features.shape),
        f"{n_nodes} nodes": n_nodes * (COPIES * 4 * bag.features.shape[1] + NODE_BYTES[n_dimensions]),
        f"{n_edges} edges": n_edges * EDGE_BYTES,
        "graphs of the subject's other images": held_bytes,
    }
    mend = "Lower connectivity or neighbours" if n_edges else "Take patches farther apart"
    refuse_above(settings.memory_gb, parts, mend)


def merge_graphs(graphs: Sequence[SpatialGraph]) -> SpatialGraph:
    """Join the graphs of a subject's images into one graph without edges between the images.

    Parameters
    ----------
    graphs : sequence of SpatialGraph
        Of one modality and encoder; at least one.

    Returns
    -------
    SpatialGraph
        Nodes, patches and images in the order of `graphs`.

    Raises
    ------
    UserError
        If they differ in modality, encoder or features, if only some have positions, or an image occurs twice.
    """
    first = graphs[0]
    if len(graphs) == 1:
        return first
    for other in graphs[1:]:
        _check_same_kind(first, other)
    images = tuple(image for graph in graphs for image in graph.images)
    if len(set(images)) < len(images):
        raise UserError(f"an image occurs twice among {', '.join(images)}", mend="Give each image one row")
    nodes_before = np.cumsum([0, *map(len, graphs)])
    images_before = np.cumsum([0, *(len(graph.images) for graph in graphs)])
    positions = [graph.positions for graph in graphs if graph.positions is not None]
    spreads = [graph.spread for graph in graphs if graph.spread is not None]
    provenance = {key: first.provenance[key] for key in ("encoder", "feature_names") if key in first.provenance}
    by_image = {key: value for graph in graphs for key, value in graph.provenance.get("images", {}).items()}
    return SpatialGraph(
        modality=first.modality,
        features=np.concatenate([graph.features for graph in graphs]),
        positions=np.concatenate(positions) if positions else None,
        edge_index=np.concatenate([g.edge_index + n for g, n in zip(graphs, nodes_before, strict=False)], axis=1),
        node_of_patch=np.concatenate([g.node_of_patch + n for g, n in zip(graphs, nodes_before, strict=False)]),
        image_of_node=np.concatenate([g.image_of_node + n for g, n in zip(graphs, images_before, strict=False)]),
        images=images,
        provenance={**provenance, "images": by_image},
        spread=np.concatenate(spreads) if len(spreads) == len(graphs) else None,
    )


def _edges(positions: NDArray[np.float64], settings: GraphSettings, resolved: ResolvedSettings) -> Edges:
    if settings.edges == "knn":
        return nearest_edges(positions, settings.neighbours, resolved.connectivity)
    if settings.edges == "radius":
        return radius_edges(positions, resolved.connectivity)
    return delaunay_edges(positions, resolved.connectivity)


def _means(
    values: NDArray[Any], node_of_patch: NDArray[np.int64], order: NDArray[np.intp], dtype: type[Real]
) -> NDArray[Real]:
    """Return the mean over each node's patches, shape (n_nodes, n_columns), summed in float64."""
    counts = np.bincount(node_of_patch)
    nodes = node_of_patch[order]
    shape = (len(counts), len(order))
    averaging = csr_array((1.0 / counts[nodes], (nodes, np.arange(len(order)))), shape=shape)
    means = np.empty((len(counts), values.shape[1]), dtype=dtype)
    for start in range(0, values.shape[1], COLUMNS_AT_A_TIME):
        columns = slice(start, start + COLUMNS_AT_A_TIME)
        means[:, columns] = averaging @ values[order, columns].astype(np.float64)
    return means


def _spread(
    of_patches: NDArray[np.float64],
    of_nodes: NDArray[np.float64],
    node_of_patch: NDArray[np.int64],
    order: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return √(mean |x_i - x_node|²) over each node's patches, shape (n_nodes,)."""
    nodes = node_of_patch[order]
    squares = ((of_patches[order] - of_nodes[nodes]) ** 2).sum(axis=1)
    spread: NDArray[np.float64] = np.sqrt(np.bincount(nodes, squares) / np.bincount(nodes))
    return spread


def _graph(bag: Bag, clusters: _Clusters, edges: Edges, image_key: str, used: dict[str, Any]) -> SpatialGraph:
    patch_size = None if bag.patch_size is None else list(bag.patch_size)
    image = {"bag": dict(bag.provenance), "patch_size": patch_size, "graph": used}
    provenance = {
        "encoder": bag.provenance.get("encoder"),
        "feature_names": list(bag.feature_names),
        "images": {image_key: image},
    }
    return SpatialGraph(
        modality=bag.modality,
        features=clusters.features,
        positions=clusters.positions,
        edge_index=edges,
        node_of_patch=clusters.node_of_patch,
        image_of_node=np.zeros(len(clusters.features), dtype=np.int64),
        images=(image_key,),
        provenance=provenance,
        spread=clusters.spread,
    )


def _check_same_kind(one: SpatialGraph, other: SpatialGraph) -> None:
    def kind(graph: SpatialGraph) -> dict[str, Any]:
        return {
            "modality": graph.modality,
            "number of features": graph.features.shape[1],
            "encoder": graph.provenance.get("encoder"),
            "feature names": graph.provenance.get("feature_names"),
            "positions": "absent" if graph.positions is None else "present",
        }

    ours, theirs = kind(one), kind(other)
    for name, value in ours.items():
        if value != theirs[name]:
            told = "differ" if name == "feature names" else f"are {value} and {theirs[name]}"
            raise UserError(
                f"images of one subject do not go together: {name} {told}",
                where=f"{one.images[0]} and {other.images[0]}",
                mend="Extract all images of a modality with the same settings",
            )
