"""What building a graph needs in memory at most, known before it is spent.

Formulas are upper bounds in bytes; `tests/graphs/test_memory.py` measures them.
"""

from collections.abc import Mapping

from sparra.errors import UserError
from sparra.graphs.graph import SpatialGraph

#: A worker with its libraries, compiled code and buffers of fixed size; torch's build for CUDA, which takes 0.35 GB
#: more than that for processors alone, included.
WORKER_BYTES = 1_200_000_000
#: A patch without its features: positions, cells, the scratch of the linkage. Nodes are averaged in blocks of
#: `COLUMNS_AT_A_TIME` features, which take `COLUMN_BYTES` each.
PATCH_BYTES, COLUMN_BYTES = 500, 24
COLUMNS_AT_A_TIME = 64
#: A pair of neighbouring patches: value and column, in the rows of both.
PAIR_BYTES = 24
#: As `PAIR_BYTES`, where row pointers no longer fit 32 bits.
WIDE_PAIR_BYTES = 32
#: A node without its features, and its share of a Delaunay triangulation in the plane and in space.
NODE_BYTES = {2: 1000, 3: 5000}
#: An edge while edges are made, counted once: its ends, keys to sort, both directions.
EDGE_BYTES = 90
#: A number in a block of distances, with the work on it.
DISTANCE_BYTES = 24
#: A finished graph is held twice: when a subject's images are joined, and when it is written.
COPIES = 2


def patch_bytes(n_patches: int, n_features: int) -> int:
    """Return the memory of patches besides their features."""
    return n_patches * (PATCH_BYTES + COLUMN_BYTES * min(n_features, COLUMNS_AT_A_TIME))


def pair_bytes(n_pairs: int) -> int:
    """Return the memory of the sparse similarities of so many pairs."""
    return n_pairs * (PAIR_BYTES if 2 * n_pairs < 2**31 else WIDE_PAIR_BYTES)


def graph_bytes(graph: SpatialGraph) -> int:
    """Return the memory that a finished graph holds until it is written, joining included."""
    arrays = (graph.features, graph.positions, graph.edge_index, graph.node_of_patch, graph.image_of_node, graph.spread)
    return COPIES * sum(array.nbytes for array in arrays if array is not None)


def refuse_above(limit_gb: float, parts: Mapping[str, float], mend: str) -> None:
    """Refuse what does not fit.

    Parameters
    ----------
    limit_gb : float
        `GraphSettings.memory_gb`, in 10⁹ bytes.
    parts : mapping of str to float
        Bytes by what needs them; those of the worker itself come on top.
    mend : str

    Raises
    ------
    UserError
        If all parts together exceed the limit.
    """
    needed = (WORKER_BYTES + sum(parts.values())) / 1e9
    if needed <= limit_gb:
        return
    named = ", ".join(f"{size / 1e9:.3g} for {name}" for name, size in parts.items() if size >= 1e-3 * needed * 1e9)
    raise UserError(
        f"the graph needs up to {needed:.3g} GB of memory ({WORKER_BYTES / 1e9:.3g} for the worker, {named}), "
        f"more than memory_gb ({limit_gb:g})",
        mend=f"{mend}, or raise memory_gb if the machine has that much for each worker",
    )
