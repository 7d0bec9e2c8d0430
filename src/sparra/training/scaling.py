"""Standardisation of node features, fitted on training subjects only."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A feature whose spread is below this share of its size is taken as constant.
RELATIVE_SPREAD = 1e-6
# Values worked on at a time in float64: they stay in the cache, and a giant slide costs no copy.
VALUES_AT_A_TIME = 2**16


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

        Parameters
        ----------
        features_of_subjects : iterable, not an iterator
            Gone through twice, one subject in memory at a time.
        """
        if isinstance(features_of_subjects, Iterator):
            raise TypeError("an iterator can be gone through only once")
        mean = _mean_over_subjects(features_of_subjects, lambda rows: rows)
        variance = _mean_over_subjects(features_of_subjects, lambda rows: (rows - mean) ** 2)
        scale = np.sqrt(variance)
        constant = scale <= RELATIVE_SPREAD * np.abs(mean) + np.finfo(np.float64).tiny
        return cls(mean, np.where(constant, 1.0, scale))

    def transform(self, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Standardise (n_nodes, n_features)."""
        standardised = np.empty(features.shape, dtype=np.float32)
        for rows in _blocks(features):
            values = np.subtract(features[rows], self.mean, dtype=np.float64)
            standardised[rows] = np.divide(values, self.scale, out=values)
        return standardised


def _mean_over_subjects(
    features_of_subjects: Iterable[NDArray[np.floating[Any]]],
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return the mean over subjects of the mean of `function` over their nodes, shape (n_features,).

    Rows are added one after the other, as NumPy does along the first axis, so that blocks do not show in the result.
    """
    total, n_subjects = np.zeros(1), 0
    for features in features_of_subjects:
        if len(features):
            total, n_subjects = total + _mean_over_nodes(features, function), n_subjects + 1
    return total / n_subjects


def _mean_over_nodes(
    features: NDArray[np.floating[Any]], function: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    total = np.zeros((1, features.shape[1]))
    for rows in _blocks(features):
        values = function(features[rows].astype(np.float64))
        total = np.add.reduce(np.concatenate([total, values]), axis=0, keepdims=True)
    mean: NDArray[np.float64] = total[0] / len(features)
    return mean


def _blocks(features: NDArray[np.floating[Any]]) -> Iterator[slice]:
    step = max(1, VALUES_AT_A_TIME // max(1, features.shape[1]))
    return (slice(start, start + step) for start in range(0, len(features), step))
