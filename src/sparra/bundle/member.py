"""One model of a bundle: a trained aggregator with the survival model that was fitted to its cross-fitted output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.survival.groups import Cut
from sparra.survival.head import SurvivalHead, head_of_cox, head_of_network
from sparra.survival.models import FittedSurvivalModel
from sparra.survival.outcomes import FollowUp
from sparra.survival.summary import NETWORK
from sparra.training.fitted import FittedAggregator, Predictions
from sparra.training.subjects import SubjectData

_HEAD = "head."


@dataclass(frozen=True)
class Member:
    """One model of a bundle.

    Attributes
    ----------
    network : FittedAggregator
    head : SurvivalHead
    model : str
        ``network``: the head takes the network's risk; else its embedding.
    """

    network: FittedAggregator
    head: SurvivalHead
    model: str

    def output(self, subjects: Sequence[SubjectData]) -> tuple[NDArray[np.float64], Predictions]:
        """Return the head's features of each subject, shape (n, p), and all that the network says.

        Raises
        ------
        UserError
            As `FittedAggregator.predict`.
        """
        predicted = self.network.predict(subjects)
        return head_features(self.model, predicted.embedding, predicted.present, predicted.risk), predicted

    def feature_draws(self, subjects: Sequence[SubjectData], n_draws: int) -> NDArray[np.float64] | None:
        """Return the head's features at draws of what the network is not sure of, shape (n_draws, n, p).

        Returns
        -------
        ndarray or None
            None where the network has no posterior. See `FittedAggregator.posterior_draws`.
        """
        drawn = self.network.posterior_draws(subjects, n_draws)
        if drawn is None:
            return None
        present = self.network.presence(subjects)
        return np.stack([head_features(self.model, one, present, risk) for one, risk in zip(*drawn, strict=True)])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the arrays of both parts by name."""
        head = {f"{_HEAD}{name}": torch.from_numpy(np.array(values)) for name, values in self.head.arrays().items()}
        return {**self.network.tensors(), **head}


def head_of_tensors(tensors: dict[str, torch.Tensor]) -> SurvivalHead:
    """Take the head's arrays out of a member's tensors.

    Raises
    ------
    UserError
        As `SurvivalHead.from_arrays`.
    """
    arrays = {name.removeprefix(_HEAD): value.numpy() for name, value in tensors.items() if name.startswith(_HEAD)}
    return SurvivalHead.from_arrays(arrays)


def head_features(
    model: str, embedding: NDArray[np.float32], present: NDArray[np.bool_], risk: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what a head is fitted to: the risk alone, or the embedding with NaN where a modality is absent."""
    if model == NETWORK:
        return risk[:, None]
    return np.where(present, embedding, np.nan).astype(np.float64)


def fit_head(
    model: str,
    features: NDArray[np.float64],
    follow_up: FollowUp,
    fitted: FittedSurvivalModel | None,
    *,
    cut: Cut,
    replicates: int,
    seed: int,
) -> SurvivalHead:
    """Fit the head of a member to cross-fitted features.

    Parameters
    ----------
    model : {"network", "CoxPH", "Coxnet"}
    features : ndarray, shape (n, p)
        As `head_features` gives them.
    follow_up : FollowUp
    fitted : FittedSurvivalModel or None
        Fitted to these features; None for ``network``.
    cut, replicates, seed
        As in `sparra.survival.head`.

    Raises
    ------
    UserError
        If the model cannot be written as arrays, or could not be fitted.
    """
    if fitted is None:
        if model != NETWORK:
            raise UserError(f"the survival model {model} was not fitted")
        return head_of_network(features[:, 0], follow_up, cut=cut, replicates=replicates, seed=seed)
    return head_of_cox(fitted, features, follow_up, cut=cut, replicates=replicates, seed=seed)
