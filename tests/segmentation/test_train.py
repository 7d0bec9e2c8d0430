import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.segmentation.conftest import no_track

from sparra.errors import UserError
from sparra.segmentation.augment import augment, make_augmentation
from sparra.segmentation.network import load_model
from sparra.segmentation.settings import SegmentationSettings
from sparra.segmentation.train import learning_rate, train_segmentation

Quick = Callable[..., SegmentationSettings]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoint" / "state.safetensors")


def test_a_resumed_training_ends_in_the_same_weights(kits: Path, tmp_path: Path, quick: Quick) -> None:
    settings = quick()
    trained = train_segmentation(kits, tmp_path / "whole", settings, no_track)
    assert train_segmentation(kits, tmp_path / "parts", settings, no_track, stop_after=1) is None
    assert not (tmp_path / "parts" / "model.json").exists()
    assert train_segmentation(kits, tmp_path / "parts", settings, no_track, stop_after=2) is None
    resumed = train_segmentation(kits, tmp_path / "parts", settings, no_track)
    assert trained.dice == resumed.dice
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert set(whole) == set(parts)
    compared = [name for name in whole if not name.startswith("random.")]
    assert len(compared) > 20
    for name in compared:
        assert torch.equal(whole[name], parts[name]), name
    model = load_model(tmp_path / "parts", "cpu")
    best = {name.removeprefix("best."): value for name, value in whole.items() if name.startswith("best.")}
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, best[name]), name
    with pytest.raises(UserError, match="belongs to another fit"):
        train_segmentation(kits, tmp_path / "parts", quick(learning_rate=2e-3), no_track)


def test_it_learns_where_kidneys_are(kits: Path, tmp_path: Path, quick: Quick) -> None:
    settings = quick(epochs=16, crops_per_case=4, validate_every=8)
    trained = train_segmentation(kits, tmp_path / "model", settings, no_track)
    with (tmp_path / "model" / "curve.csv").open() as handle:
        curve = list(csv.DictReader(handle))
    losses = [float(row["loss"]) for row in curve]
    assert np.mean(losses[-3:]) < 0.6 * losses[0]
    assert trained.dice["kidney_and_mass"] > 0.6
    assert 0 < trained.surface_dice["kidney_and_mass"] < trained.dice["kidney_and_mass"]
    assert [row["dice_tumour"] != "" for row in curve] == [k in (7, 15) for k in range(16)]
    with (tmp_path / "model" / "validation.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    assert {row["case"] for row in rows} == set(card["origin"]["validation_cases"])
    assert not set(card["origin"]["validation_cases"]) & set(card["origin"]["training_cases"])
    assert card["origin"]["validation"]["dice"]["kidney_and_mass"] == trained.dice["kidney_and_mass"]


def test_mixed_precision_trains_too(kits: Path, tmp_path: Path, quick: Quick) -> None:
    settings = quick(epochs=1, precision="bfloat16", augment=False, crops_per_case=1)
    train_segmentation(kits, tmp_path / "model", settings, no_track)
    tensors = weights(tmp_path / "model")
    assert all(value.dtype == torch.float32 for name, value in tensors.items() if name.startswith("model."))
    assert all(torch.isfinite(value).all() for name, value in tensors.items() if name.startswith("model."))


def test_rate_rises_then_falls(quick: Quick) -> None:
    settings = SegmentationSettings()
    rates = np.array([learning_rate(settings, epoch) for epoch in range(settings.epochs)])
    np.testing.assert_allclose(rates[:4], 2e-4 * np.array([0.25, 0.5, 0.75, 1.0]))
    assert (np.diff(rates[3:]) < 0).all()
    assert 0 < rates[-1] < 1e-8
    assert rates[3 + 597 // 3] == pytest.approx(2e-4 * 0.75)  # half of 1 + cos 60°


def test_augmentation_turns_image_and_labels_alike_and_repeats_itself() -> None:
    labels = torch.zeros((24, 24, 24), dtype=torch.uint8)
    labels[4:12, 6:20, 8:14] = 2
    transforms = make_augmentation()
    moved = 0
    for seed in range(12):
        hu, drawn = augment(transforms, labels.float() / 2, labels, np.random.default_rng(seed))
        again = augment(transforms, labels.float() / 2, labels, np.random.default_rng(seed))
        assert torch.equal(hu, again[0])
        assert torch.equal(drawn, again[1])
        assert set(drawn.unique().tolist()) == {0, 2}
        inside, outside = hu[drawn == 2], hu[drawn == 0]
        assert inside.mean() - outside.mean() > 0.5
        moved += not torch.equal(drawn, labels)
    assert moved > 6
