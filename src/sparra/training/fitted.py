"""A trained aggregator: prediction, and its files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from sparra.errors import UserError
from sparra.files import atomic_path, read_json, write_json, write_text
from sparra.models.aggregator import Aggregator
from sparra.models.registry import aggregators
from sparra.models.settings import AggregatorSettings
from sparra.training.batching import PreparedCohort
from sparra.training.scaling import FeatureScaler
from sparra.training.settings import TrainingSettings
from sparra.training.subjects import SubjectData, feature_dimensions

PREDICTION_BATCH = 32
FORMAT = "sparra-aggregator-1"


@dataclass(frozen=True)
class Predictions:
    """What a trained aggregator says of n subjects.

    Attributes
    ----------
    embedding : ndarray of float32, shape (n, n_embedding)
        Zero in the columns of a modality that a subject lacks.
    present : ndarray of bool, shape (n, n_embedding)
        False in those columns, so that a second stage can impute them.
    risk : ndarray of float64, shape (n,)
        Log partial hazard, higher = worse.
    importance : list of n mappings of modality to ndarray of float32, each of shape (n_nodes,)
        Weight of every node, summing to one over a subject's nodes of a modality.
    """

    embedding: NDArray[np.float32]
    present: NDArray[np.bool_]
    risk: NDArray[np.float64]
    importance: list[dict[str, NDArray[np.float32]]]


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
        batches.
    """

    name: str
    settings: AggregatorSettings
    training_settings: TrainingSettings
    seed: int
    model: Aggregator
    scalers: Mapping[str, FeatureScaler]
    curve: pd.DataFrame

    @property
    def feature_dims(self) -> dict[str, int]:
        """Number of node features of each modality."""
        return {modality: len(scaler.mean) for modality, scaler in self.scalers.items()}

    def predict(self, subjects: Sequence[SubjectData]) -> Predictions:
        """Predict embedding, risk and importance; a subject may lack modalities, but not all of them.

        Raises
        ------
        UserError
            If a subject has no graph of the model's modalities, or one with another number of features.
        """
        self._check(subjects)
        cohort = PreparedCohort.of(subjects, self.scalers)
        device = next(self.model.parameters()).device
        self.model.eval()
        embeddings, risks = [], []
        importance: list[dict[str, NDArray[np.float32]]] = [{} for _ in subjects]
        with torch.inference_mode():
            for start in range(0, len(subjects), PREDICTION_BATCH):
                indices = range(start, min(start + PREDICTION_BATCH, len(subjects)))
                output = self.model(cohort.collate(indices, device))
                embeddings.append(output.embedding.float().cpu().numpy())
                risks.append(output.risk.double().cpu().numpy())
                for modality, weights in output.importance.items():
                    counts = [len(cohort.modalities[modality].features[index]) for index in indices]
                    for index, part in zip(indices, weights.float().cpu().split(counts), strict=True):
                        if len(part):
                            importance[index][modality] = part.numpy().copy()
        present = self._presence(subjects)
        return Predictions(np.concatenate(embeddings), present, np.concatenate(risks), importance)

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
            if not any(len(subject.graphs[name]) for name in self.scalers if name in subject.graphs):
                raise UserError(f"no graph of {' or '.join(self.scalers)}", where=f"subject {subject.subject_id}")

    def _presence(self, subjects: Sequence[SubjectData]) -> NDArray[np.bool_]:
        sizes = self.model.embedding_sizes
        has = np.array([[name in subject.graphs for name in sizes] for subject in subjects], dtype=bool)
        return np.repeat(has, list(sizes.values()), axis=1)

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors``, ``curve.csv`` and, last, ``model.json``; each is whole or absent."""
        tensors = {f"model.{key}": value.cpu() for key, value in self.model.state_dict().items()}
        for modality, scaler in self.scalers.items():
            tensors[f"scaler.{modality}.mean"] = torch.from_numpy(scaler.mean)
            tensors[f"scaler.{modality}.scale"] = torch.from_numpy(scaler.scale)
        with atomic_path(folder / "weights.safetensors") as temporary:
            save_file({key: value.contiguous() for key, value in tensors.items()}, temporary)
        write_text(folder / "curve.csv", self.curve.to_csv(index=False))
        write_json(
            folder / "model.json",
            {
                "format": FORMAT,
                "aggregator": self.name,
                "settings": self.settings.model_dump(mode="json"),
                "training": self.training_settings.model_dump(mode="json"),
                "seed": self.seed,
                "feature_dims": self.feature_dims,
            },
        )

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "FittedAggregator":
        """Read what :meth:`save` wrote.

        Raises
        ------
        UserError
            If a file is missing or is not of this format.
        """
        description = _read_description(folder / "model.json")
        entry = aggregators[description["aggregator"]]
        settings = entry.settings.from_mapping(description["settings"], where=str(folder / "model.json"))
        weights = folder / "weights.safetensors"
        if not weights.exists():
            raise UserError("the model's weights are missing", where=weights)
        tensors = load_file(weights, device="cpu")
        scalers = {
            modality: FeatureScaler(
                tensors[f"scaler.{modality}.mean"].numpy(), tensors[f"scaler.{modality}.scale"].numpy()
            )
            for modality in sorted(description["feature_dims"])
        }
        model = entry.build(dict(sorted(description["feature_dims"].items())), settings)
        state = {key.removeprefix("model."): tensors[key] for key in tensors if key.startswith("model.")}
        model.load_state_dict(state)
        return cls(
            description["aggregator"],
            settings,
            TrainingSettings.from_mapping(description["training"], where=str(folder / "model.json")),
            description["seed"],
            model.to(device).eval(),
            scalers,
            pd.read_csv(folder / "curve.csv"),
        )


def _read_description(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError("there is no trained aggregator here", where=path.parent, mend="Train it first")
    try:
        description = read_json(path)
    except json.JSONDecodeError:
        description = None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise UserError(f"this is not a model description of format {FORMAT}", where=path)
    return description
