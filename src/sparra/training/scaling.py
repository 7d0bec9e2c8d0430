"""Standardisation of node features, fitted on training subjects only."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A feature whose spread is below this share of its size is taken as constant.
RELATIVE_SPREAD = 1e-6


@dataclass(frozen=True)
class FeatureScaler:
    """Location and spread of each feature of one modality.

    Attributes
    ----------
    mean : ndarray of float64, shape (n_features,)
    scale : ndarray of float64, shape (n_features,)
        Standard deviation; 1 for features that are constant over the training subjects.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, features_of_subjects: Iterable[NDArray[np.floating[Any]]]) -> "FeatureScaler":
        """Fit on the node features (n_nodes, n_features) of each training subject.

        Every subject weighs the same, however many nodes it has: a node counts 1 / (subjects × its subject's
        nodes). Pooling all nodes, as the released code does, lets large tumours set the scale.
        """
        features = [values.astype(np.float64) for values in features_of_subjects if len(values)]
        mean = np.mean([values.mean(axis=0) for values in features], axis=0)
        variance = np.mean([((values - mean) ** 2).mean(axis=0) for values in features], axis=0)
        scale = np.sqrt(variance)
        constant = scale <= RELATIVE_SPREAD * np.abs(mean) + np.finfo(np.float64).tiny
        return cls(mean, np.where(constant, 1.0, scale))

    def transform(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Standardise (n_nodes, n_features)."""
        return ((features.astype(np.float64) - self.mean) / self.scale).astype(np.float32)
