import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sparra.segmentation.network import Model
from sparra.segmentation.preprocess import normalise
from sparra.segmentation.window import gaussian_weights, predict_regions, window_starts


@given(window=st.integers(1, 40), extra=st.integers(0, 100), overlap=st.floats(0, 0.9))
def test_windows_cover_the_axis_and_overlap_as_asked(window: int, extra: int, overlap: float) -> None:
    starts = window_starts(window + extra, window, overlap)
    assert starts[0] == 0
    assert starts[-1] == extra
    assert max(np.diff(starts), default=0) <= max(window * (1 - overlap), 1)


class Voxelwise(nn.Module):
    """Sees one voxel at a time, so that windows must not show."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale[None, :, None, None, None]


@pytest.mark.parametrize("shape", [(20, 33, 17), (5, 40, 16)])
def test_blending_of_a_voxelwise_network_gives_its_answer_everywhere(model: Model, shape: tuple) -> None:
    hu = np.random.default_rng(0).integers(-200, 300, shape).astype(np.int16)
    network = Voxelwise()
    told = []

    def track(items: list, label: str, total: int) -> list:
        told.append((label, total, len(list(items))))
        return items

    found = predict_regions(Model(network, model.card), hu, track, "P1")
    scaled = normalise(torch.from_numpy(hu), model.card.intensity_hu)
    expected = torch.sigmoid(scaled * network.scale[:, None, None, None]).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert told[0][0] == "P1"
    assert told[0][1] == told[0][2]


def test_weights_are_highest_in_the_middle() -> None:
    weights = gaussian_weights(16)
    assert float(weights.max()) == 1
    assert float(weights[8, 8, 8]) == 1
    assert float(weights.min()) > 0
    torch.testing.assert_close(weights, weights.flip(0, 1, 2))
