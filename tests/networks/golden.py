"""Weights and inputs by formula, so that other libraries can be given the same; and their stored outputs.

`golden.json` was made once with the networks of the libraries named in it (``made_with``), each given `fill` of
its own parameters, whose names are those of the network here, and `waves` as input.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


def waves(*shape: int) -> Tensor:
    """An input without symmetry, between -1 and 1."""
    n = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(0.113 * n + 0.0007 * n**1.5).float().reshape(shape)


def fill(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values that keep signals of order one, different in each tensor and set by its name and shape alone."""
    filled = {}
    for name, tensor in state.items():
        if not tensor.dtype.is_floating_point:
            filled[name] = tensor
            continue
        phase = sum(map(ord, name)) % 97
        n = torch.arange(tensor.numel(), dtype=torch.float64)
        values = 0.3 * torch.sin(n * (0.71 + phase / 300) + phase + 0.001 * n**1.5)
        if name.endswith("weight") and tensor.ndim > 1:
            values = values * 5 / tensor[0].numel() ** 0.5
        if name.endswith(("running_var", "weight")) and tensor.ndim == 1:
            values = 1 + values
        filled[name] = values.float().reshape(tensor.shape)
    return filled


def assert_golden(name: str, network: nn.Module, *inputs: Tensor) -> None:
    network.load_state_dict(fill(network.state_dict()))
    with torch.inference_mode():
        output = network.eval()(*inputs)
    assert list(output.shape) == GOLDEN[name]["shape"]
    expected = torch.tensor(GOLDEN[name]["first"])
    torch.testing.assert_close(output.flatten()[: len(expected)], expected, rtol=1e-4, atol=2e-5)
