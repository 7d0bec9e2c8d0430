"""Importance of a method as values of one image's patches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparra.bags.store import read_bag
from sparra.cohort.tables import subject_key
from sparra.errors import UserError
from sparra.graphs.store import read_graph
from sparra.report.overlay import focus_patch, patch_importance, patches_of_image
from sparra.report.patients import read_importance
from sparra.viewer.study import ViewedImage, ViewedStudy


@dataclass(frozen=True)
class Layer:
    """What is painted over an image.

    Attributes
    ----------
    positions : ndarray of float64, shape (n_patches, 2 or 3)
        Centres in µm (slide) or mm, LPS (CT).
    patch_size : tuple of float
    values : ndarray of float64, shape (n_patches,)
    highest : float
        Value that has the last colour; the first is 0.
    """

    positions: NDArray[np.float64]
    patch_size: tuple[float, ...]
    values: NDArray[np.float64]
    highest: float

    @property
    def focus(self) -> NDArray[np.float64]:
        """Centre of the most important patch."""
        centre: NDArray[np.float64] = self.positions[focus_patch(self.positions, self.values)]
        return centre


def importance_layer(study: ViewedStudy, image: ViewedImage, modality: str, aggregator: str) -> Layer | None:
    """Return the out-of-fold importance of one image's patches.

    Returns
    -------
    Layer or None
        None where the method has not used this image.

    Raises
    ------
    UserError
        If the method has not written importance, or the image's patches have no place or size.
    """
    fold = study.fold_of(modality, aggregator, image.subject_id)
    if fold is None:
        return None
    folder = study.layout.model(modality, aggregator, fold)
    nodes = read_importance(folder, f"{image.modality}/{image.subject_id}")
    if nodes is None:
        return None
    graph = read_graph(study.layout.graph(image.modality, subject_key(image.subject_id)))
    bag = read_bag(study.layout.bag(image.modality, image.key))
    if bag.positions is None or bag.patch_size is None:
        raise UserError("the features of this image came without positions or size of patches")
    values = patch_importance(graph, nodes)
    highest = float(values.max())
    values = values[patches_of_image(graph, graph.images.index(image.key))]
    if len(values) != len(bag):
        raise UserError(f"the graph was made of {len(values)} patches, but the bag now holds {len(bag)}")
    return Layer(bag.positions, bag.patch_size, values, highest)
