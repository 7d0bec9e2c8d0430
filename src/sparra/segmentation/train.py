"""Training of a SegResNet, resumable after any epoch."""

# `Tensor.backward` carries no types.
# mypy: disable-error-code="no-untyped-call"

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparra.errors import UserError
from sparra.files import atomic_path, sha256_of
from sparra.radiology.geometry import Grid
from sparra.segmentation.augment import augment, make_augmentation
from sparra.segmentation.cases import (
    STREAM,
    Case,
    PreparedCase,
    find_cases,
    intensity_bounds,
    prepare_case,
    read_case,
    split_cases,
)
from sparra.segmentation.cleanup import clean_labels, labels_on_scan
from sparra.segmentation.losses import deep_supervision
from sparra.segmentation.metrics import dice, mean_by_region, mean_defined, region_scores
from sparra.segmentation.network import Model, ModelCard, build_network, device_of, save_model
from sparra.segmentation.preprocess import normalise, prepare
from sparra.segmentation.regions import REGIONS, THRESHOLD, merge_regions, region_masks, to_regions
from sparra.segmentation.settings import SegmentationSettings
from sparra.segmentation.window import Track, predict_regions
from sparra.training.checkpoint import FitState, fit_key

_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SCORES = ("case", "region", "dice", "surface_dice")


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes
    ----------
    folder : Path
        Holds ``weights.safetensors``, ``model.json``, ``curve.csv``, ``validation.csv``.
    dice, surface_dice : mapping of region to float
        Means over the validation cases on their own grids, by the best epoch's weights.
    """

    folder: Path
    dice: dict[str, float]
    surface_dice: dict[str, float]


def learning_rate(settings: SegmentationSettings, epoch: int) -> float:
    """Return the rate of an epoch: a linear rise over the warm-up, then half a cosine down to 0."""
    if epoch < settings.warmup_epochs:
        return settings.learning_rate * (epoch + 1) / (settings.warmup_epochs + 1)
    done = (epoch - settings.warmup_epochs) / max(settings.epochs - settings.warmup_epochs, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def train_segmentation(
    data: Path, folder: Path, settings: SegmentationSettings, track: Track, stop_after: int | None = None
) -> Trained | None:
    """Train on a folder in KiTS layout, or go on with a training that was interrupted.

    Every random draw of an epoch comes from the seed and the epoch's number, so that a resumed training ends in
    the same weights as an uninterrupted one (bit for bit on the CPU with as many threads).

    Parameters
    ----------
    data : Path
    folder : Path
        Where model, curve, scores, checkpoint and prepared cases go.
    settings : SegmentationSettings
    track : callable
        ``track(iterable, label, total)`` draws progress.
    stop_after : int, optional
        End after so many epochs, to be resumed later; the result is None then.

    Raises
    ------
    UserError
        If a case cannot be used, or `folder` holds a training with other settings or data.
    """
    training, validation = split_cases(find_cases(data), settings.folds, settings.fold, settings.seed)
    if not training or not validation:
        raise UserError("no case is left for training or for validation", data, "Choose other folds")
    prepared: dict[str, PreparedCase] = {}
    for case in track([*training, *validation], "prepare", len(training) + len(validation)):
        prepared[case.name] = prepare_case(case, settings.spacing_mm, folder / "cache")
    learn = [prepared[case.name] for case in training]
    card = ModelCard(
        network=settings.network,
        inference=settings.inference,
        spacing_mm=settings.spacing_mm,
        patch_voxels=settings.patch_voxels,
        intensity_hu=intensity_bounds(learn),
        origin={
            "trained_with": settings.model_dump(mode="json", exclude={"network", "inference"}),
            "training_cases": [case.name for case in training],
            "validation_cases": [case.name for case in validation],
        },
    )
    fit = _Fit(settings, card, learn, [prepared[case.name] for case in validation], folder)
    fit.run(track, stop_after)
    if len(fit.state.rows) < settings.epochs:
        return None
    return _finish(fit, validation, track)


class _Fit:
    """The loop over epochs.

    Parameters
    ----------
    settings : SegmentationSettings
    card : ModelCard
    training, validation : sequence of PreparedCase
    folder : Path
    """

    def __init__(
        self,
        settings: SegmentationSettings,
        card: ModelCard,
        training: Sequence[PreparedCase],
        validation: Sequence[PreparedCase],
        folder: Path,
    ) -> None:
        self.settings, self.card, self.folder = settings, card, folder
        self.training, self.validation = training, validation
        self.device = device_of(settings.device)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            network = build_network(settings.network)
        self.network: nn.Module = network.to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.state = FitState(self.network, self.optimiser, torch.Generator())
        self.transforms = make_augmentation() if settings.augment else None

    def run(self, track: Track, stop_after: int | None) -> None:
        """Train until the last epoch, or for `stop_after` more."""
        checkpoint, key = self.folder / "checkpoint", self._key()
        self.state.restore(checkpoint, key)
        first = len(self.state.rows)
        last = self.settings.epochs if stop_after is None else min(self.settings.epochs, first + stop_after)
        scaler = self._scaler()
        for epoch in track(range(first, last), "train", last - first):
            row = {"epoch": float(epoch), "loss": self._epoch(epoch, scaler)}
            row["loss_scale"] = float(scaler.get_scale())
            if epoch + 1 == self.settings.epochs or (epoch + 1) % self.settings.validate_every == 0:
                row |= self._validate(epoch)
            self.state.rows.append(row)
            self.state.save(checkpoint, key)
            self._write_curve()

    def _key(self) -> str:
        """Return what tells trainings apart; the number of epochs is part of it, since the rate depends on it."""
        description = {"settings": self.settings.model_dump(mode="json", exclude={"device"})}
        cases = {case.case.name: sha256_of(case.path).encode() for case in (*self.training, *self.validation)}
        return fit_key(description, cases)

    def _scaler(self) -> torch.amp.GradScaler:
        scale = self.state.rows[-1]["loss_scale"] if self.state.rows else 2.0**16
        return torch.amp.GradScaler(
            self.device.type, init_scale=max(scale, 1.0), enabled=self.settings.precision == "float16"
        )

    def _epoch(self, epoch: int, scaler: torch.amp.GradScaler) -> float:
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, epoch)
        rounds = [
            index
            for turn in range(self.settings.crops_per_case)
            for index in np.random.default_rng([STREAM, self.settings.seed, 1, epoch, turn]).permutation(
                len(self.training)
            )
        ]
        losses = []
        size = self.settings.batch_size
        for step, begin in enumerate(range(0, len(rounds), size)):
            batch = [self._sample(int(i), epoch, begin + k) for k, i in enumerate(rounds[begin : begin + size])]
            hu = torch.stack([one[0] for one in batch])[:, None]
            target = torch.stack([to_regions(one[1]) for one in batch])
            losses.append(self._step(hu, target, scaler))
            if not math.isfinite(losses[-1]):
                raise UserError(
                    f"the loss became {losses[-1]} in epoch {epoch}, step {step}",
                    self.folder,
                    "Lower learning_rate, or use precision float32 or bfloat16",
                )
        return float(np.mean(losses))

    def _sample(self, index: int, epoch: int, place: int) -> tuple[Tensor, Tensor]:
        generator = np.random.default_rng([STREAM, self.settings.seed, 2, epoch, place])
        hu, labels = self.training[index].crop(generator, self.settings.patch_voxels)
        scaled = normalise(torch.from_numpy(hu).to(self.device), self.card.intensity_hu)
        drawn = torch.from_numpy(labels).to(self.device)
        return augment(self.transforms, scaled, drawn, generator) if self.transforms else (scaled, drawn)

    def _step(self, hu: Tensor, target: Tensor, scaler: torch.amp.GradScaler) -> float:
        self.optimiser.zero_grad(set_to_none=True)
        mixed = self.settings.precision != "float32"
        with torch.autocast(self.device.type, _TYPES[self.settings.precision], enabled=mixed):
            outputs = self.network(hu)
        loss = deep_supervision(outputs, target)
        scaler.scale(loss).backward()
        scaler.step(self.optimiser)
        scaler.update()
        return float(loss.detach())

    def _validate(self, epoch: int) -> dict[str, float]:
        """Return the mean Dice of each region at the network's spacing, and keep the weights if they are best."""
        model = Model(self.network.eval(), self.card)
        scores = []
        for case in self.validation:
            hu, labels = case.volume()
            probability = predict_regions(model, hu)
            merged = merge_regions({name: probability[i] > THRESHOLD for i, name in enumerate(REGIONS)})
            found = region_masks(clean_labels(merged, (self.settings.spacing_mm,) * 3, self.settings.inference))
            drawn = region_masks(labels)
            scores.append({name: dice(found[name], drawn[name]) for name in REGIONS})
        means = mean_by_region(scores)
        overall = mean_defined(list(means.values()))
        if 1 - overall < self.state.best_loss or self.state.best_epoch < 0:
            self.state.best_loss, self.state.best_epoch = 1 - overall, epoch
            self.state.best = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        return {f"dice_{name}": value for name, value in means.items() if not math.isnan(value)}

    def _write_curve(self) -> None:
        columns = ["epoch", "loss", *[f"dice_{name}" for name in REGIONS]]
        with atomic_path(self.folder / "curve.csv") as temporary, temporary.open("w", newline="") as file:
            table = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
            table.writeheader()
            table.writerows({**row, "epoch": int(row["epoch"])} for row in self.state.rows)


def _finish(fit: _Fit, validation: Sequence[Case], track: Track) -> Trained:
    """Judge the best weights on the validation cases' own grids, and write model and scores."""
    fit.network.load_state_dict(fit.state.best)
    model = Model(fit.network.eval(), fit.card)
    scores: dict[str, dict[str, tuple[float, float]]] = {}
    for case in track(validation, "validate", len(validation)):
        ct, reference = read_case(case)
        prepared = prepare(ct, fit.card.spacing_mm)
        scan = Grid.of(ct)
        probability = predict_regions(model, prepared.hu)
        labels = labels_on_scan(probability, prepared.grid, scan, fit.card.inference)
        scores[case.name] = region_scores(labels, reference, scan.spacing[::-1])
    with atomic_path(fit.folder / "validation.csv") as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(SCORES)
        table.writerows([case, region, *pair] for case, found in scores.items() for region, pair in found.items())
    means = [mean_by_region([{r: pair[k] for r, pair in found.items()} for found in scores.values()]) for k in (0, 1)]
    defined = [{name: value for name, value in one.items() if not math.isnan(value)} for one in means]
    noted: dict[str, Any] = {"best_epoch": fit.state.best_epoch, "dice": defined[0], "surface_dice": defined[1]}
    card = fit.card.model_copy(update={"origin": {**fit.card.origin, "validation": noted}})
    save_model(fit.folder, fit.state.best, card)
    return Trained(fit.folder, *means)
