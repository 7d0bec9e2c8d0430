"""A graph drawn over its slide or CT."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sparra.bags.preview import Preview
from sparra.errors import UserError
from sparra.files import atomic_path
from sparra.graphs.graph import SpatialGraph

# Soft tissue: level 50, width 400 HU.
_WINDOW_HU = (-150, 250)
_EDGE_COLOUR = "#1f3b73"
_NODE_COLOUR = "#e4572e"


def draw_graph(
    graph: SpatialGraph,
    preview: Preview,
    path: Path,
    image: int = 0,
    colours: NDArray[np.uint8] | None = None,
    note: str = "",
) -> None:
    """Draw nodes and edges of one image to a PNG.

    A slide's graph lies over its thumbnail. Of a CT, the axial slice with the largest tumour is shown, with the
    nodes that lie within half a median edge of it. The area of a node's mark grows with its number of patches.

    Parameters
    ----------
    graph : SpatialGraph
    preview : Preview
        Picture of that image.
    path : Path
    image : int
        Index into `graph.images`.
    colours : ndarray of uint8, shape (n_nodes, 3), optional
        RGB of every node's mark, e.g. of its importance; one colour by default.
    note : str
        Written over the lower edge.

    Raises
    ------
    UserError
        If the graph has no positions.
    """
    if graph.positions is None:
        raise UserError("a graph without positions cannot be drawn", path, "Import the bag with its positions")
    pixels = preview.to_pixels(graph.positions)
    shown = graph.image_of_node == image
    if preview.modality == "ct":
        level = _largest_slice(preview)
        shown &= np.abs(pixels[:, 2] - level) * preview.spacing[2] <= max(_median_edge(graph) / 2, preview.spacing[2])
        background = np.clip(preview.pixels[level], *_WINDOW_HU)
        outline = None if preview.mask is None else preview.mask[level]
    else:
        background, outline = preview.pixels, None
    edges = graph.edge_index[:, shown[graph.edge_index].all(axis=0)]
    marks = _NODE_COLOUR if colours is None else colours[shown] / 255
    figure = _figure(background, outline, preview.spacing, pixels[:, :2], edges, shown, graph.member_counts, marks)
    if note:
        box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 3}
        figure.text(0.5, 0.01, note, ha="center", va="bottom", fontsize=9, wrap=True, bbox=box)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "sparra"})


def _largest_slice(preview: Preview) -> int:
    """Return the axial slice with the most mask, or the middle one without a mask."""
    if preview.mask is None or not preview.mask.any():
        return len(preview.pixels) // 2
    return int(preview.mask.sum(axis=(1, 2)).argmax())


def _median_edge(graph: SpatialGraph) -> float:
    if graph.positions is None or graph.edge_index.shape[1] == 0:
        return 0.0
    source, target = graph.positions[graph.edge_index]
    return float(np.median(np.linalg.norm(source - target, axis=1)))


def _figure(
    background: NDArray[Any],
    outline: NDArray[np.bool_] | None,
    spacing: tuple[float, ...],
    pixels: NDArray[np.float64],
    edges: NDArray[np.int64],
    shown: NDArray[np.bool_],
    counts: NDArray[np.int64],
    colours: str | NDArray[np.float64],
) -> Figure:
    height, width = background.shape[0] * spacing[1], background.shape[1] * spacing[0]
    scale = 10.0 / max(height, width)
    figure = Figure(figsize=(max(width * scale, 1), max(height * scale, 1)), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(background, cmap="gray", aspect=spacing[1] / spacing[0])
    if outline is not None and outline.any() and not outline.all():
        axes.contour(outline, levels=[0.5], colors="#ffd23f", linewidths=1)
    one_way = edges[:, edges[0] < edges[1]]
    # A pale line under the dark one keeps edges visible on dark and on light tissue.
    for colour, width_pt in (("white", 2.4), (_EDGE_COLOUR, 1.0)):
        axes.add_collection(LineCollection(list(pixels[one_way.T]), colors=colour, linewidths=width_pt))
    # Large enough to be seen, small enough not to cover one another.
    typical = np.clip(8000 / (1 + int(shown.sum())), 6, 120)
    area = typical * counts[shown] / float(np.median(counts))
    marks: dict[str, Any] = {"c": colours, "edgecolors": "white", "linewidths": 0.8, "zorder": 2}
    axes.scatter(pixels[shown, 0], pixels[shown, 1], s=area, **marks)
    axes.set_xlim(-0.5, background.shape[1] - 0.5)
    axes.set_ylim(background.shape[0] - 0.5, -0.5)
    axes.set_axis_off()
    return figure
