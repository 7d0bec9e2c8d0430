"""One subject's tissue of one modality as a spatial graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparra.bags.bag import Modality


class GraphSize(NamedTuple):
    """Numbers of nodes, of features of a node, and of edges (each direction counts)."""

    n_nodes: int
    n_features: int
    n_edges: int


@dataclass(frozen=True)
class SpatialGraph:
    """Nodes are clusters of neighbouring, similar patches; edges join neighbouring nodes.

    Attributes
    ----------
    modality : {"ct", "slide"}
    features : ndarray of float, shape (n_nodes, n_features)
        Mean of the member patches' features.
    positions : ndarray of float64, shape (n_nodes, 2) or (n_nodes, 3), or None
        Mean of the members' positions, unrounded, in the bag's unit (mm for CT, µm for slides).
    edge_index : ndarray of int64, shape (2, n_edges)
        Both directions of every edge, no self-loops, sorted by (source, target).
    node_of_patch : ndarray of int64, shape (n_patches,)
        Node that each patch of the bag (or of the bags, one after the other) belongs to.
    image_of_node : ndarray of int64, shape (n_nodes,)
        Index into `images` of the image each node lies in; graphs of several images are disconnected.
    images : tuple of str
        Keys of the images, in the order of their patches in `node_of_patch`.
    provenance : mapping
        JSON-ready: graph settings, encoder, hashes of the bags.
    spread : ndarray of float64, shape (n_nodes,), or None
        Root-mean-square distance of the members to the node's position, in the unit of `positions`: 0 for a node
        of one patch. None where there are no positions.
    """

    modality: Modality
    features: NDArray[np.floating[Any]]
    positions: NDArray[np.float64] | None
    edge_index: NDArray[np.int64]
    node_of_patch: NDArray[np.int64]
    image_of_node: NDArray[np.int64]
    images: tuple[str, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    spread: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def size(self) -> GraphSize:
        """Numbers of nodes, features and edges."""
        n_nodes, n_features = self.features.shape
        return GraphSize(n_nodes, n_features, self.edge_index.shape[1])

    @property
    def member_counts(self) -> NDArray[np.int64]:
        """Number of patches in each node, shape (n_nodes,)."""
        return np.bincount(self.node_of_patch, minlength=len(self)).astype(np.int64)

    @property
    def members(self) -> list[NDArray[np.int64]]:
        """Patches of each node, ascending, as indices into `node_of_patch`: one array a node."""
        by_node = np.argsort(self.node_of_patch, kind="stable").astype(np.int64)
        return np.split(by_node, np.cumsum(self.member_counts)[:-1])
