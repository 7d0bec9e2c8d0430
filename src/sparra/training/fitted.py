"""A trained aggregator: prediction, and its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sparra.errors import UserError
from sparra.files import atomic_path, read_json, write_json, write_text
from sparra.models.aggregator import Aggregator
from sparra.models.registry import aggregators
from sparra.models.settings import AggregatorSettings
from sparra.training.batching import PreparedCohort
from sparra.training.prediction import PREDICTION_BATCH, combined, joined, member_draws, member_spread, predict_member
from sparra.training.prediction import Predictions as Predictions
from sparra.training.scaling import FeatureScaler
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData, feature_dimensions

FORMAT = "sparra-aggregator-3"


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Attributes
    ----------
    model : Aggregator
    curve : DataFrame
    scale : tuple of float
        Mean and standard deviation of its risk over the training subjects.
    """

    model: Aggregator
    curve: pd.DataFrame
    scale: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class FittedAggregator:
    """A trained aggregator with its scalers and the way it was trained.

    Attributes
    ----------
    name : str
        Name in the registry.
    settings : AggregatorSettings
    training_settings : TrainingSettings
    seed : int
    model : Aggregator
    scalers : mapping of modality to FeatureScaler
    curve : DataFrame
        One row an epoch: ``epoch``, ``learning_rate``, ``total``, ``cox`` and each penalty, means over
        batches; ``validation``, the Cox loss of the subjects kept back, where there are any.
    others : tuple of Member
        The other models of an ensemble. Its risk is the mean of its models' standardised risks and its
        importance the mean of theirs; the embedding is the first model's, since the spaces of separately trained
        models cannot be averaged.
    scale : tuple of float
        Mean and standard deviation of `model`'s risk over the training subjects.
    """

    name: str
    settings: AggregatorSettings
    training_settings: TrainingSettings
    seed: int
    model: Aggregator
    scalers: Mapping[str, FeatureScaler]
    curve: pd.DataFrame
    others: tuple[Member, ...] = ()
    scale: tuple[float, float] = (0.0, 1.0)

    @property
    def members(self) -> tuple[Member, ...]:
        """All models, the first included."""
        return (Member(self.model, self.curve, self.scale), *self.others)

    @property
    def has_posterior(self) -> bool:
        """Whether its models can tell the posterior spread of risk and importance."""
        return type(self.model).spread is not Aggregator.spread

    @property
    def tells_spread(self) -> bool:
        """Whether it can give standard deviations: of a posterior, or between the models of an ensemble."""
        return self.has_posterior or bool(self.others)

    @property
    def feature_dims(self) -> dict[str, int]:
        """Number of node features of each modality."""
        return {modality: len(scaler.mean) for modality, scaler in self.scalers.items()}

    def predict(
        self, subjects: Sequence[SubjectData], uncertainty_draws: int = 0, with_importance: bool = True
    ) -> Predictions:
        """Predict embedding, risk and importance; a subject may lack modalities, but not all of them.

        Some subjects at a time are in memory.

        Parameters
        ----------
        subjects : sequence of SubjectData
        uncertainty_draws : int
            Draws of s from q(s), at least 2, for the standard deviations; 0 leaves them out. A subject's do not
            depend on the other subjects. Those of an ensemble without a posterior are between its models alone.
        with_importance : bool
            Whether the importance of every node is wanted, the one thing that grows with the nodes of all subjects.

        Raises
        ------
        UserError
            If a subject has no graph of the model's modalities, or one with another number of features; if draws
            are asked of a single model without a posterior.
        """
        self._check(subjects)
        starts = range(0, len(subjects), PREDICTION_BATCH)
        chunks = [subjects[start : start + PREDICTION_BATCH] for start in starts]
        return joined([self._predict(chunk, uncertainty_draws, with_importance) for chunk in chunks])

    def _predict(self, subjects: Sequence[SubjectData], uncertainty_draws: int, with_importance: bool) -> Predictions:
        cohort = PreparedCohort(subjects, self.scalers)
        parts = [predict_member(member.model, cohort, with_importance) for member in self.members]
        spreads = [
            member_spread(member.model, cohort, self.seed, uncertainty_draws)
            for member in self.members
            if uncertainty_draws and (self.has_posterior or not self.others)
        ]
        scales = [member.scale for member in self.members]
        return combined(parts, scales, spreads, self.presence(subjects), bool(uncertainty_draws))

    def posterior_draws(
        self, subjects: Sequence[SubjectData], n_draws: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
        """Draw the embedding and the risk from what is not sure in the network.

        Parameters
        ----------
        subjects : sequence of SubjectData
        n_draws : int
            K, at least 1.

        Returns
        -------
        tuple or None
            Embedding, shape (K, n, n_embedding), of the first model at draws of s from q(s); risk, shape (K, n), of
            the models of an ensemble in turn, each at a draw, so that its variance is that of `predict`'s `risk_sd`:
            posterior, and between models. None where the models have no posterior.

        Raises
        ------
        UserError
            As `predict`, and without a draw.
        """
        if not self.has_posterior:
            return None
        if n_draws < 1:
            raise UserError(f"{n_draws} draws were asked for", mend="Ask for one or more")
        self._check(subjects)
        cohort = PreparedCohort(subjects, self.scalers)
        drawn = [member_draws(member.model, cohort, self.seed, n_draws) for member in self.members]
        known = [part for part in drawn if part is not None]
        risks = known[0][1]
        if self.others:
            scaled = [(part[1] - m.scale[0]) / m.scale[1] for part, m in zip(known, self.members, strict=True)]
            turn = np.arange(n_draws) % len(scaled)
            risks = np.stack(scaled)[turn, np.arange(n_draws)]
        return known[0][0], risks

    def _check(self, subjects: Sequence[SubjectData]) -> None:
        if not subjects:
            raise UserError("there is no subject to predict")
        for modality, size in feature_dimensions(subjects).items():
            if size != self.feature_dims.get(modality, size):
                raise UserError(
                    f"{modality} graphs have {size} features a node, the model was trained on "
                    f"{self.feature_dims[modality]}",
                    mend="Extract them with the encoder that the model was trained with",
                )
        for subject in subjects:
            if not any(subject.has(name) for name in self.scalers):
                raise UserError(f"no graph of {' or '.join(self.scalers)}", where=f"subject {subject.subject_id}")

    def presence(self, subjects: Sequence[SubjectData]) -> NDArray[np.bool_]:
        """Tell which columns of the embedding each subject has images for, shape (n, n_embedding)."""
        sizes = self.model.embedding_sizes
        has = np.array([[subject.has(name) for name in sizes] for subject in subjects], dtype=bool)
        return np.repeat(has, list(sizes.values()), axis=1)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights of every model and the scalers by name."""
        tensors = {
            f"{_prefix(index)}{key}": value.cpu()
            for index, member in enumerate(self.members)
            for key, value in member.model.state_dict().items()
        }
        for modality, scaler in self.scalers.items():
            tensors[f"scaler.{modality}.mean"] = torch.from_numpy(scaler.mean)
            tensors[f"scaler.{modality}.scale"] = torch.from_numpy(scaler.scale)
        return {key: value.contiguous() for key, value in tensors.items()}

    def description(self) -> dict[str, Any]:
        """Return all that is not in `tensors` or the curves (JSON-ready)."""
        return {
            "format": FORMAT,
            "aggregator": self.name,
            "settings": self.settings.model_dump(mode="json"),
            "training": self.training_settings.model_dump(mode="json"),
            "seed": self.seed,
            "feature_dims": self.feature_dims,
            "risk_scales": [list(member.scale) for member in self.members],
        }

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors``, ``curve.csv`` and, last, ``model.json``; each is whole or absent."""
        with atomic_path(folder / "weights.safetensors") as temporary:
            save_file(self.tensors(), temporary)
        curves = {folder / _curve_name(index): member.curve for index, member in enumerate(self.members)}
        for path, curve in curves.items():
            write_text(path, curve.to_csv(index=False))
        for path in set(folder.glob("curve*.csv")) - set(curves):
            path.unlink()  # Of a larger ensemble that was here before.
        write_json(folder / "model.json", self.description())

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "FittedAggregator":
        """Read what :meth:`save` wrote.

        Raises
        ------
        UserError
            If a file is missing, damaged or not of this format.
        """
        description = _read_description(folder / "model.json")
        weights = folder / "weights.safetensors"
        if not weights.exists():
            raise UserError("the model's weights are missing", where=weights)
        try:
            curves = [pd.read_csv(folder / _curve_name(index)) for index in range(len(description["risk_scales"]))]
            return cls.from_parts(description, load_file(weights, device="cpu"), folder / "model.json", device, curves)
        except (SafetensorError, OSError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"the trained aggregator is damaged ({reason})", folder, "Train it again") from None

    @classmethod
    def from_parts(
        cls,
        description: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        where: Path,
        device: str = "cpu",
        curves: Sequence[pd.DataFrame] | None = None,
    ) -> "FittedAggregator":
        """Build a trained aggregator from its `description` and `tensors`; `where` names their file.

        Raises
        ------
        UserError
            If the aggregator or a setting is not known.
        RuntimeError, KeyError
            If a tensor is missing or of another shape.
        """
        entry = aggregators[description["aggregator"]]
        settings = entry.settings.from_mapping(description["settings"], where=str(where))
        scalers = {
            modality: FeatureScaler(
                tensors[f"scaler.{modality}.mean"].numpy(), tensors[f"scaler.{modality}.scale"].numpy()
            )
            for modality in sorted(description["feature_dims"])
        }
        members = []
        for index, (mean, spread) in enumerate(description["risk_scales"]):
            model = entry.build(dict(sorted(description["feature_dims"].items())), settings)
            prefix = _prefix(index)
            model.load_state_dict({key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)})
            curve = pd.DataFrame() if curves is None else curves[index]
            members.append(Member(model.to(device).eval(), curve, (mean, spread)))
        return cls(
            description["aggregator"],
            settings,
            TrainingSettings.from_mapping(description["training"], where=str(where)),
            description["seed"],
            members[0].model,
            scalers,
            members[0].curve,
            tuple(members[1:]),
            members[0].scale,
        )


def _prefix(index: int) -> str:
    return f"member-{index}." if index else "model."


def _curve_name(index: int) -> str:
    return f"curve-{index}.csv" if index else "curve.csv"


def _read_description(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError("there is no trained aggregator here", where=path.parent, mend="Train it first")
    try:
        description = read_json(path)
    except ValueError:  # No JSON, or no text at all.
        description = None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise UserError(f"this is not a model description of format {FORMAT}", where=path)
    return description
