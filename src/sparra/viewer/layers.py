"""Importance of a method, and its standard deviation, as values of one image's patches."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sparra.bags.store import read_bag
from sparra.cohort.tables import subject_key
from sparra.graphs.store import read_graph
from sparra.maps.out_of_fold import out_of_fold_scores
from sparra.maps.scores import image_scores
from sparra.report.overlay import focus_patch
from sparra.viewer.study import ViewedImage, ViewedStudy

Kind = Literal["importance", "sd"]


@dataclass(frozen=True)
class Layer:
    """What can be painted over an image.

    Attributes
    ----------
    positions : ndarray of float64, shape (n_patches, 2 or 3)
        Centres in µm (slide) or mm, LPS (CT).
    patch_size : tuple of float
    score, score_sd : ndarray of float64, shape (n_patches,)
        Importance and its standard deviation; NaN where that is not known.
    spread : str
        What `score_sd` holds, or why it is not known.
    """

    positions: NDArray[np.float64]
    patch_size: tuple[float, ...]
    score: NDArray[np.float64]
    score_sd: NDArray[np.float64]
    spread: str

    @property
    def focus(self) -> NDArray[np.float64]:
        """Centre of the most important patch."""
        centre: NDArray[np.float64] = self.positions[focus_patch(self.positions, self.score)]
        return centre

    @property
    def has_sd(self) -> bool:
        """Whether the standard deviation is known."""
        return bool(np.isfinite(self.score_sd).all())

    def values(self, kind: str) -> NDArray[np.float64]:
        """Return the values called ``importance`` or ``sd``.

        Raises
        ------
        KeyError
            For any other name, or a standard deviation that is not known.
        """
        known = {"importance": self.score, **({"sd": self.score_sd} if self.has_sd else {})}
        return known[kind]


def layer_of(study: ViewedStudy, image: ViewedImage, modality: str, aggregator: str) -> Layer | None:
    """Return the importance of one image's patches, averaged over the models that have not seen the patient.

    Returns
    -------
    Layer or None
        None where no such model has used this image.

    Raises
    ------
    UserError
        If a file is damaged, or the image's patches have no place or size.
    """
    folders = [study.layout.model(modality, aggregator, fold) for fold in study.folds(modality, aggregator)]
    nodes = out_of_fold_scores(folders, image.modality, image.subject_id)
    if nodes is None:
        return None
    graph = read_graph(study.layout.graph(image.modality, subject_key(image.subject_id)))
    bag = read_bag(study.layout.bag(image.modality, image.key))
    scores = image_scores(graph, nodes, bag, graph.images.index(image.key))
    return Layer(scores.positions, scores.patch_size, scores.score, scores.score_sd, scores.spread)
