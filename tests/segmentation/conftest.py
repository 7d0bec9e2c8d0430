from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from sparra.segmentation.network import Model, ModelCard, build_network, load_model, save_model
from sparra.segmentation.settings import InferenceSettings, NetworkSettings, SegmentationSettings
from sparra.simulate.kits import write_kits_cases

TINY = NetworkSettings(init_filters=4, blocks_down=(1, 1), dsdepth=1)


def no_track(items: Iterable[Any], label: str, total: int) -> Iterable[Any]:
    return items


@pytest.fixture(scope="session")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four simulated cases."""
    folder = tmp_path_factory.mktemp("kits")
    list(write_kits_cases(folder, 4, seed=3, spacing_mm=(3.0, 3.0, 4.0)))
    return folder


@pytest.fixture
def quick() -> Callable[..., SegmentationSettings]:
    def make(**changes: Any) -> SegmentationSettings:
        values = {
            "network": TINY.model_dump(),
            "inference": {"overlap": 0.25},
            "spacing_mm": 6.0,
            "patch_voxels": 16,
            "epochs": 4,
            "learning_rate": 1e-2,
            "warmup_epochs": 1,
            "batch_size": 2,
            "crops_per_case": 2,
            "validate_every": 2,
            "folds": 4,
            "device": "cpu",
        }
        return SegmentationSettings.from_mapping({**values, **changes}, "test")

    return make


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A network with random weights, written and loaded."""
    card = ModelCard(
        network=TINY,
        inference=InferenceSettings(overlap=0.25),
        spacing_mm=8.0,
        patch_voxels=16,
        intensity_hu=(-50.0, 200.0),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(tmp_path / "model", build_network(TINY).state_dict(), card)
    return load_model(tmp_path / "model", "cpu")
