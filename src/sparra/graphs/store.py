"""Graphs on disk: safetensors, whole or absent, opened as a memory map.

Tensors: ``features``, ``edge_index``, ``node_of_patch``, ``image_of_node`` and, where known, ``positions`` and
``spread``. The header's metadata hold one JSON text, ``sparra``, with ``format``, ``version``, ``modality``,
``images`` and ``provenance``: one, since safetensors writes several in any order, and equal graphs should be equal
files.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sparra.bags.bag import Modality
from sparra.errors import UserError
from sparra.files import atomic_path
from sparra.graphs.graph import GraphSize, SpatialGraph

FORMAT = "sparra-graph"
VERSION = 1

# Little-endian, as safetensors stores them.
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


def write_graph(path: Path, graph: SpatialGraph, dtype: Literal["float32", "float16"] = "float32") -> None:
    """Write a graph.

    Parameters
    ----------
    path : Path
    graph : SpatialGraph
    dtype : {"float32", "float16"}
        Precision of the node features on disk.

    Raises
    ------
    UserError
        If a feature is too large for `dtype`.
    """
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(graph.features, dtype=dtype)
    if not np.isfinite(features).all():
        raise UserError(f"a node feature is too large for {dtype}", path, "Store this graph with a wider type")
    tensors = {
        "features": features,
        "edge_index": np.ascontiguousarray(graph.edge_index),
        "node_of_patch": np.ascontiguousarray(graph.node_of_patch),
        "image_of_node": np.ascontiguousarray(graph.image_of_node),
    }
    for name, values in (("positions", graph.positions), ("spread", graph.spread)):
        if values is not None:
            tensors[name] = np.ascontiguousarray(values)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "modality": graph.modality,
        "images": graph.images,
        "provenance": dict(graph.provenance),
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"sparra": json.dumps(header, allow_nan=False)})


def read_graph(path: Path) -> SpatialGraph:
    """Read a graph, features in the precision they are stored in.

    Features are a read-only memory map: pages are read when they are used, and the system may drop them again. Each
    map keeps a file open, so whoever needs many graphs takes `GraphFiles`.

    Raises
    ------
    UserError
        If the file is absent, truncated, no graph of sparra's, of another version, or holds what is no graph: arrays
        that do not fit each other, or an index out of range.
    """
    with _opened(path) as (file, header):
        names = set(file.keys())
        graph = SpatialGraph(
            modality=header["modality"],
            features=_mapped(path, "features"),
            positions=file.get_tensor("positions") if "positions" in names else None,
            edge_index=file.get_tensor("edge_index"),
            node_of_patch=file.get_tensor("node_of_patch"),
            image_of_node=file.get_tensor("image_of_node"),
            images=tuple(header["images"]),
            provenance=header["provenance"],
            spread=file.get_tensor("spread") if "spread" in names else None,
        )
        _require_shapes(graph)
        _require_range("edge_index", graph.edge_index, len(graph), "nodes")
        _require_range("node_of_patch", graph.node_of_patch, len(graph), "nodes")
        _require_range("image_of_node", graph.image_of_node, len(graph.images), "images")
        return graph


def read_graph_size(path: Path) -> GraphSize:
    """Read how large a graph is, from the file's header alone.

    Raises
    ------
    UserError
        As `read_graph`.
    """
    with _opened(path) as (file, _):
        n_nodes, n_features = file.get_slice("features").get_shape()
        return GraphSize(n_nodes, n_features, file.get_slice("edge_index").get_shape()[1])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a graph and yield the file and sparra's own header."""
    mend = "Delete it and build the graph again"
    if not path.is_file():
        raise UserError("there is no such graph", path, "Correct the path or build the graph")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("sparra", "{}"))
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise UserError("this safetensors file is not a sparra graph", path, mend)
            if header["version"] != VERSION:
                raise UserError(f"the graph has version {header['version']}, not {VERSION}", path, mend)
            _require_header(header)
            yield file, header
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the graph cannot be read, it is damaged or no safetensors ({reason})", path, mend) from None


def _require_header(header: Mapping[str, Any]) -> None:
    images = header["images"]
    if header["modality"] not in get_args(Modality):
        raise ValueError(f"its modality is {header['modality']!r}")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise ValueError("its header holds no list of images")
    if not isinstance(header["provenance"], dict):
        raise ValueError("its header holds no provenance")


def _require_shapes(graph: SpatialGraph) -> None:
    """Check that the arrays fit each other; a dimension of any length is None."""
    nodes = len(graph)
    expected: dict[str, tuple[type, tuple[int | None, ...]]] = {
        "features": (np.floating, (nodes, None)),
        "edge_index": (np.int64, (2, None)),
        "node_of_patch": (np.int64, (None,)),
        "image_of_node": (np.int64, (nodes,)),
        "positions": (np.float64, (nodes, None)),
        "spread": (np.float64, (nodes,)),
    }
    for name, (kind, shape) in expected.items():
        values = getattr(graph, name)
        if values is None:
            continue
        fits = [length in (known, None) for length, known in zip(shape, values.shape, strict=False)]
        if values.ndim != len(shape) or not all(fits) or not np.issubdtype(values.dtype, kind):
            raise ValueError(f"{name} is {values.dtype} of shape {values.shape}, which fits no graph of {nodes} nodes")


def _require_range(name: str, index: NDArray[np.int64], count: int, of: str) -> None:
    """Check an index: kernels follow it without a look at the bounds, and would read foreign memory."""
    if index.size and (index.min() < 0 or index.max() >= count):
        raise ValueError(f"{name} names {index.min()} to {index.max()}, and there are {count} {of}")


class GraphFiles(Mapping[str, SpatialGraph]):
    """Graphs of one subject on disk, read anew each time one is asked for: none is held, and no file stays open.

    Parameters
    ----------
    paths : mapping of modality to Path
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.paths = dict(paths)
        self._sizes: dict[str, GraphSize] = {}

    def __getitem__(self, modality: str) -> SpatialGraph:
        return read_graph(self.paths[modality])

    def __contains__(self, modality: object) -> bool:
        return modality in self.paths

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def size(self, modality: str) -> GraphSize:
        """Return how large a graph is, without reading it."""
        if modality not in self._sizes:
            self._sizes[modality] = read_graph_size(self.paths[modality])
        return self._sizes[modality]


def _mapped(path: Path, name: str) -> NDArray[np.floating[Any]]:
    """Map one tensor of a safetensors file: 8 bytes with the header's length, the header, then the tensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
    shape = tuple(entry["shape"])
    return np.memmap(path, _DTYPES[entry["dtype"]], "r", 8 + length + entry["data_offsets"][0], shape)
