"""Importance of nodes as scores of patches; independent of any study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from sparra.bags.bag import Bag
from sparra.errors import UserError
from sparra.graphs.graph import SpatialGraph
from sparra.modality import Modality

Normalisation = Literal["none", "rank", "minmax"]
FloatArray = NDArray[np.float64]

HALF = 0.5
UNKNOWN_SPREAD = "unknown: one model, and it stored no posterior spread"


@dataclass(frozen=True)
class NodeScores:
    """Importance of the nodes of one subject and modality, averaged over models that never saw the subject.

    Attributes
    ----------
    score : ndarray of float64, shape (n_nodes,)
        Mean over the models; sums to one.
    score_sd : ndarray of float64, shape (n_nodes,)
        NaN where it is not known.
    n_models : int
    spread : str
        What `score_sd` holds, or why it is not known.
    by_model : tuple of ndarray of float64, each of shape (n_nodes,)
        What each model said.
    """

    score: FloatArray
    score_sd: FloatArray
    n_models: int
    spread: str
    by_model: tuple[FloatArray, ...] = ()


@dataclass(frozen=True)
class ImageScores:
    """Scores of the patches of one image, in the order of its bag.

    Attributes
    ----------
    image_key : str
    modality : {"ct", "slide"}
    positions : ndarray of float64, shape (n_patches, 2) or (n_patches, 3)
        Centres of the patches as in the bag: µm from the slide's top-left corner, or mm in LPS.
    patch_size : tuple of float
        Sides of a patch in the same unit and order of axes.
    node_of_patch : ndarray of int64, shape (n_patches,)
        Node of the subject's graph that each patch belongs to.
    score : ndarray of float64, shape (n_patches,)
        Importance of the patch's node: over the nodes, not the patches, of all images of a subject and modality it
        sums to one, unless normalised.
    score_sd : ndarray of float64, shape (n_patches,)
        Its standard deviation; NaN where it is not known.
    n_models : int
        Models averaged.
    spread : str
        What `score_sd` holds, or why it is not known.
    normalisation : {"none", "rank", "minmax"}
        What was done to `score`.
    provenance : mapping
        The bag's.
    """

    image_key: str
    modality: Modality
    positions: FloatArray
    patch_size: tuple[float, ...]
    node_of_patch: NDArray[np.int64]
    score: FloatArray
    score_sd: FloatArray
    n_models: int = 1
    spread: str = UNKNOWN_SPREAD
    normalisation: Normalisation = "none"
    provenance: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.score)


def combine_models(scores: Sequence[NDArray[Any]], deviations: Sequence[NDArray[Any] | None]) -> NodeScores:
    r"""Average the importance that several models give, and join their spreads.

    By the law of total variance, :math:`\mathrm{sd}^2 = \overline{\sigma_m^2} + \mathrm{Var}_m(\mu_m)`: the mean of
    the models' posterior variances and the variance between the models (divided by their number).

    Parameters
    ----------
    scores : sequence of ndarray, each of shape (n_nodes,)
        Importance by each model; at least one.
    deviations : sequence of ndarray or None
        Posterior standard deviation by each model, where it has one. If any lacks it, only the variance between
        models counts.

    Raises
    ------
    UserError
        If there is no model, or the models differ in their number of nodes.
    """
    if not scores:
        raise UserError("no model gives an importance")
    if len({len(values) for values in scores}) > 1:
        raise UserError("the models' importance is of different graphs", mend="Train the models again")
    stacked = np.stack([np.asarray(values, dtype=np.float64) for values in scores])
    known = [np.asarray(sd, dtype=np.float64) for sd in deviations if sd is not None]
    n_models = len(stacked)
    variance = stacked.var(axis=0)
    spread = f"between {n_models} models"
    if len(known) == n_models:
        variance = variance + (np.stack(known) ** 2).mean(axis=0)
        spread = "posterior" if n_models == 1 else f"posterior, and between {n_models} models"
    elif n_models == 1:
        variance, spread = np.full(stacked.shape[1], np.nan), UNKNOWN_SPREAD
    return NodeScores(stacked.mean(axis=0), np.sqrt(variance), n_models, spread, tuple(stacked))


def patch_importance(graph: SpatialGraph, node_importance: NDArray[Any]) -> FloatArray:
    """Give each patch the importance of its node.

    A model weighs nodes, whatever their size. Divided by a node's number of patches, importance would tell as much
    of how small the node is as of its weight: nodes at the rim would be the brightest.

    Parameters
    ----------
    graph : SpatialGraph
    node_importance : ndarray, shape (n_nodes,)
        Summing to one over the nodes of a subject and modality.

    Returns
    -------
    ndarray of float64, shape (n_patches,)
    """
    of_patch: FloatArray = node_importance.astype(np.float64)[graph.node_of_patch]
    return of_patch


def most_important(
    score: NDArray[np.float64], node_of_patch: NDArray[np.int64], share: float = HALF
) -> NDArray[np.bool_]:
    """Mark the patches of the fewest nodes that together hold `share` of the importance; of equal ones the earlier.

    Parameters
    ----------
    score : ndarray, shape (n_patches,)
        Of an image: the importance of each patch's node.
    node_of_patch : ndarray of int64, shape (n_patches,)
    share : float
        Of the image's sum over nodes.

    Returns
    -------
    ndarray of bool, shape (n_patches,)
    """
    _, first, number = np.unique(node_of_patch, return_index=True, return_inverse=True)
    values = score[first]
    order = np.argsort(-values, kind="stable")
    held = np.cumsum(values[order])
    count = int(np.searchsorted(held, held[-1] * share * (1 - 1e-9))) + 1
    marked = np.zeros(len(values), dtype=bool)
    marked[order[:count]] = True
    of_patch: NDArray[np.bool_] = marked[number]
    return of_patch


def patches_of_image(graph: SpatialGraph, image: int) -> NDArray[np.int64]:
    """Return the indices into ``graph.node_of_patch`` of one image's patches, in the order of its bag."""
    return np.flatnonzero(graph.image_of_node[graph.node_of_patch] == image)


def image_scores(graph: SpatialGraph, nodes: NodeScores, bag: Bag, image: int = 0) -> ImageScores:
    """Give the patches of one image of a graph the scores of their nodes.

    Parameters
    ----------
    graph : SpatialGraph
        Of the subject and modality.
    nodes : NodeScores
        Of that graph; of one model's prediction, ``combine_models([importance], [importance_sd])``.
    bag : Bag
        Of that image.
    image : int
        Index into ``graph.images``.

    Raises
    ------
    UserError
        If the bag has no positions or patch size, or graph, importance and bag do not belong together.
    """
    if len(nodes.score) != len(graph):
        raise UserError(
            f"the importance has {len(nodes.score)} values for {len(graph)} nodes", mend="Train the models again"
        )
    if bag.positions is None or bag.patch_size is None:
        missing = "positions" if bag.positions is None else "the size of its patches"
        raise UserError(f"no map: the image's features came without {missing}", graph.images[image])
    patches = patches_of_image(graph, image)
    if len(patches) != len(bag):
        raise UserError(
            f"its graph was made of {len(patches)} patches, but its bag now holds {len(bag)}",
            graph.images[image],
            "Build the graph again",
        )
    return ImageScores(
        image_key=graph.images[image],
        modality=graph.modality,
        positions=bag.positions,
        patch_size=tuple(bag.patch_size),
        node_of_patch=graph.node_of_patch[patches],
        score=patch_importance(graph, nodes.score)[patches],
        score_sd=patch_importance(graph, nodes.score_sd)[patches],
        n_models=nodes.n_models,
        spread=nodes.spread,
        provenance=bag.provenance,
    )


def normalised(scores: ImageScores, how: Normalisation) -> ImageScores:
    """Return the scores as they are, as ranks, or stretched to [0, 1], and keep which.

    ``rank`` gives r / n with ties sharing their mean rank, in (0, 1]; ``minmax`` gives (s - min) / (max - min), 0
    throughout where all are equal. Both are within one image. The standard deviation is scaled along in ``minmax``
    and not defined (NaN) for ranks.
    """
    if how == "none":
        return scores
    if how == "rank":
        ranks = rankdata(scores.score) / len(scores)
        return replace(scores, score=ranks, score_sd=np.full(len(scores), np.nan), normalisation=how)
    low, high = float(scores.score.min()), float(scores.score.max())
    width = high - low
    stretched = (scores.score - low) / width if width > 0 else np.zeros(len(scores))
    sd = scores.score_sd / width if width > 0 else np.full(len(scores), np.nan)
    return replace(scores, score=stretched, score_sd=sd, normalisation=how)
