"""Parameters of a graph, in physical units, with the published values as defaults."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from sparra.bags.bag import Modality
from sparra.settings import Settings

FeatureMetric = Literal["standardised", "raw"]


class GraphSettings(Settings):
    """How patches become nodes, and nodes neighbours.

    The similarity of two patches nearer than `search_radius` is ``exp(-feature_rate * f) * exp(-distance_rate * d)``
    with d their distance and f the distance of their features; beyond the radius it is zero. Average linkage
    merges groups of patches while their mean similarity is at least ``1 - cut``; every group is a node.

    Lengths are micrometres for slides and millimetres for CT. What is left out (None) takes the published value of
    the bag's modality. For slides these are lengths, converted from pixels at 0.5 µm/px. For CT they are multiples
    of the *pitch*, the median distance of a patch to its nearest one: the published method makes a token of every
    voxel of 1.024 mm, and its radius of 4 voxels would hold no neighbour on a coarser grid.

    Attributes
    ----------
    distance_rate : float or None
        λ_d, per µm or mm. Published: 0.006 per µm; 0.2 per pitch.
    feature_rate : float or None
        λ_f, per unit of f. Published for ``raw``: 0.001 for slides, 0.1 for CT. For ``standardised`` see
        `STANDARDISED_FEATURE_RATE`.
    cut : float
        λ_h, between 0 and 1.
    search_radius : float or None
        Patches at this distance or farther have similarity zero. Published: 1000 µm; 4 pitches.
    connectivity : float or None
        Longest edge between two nodes. Published: 2000 µm; 8 pitches. At least 2 pitches where it is left out:
        slides in patches of 2 mm and more (HIPT's regions of 4096 px) would have no edge at all.
    feature_metric : {"standardised", "raw"}
        ``raw``: f is the Euclidean distance of the features as they are, as published; with features of small
        scale the clustering is then spatial alone. ``standardised``: features are divided by their standard
        deviation over the bag, constant ones are left out, and f is the root-mean-square difference over the rest,
        so that two unrelated patches lie about √2 apart whatever the encoder and its dimension.
    edges : {"delaunay", "knn", "radius"}
        Delaunay triangulation of the nodes; or `neighbours` nearest nodes; or all nodes. Each without edges longer
        than `connectivity`; for ``radius`` choose it, since the published length, a limit for Delaunay, joins
        hundreds of nodes to each. Bags without positions take the nearest nodes in the space of the features.
    neighbours : int
        Number of nearest nodes, where edges are made from these.
    memory_gb : float
        Memory (10⁹ bytes) that a worker may take for a subject's graph: itself, features, pairs of neighbouring
        patches, nodes and edges. A graph that could need more is refused with a sentence, before it is spent; the
        bounds are in `sparra.graphs.memory` and docs/graphs.md.
    """

    distance_rate: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    feature_rate: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    cut: float = Field(default=0.8, gt=0, lt=1)
    search_radius: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    connectivity: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    feature_metric: FeatureMetric = "standardised"
    edges: Literal["delaunay", "knn", "radius"] = "delaunay"
    neighbours: int = Field(default=8, ge=1)
    memory_gb: float = Field(default=8.0, gt=0, allow_inf_nan=False)

    def resolved(self, modality: Modality, pitch: float) -> "ResolvedSettings":
        """Return the settings with nothing left out, for a bag whose patches lie `pitch` (µm or mm) apart."""
        published = _PUBLISHED[modality]
        unit = pitch if published.in_pitches else 1.0
        rates = {"raw": published.raw_feature_rate, "standardised": STANDARDISED_FEATURE_RATE[modality]}
        return ResolvedSettings(
            distance_rate=_given(self.distance_rate, published.distance_rate / unit),
            feature_rate=_given(self.feature_rate, rates[self.feature_metric]),
            cut=self.cut,
            search_radius=_given(self.search_radius, published.search_radius * unit),
            connectivity=_given(self.connectivity, max(published.connectivity * unit, _LEAST_PITCHES * pitch)),
            feature_metric=self.feature_metric,
            memory_gb=self.memory_gb,
        )


@dataclass(frozen=True)
class ResolvedSettings:
    """The lengths and rates of `GraphSettings` with every value known; attributes as there."""

    distance_rate: float
    feature_rate: float
    cut: float
    search_radius: float
    connectivity: float
    feature_metric: FeatureMetric
    memory_gb: float = 8.0


@dataclass(frozen=True)
class _Published:
    distance_rate: float
    raw_feature_rate: float
    search_radius: float
    connectivity: float
    in_pitches: bool


# Slides: 3e-3 / 1e-3 / 2000 / 4000 in pixels of 0.5 µm. CT: 0.2 / 0.1 / 4 / 8 in voxels of 1.024 mm.
_PUBLISHED: dict[Modality, _Published] = {
    "slide": _Published(6e-3, 1e-3, 1000.0, 2000.0, in_pitches=False),
    "ct": _Published(0.2, 0.1, 4.0, 8.0, in_pitches=True),
}

_LEAST_PITCHES = 2.0

#: λ_f of the standardised metric, chosen so that the default encoders at their default patches give about 3 to 6 a
#: node: 3.5 and 3.9 on two real slides, 3.1 to 7.9 on seven real CTs. Smaller patches make larger nodes.
STANDARDISED_FEATURE_RATE: dict[Modality, float] = {"slide": 0.35, "ct": 2.0}


def default_graph_settings(modality: Modality) -> GraphSettings:
    """Return the default settings of a modality, with the published lengths written out where they are fixed."""
    published = _PUBLISHED[modality]
    if published.in_pitches:
        return GraphSettings()
    # The connectivity stays open: it is wider on a grid of more than half that length.
    return GraphSettings(distance_rate=published.distance_rate, search_radius=published.search_radius)


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
